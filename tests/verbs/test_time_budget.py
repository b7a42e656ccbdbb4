"""A training that is given minutes: steps and relabelling together fit, and where they can't, that is said."""

from pathlib import Path

import pytest

from smiler.curriculum.estimate import Estimate, seconds_relabelling
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.progress import Silent
from smiler.experiments.hide import hide
from smiler.experiments.phantom_cohort import make_phantom_cohort
from smiler.networks.device import make_fabric
from smiler.recipe.recipe import Recipe, load_recipe
from smiler.verbs.run import RunFolder
from smiler.verbs.train import TrainRequest, open_store, plan_of, steps_within, train

TINY = (
    "data.spacing_xy_mm=native",
    "network.width=8",
    "sampling.patch_size=32",
    "sampling.batch_size=2",
    "training.device=cpu",
    "training.precision=32",
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("budget")
    hide(make_phantom_cohort(folder / "all", 6, (8, 32, 32)), folder / "hidden", 0.5)
    return Cohort.open(folder / "hidden" / "cohort")


def recipe(method: str, *changes: str) -> Recipe:
    return load_recipe(method, None, [*TINY, *changes])


def test_the_steps_are_what_relabelling_leaves() -> None:
    a_second_each = Estimate(seconds_a_step=1.0, memory_gb=1.0)
    assert steps_within(10, a_second_each, relabelling=0.0, rounds=0) == 600
    assert steps_within(10, a_second_each, relabelling=240.0, rounds=4) == 360
    with pytest.raises(BadInput, match=r"(?s)at least 10\.1 min, or fewer rounds"):
        steps_within(10, a_second_each, relabelling=600.0, rounds=4)


@pytest.mark.parametrize("method", ["smile", "smiler"])
def test_too_short_a_time_is_refused_with_what_would_do(cohort: Cohort, tmp_path: Path, method: str) -> None:
    with pytest.raises(BadInput, match="the time is too short") as caught:
        train(TrainRequest(cohort, tmp_path / "run", recipe(method), budget_minutes=1e-7))
    assert ("of which relabelling takes about" in str(caught.value)) is (method == "smiler")
    assert "at least" in str(caught.value)
    assert not RunFolder(tmp_path / "run").exists  # so that the next try needs no --resume


def test_nothing_is_relabelled_where_all_is_annotated_or_no_round_is_made(cohort: Cohort, tmp_path: Path) -> None:
    full = make_phantom_cohort(tmp_path / "full", 2, (8, 32, 32))
    fabric = make_fabric("cpu", "32")

    def seconds(cohort: Cohort, made: Recipe) -> float:
        return seconds_relabelling(fabric, plan_of(made), open_store(cohort, made, tmp_path / "cache", Silent()))

    assert seconds(full, recipe("smiler", "curriculum.rounds=2")) == 0
    assert seconds(cohort, recipe("smile")) == 0
    assert seconds(cohort, recipe("smiler", "curriculum.rounds=2")) > 0
