"""Rounds are parts of one training: without proposals SMILEr is its own loss alone, bit for bit."""

from pathlib import Path

import pytest
import torch
from shared_phantoms import Phantoms

from smiler.curriculum.options import CurriculumOptions
from smiler.curriculum.rounds import Plan
from smiler.domain.cohort import Cohort
from smiler.experiments.hide import hide
from smiler.losses.options import LossOptions
from smiler.networks.options import NetworkOptions
from smiler.recipe.recipe import load_recipe
from smiler.sampling.options import SamplingOptions
from smiler.training.options import TrainingOptions
from smiler.verbs.train import TrainRequest, train

TINY = (
    "data.spacing_xy_mm=native",
    "network.width=8",
    "sampling.patch_size=32",
    "sampling.batch_size=2",
    "training.steps=14",
    "training.precision=32",
    "training.device=cpu",
)


@pytest.fixture(scope="module")
def cohort(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    torch.set_num_threads(1)
    return phantoms(tmp_path_factory.mktemp("rounds") / "all", 4)


def model_hash(cohort: Cohort, run: Path, method: str, *changes: str) -> str:
    return train(TrainRequest(cohort, run, load_recipe(method, None, [*TINY, *changes]))).newest().model_hash


@pytest.mark.parametrize(("without", "rounds"), [("smile", "smiler-faithful"), ("marginal-dice", "smiler")])
def test_with_nothing_to_relabel_rounds_change_nothing(
    cohort: Cohort, tmp_path: Path, without: str, rounds: str
) -> None:
    once = model_hash(cohort, tmp_path / "once", without)
    assert model_hash(cohort, tmp_path / "rounds", rounds) == once
    assert model_hash(cohort, tmp_path / "restart", rounds, "curriculum.schedule=restart") != once


def test_proposals_are_what_makes_the_difference(cohort: Cohort, tmp_path: Path) -> None:
    hidden = hide(cohort, tmp_path / "hidden", 0.5)
    eager = ("training.prior=0.6", "curriculum.gamma_max=1", "curriculum.floor=none")
    once = model_hash(hidden, tmp_path / "once", "marginal-dice", eager[0])
    assert model_hash(hidden, tmp_path / "rounds", "smiler", *eager) != once


@pytest.mark.parametrize("steps", [7, 100, 699, 700, 2801])
@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_the_stages_are_the_whole_budget(steps: int, rounds: int) -> None:
    curriculum = CurriculumOptions(rounds=rounds)
    plan = Plan(NetworkOptions(), LossOptions(), SamplingOptions(), TrainingOptions(steps=steps), curriculum)
    stages = [plan.stage_steps(number) for number in range(rounds + 1)]
    assert sum(stages) == steps
    assert [plan.schedule(number) for number in range(rounds + 1)] == [
        (sum(stages[:number]), steps) for number in range(rounds + 1)
    ]
