"""Arms of a sweep in bf16, on a liver and the tumour within it: each trains, relabels and tells its risks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from shared_phantoms import Phantoms

from smiler.domain.cohort import Cohort
from smiler.experiments.arms import ARMS
from smiler.experiments.hide import hide
from smiler.experiments.trial import Trial, TrialFolder, run_trial
from smiler.networks.checkpoint import find_checkpoint
from smiler.recipe.recipe import load_recipe
from smiler.selection import RULES

ORGANS = ("liver", "liver_tumor", "spleen")
CHANGES = (
    "data.spacing_xy_mm=native",
    "network.width=8",
    "sampling.patch_size=32",
    "sampling.batch_size=2",
    "training.device=cpu",
    "training.precision=bf16",
    "training.steps=4",
    "training.prior=0.6",  # so that even this network proposes something,
    "prediction.threshold=0.3",  # finds something,
    "curriculum.floor=none",  # and it is accepted
    'organs=["liver", "liver_tumor", "spleen"]',
)
RISKS = {
    "baseline": {"score", "mc_dropout", "entropy", "tta"},
    "per-organ": {"score", "mc_dropout", "entropy", "tta"},
    "smile": {"score", "mc_dropout", "entropy", "tta"},
    "smiler-mc": {"score", "mc_dropout", "entropy", "tta"},
    "smiler-ensemble": {"score", "mc_dropout", "entropy", "tta", "ensemble"},
    "smiler-confidence": {"score", "mc_dropout", "entropy", "tta", "confidence"},
}
"""Arms with every loss, rule and kind of network, and what each can be unsure by."""


@pytest.fixture(scope="module")
def cohorts(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What is left of the annotations, and all of them."""
    folder = tmp_path_factory.mktemp("nested")
    complete = phantoms(folder / "complete", 4)
    return hide(complete, folder / "hidden", 0.5).folder, complete.folder


@pytest.mark.parametrize("arm", RISKS)
def test_it_trains_relabels_and_tells_its_risks(cohorts: tuple[Path, Path], tmp_path: Path, arm: str) -> None:
    method = ARMS[arm].method
    rounds = min(1, load_recipe(method).curriculum.rounds)
    recipe = load_recipe(method, None, [*CHANGES, f"curriculum.rounds={rounds}"])
    some, complete = cohorts
    names = tuple(case.id for case in Cohort.open(complete))
    folder = TrialFolder(tmp_path / "trial")
    folder.order(
        Trial(
            arm=arm, alpha=0.5, cohort=some, complete=complete, cases=names[:3], test=names[3:],
            cache=tmp_path / "cache", recipe=recipe, uncertainty=True,
        )
    )  # fmt: skip
    run_trial(folder)
    outcome: Mapping[str, Any] = folder.outcome()
    assert {row["round"] for row in outcome["relabel"]} == ({1} if rounds else set())
    assert {score.organ for score in folder.scores()} == set(ORGANS)
    assert set(outcome["uncertainty"]) == set(ORGANS)
    for organ in ORGANS:
        assert set(outcome["uncertainty"][organ]["risk"]) == RISKS[arm]
    last = find_checkpoint(folder.run.stage_folder(rounds))
    assert last is not None
    assert {t.dtype for t in last.tensors("model").values() if t.is_floating_point()} == {torch.float32}


def test_these_arms_ask_for_everything() -> None:
    assert {*RULES, "tta"} == set().union(*RISKS.values())
