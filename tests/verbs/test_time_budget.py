"""A training that is given minutes: steps and relabelling together fit, and where they can't, that is said."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from shared_phantoms import Phantoms
from tiny_runs import TINY

from smiler.curriculum.calibration import hold_out
from smiler.curriculum.estimate import Estimate, Rates, seconds_relabelling
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.progress import Silent
from smiler.experiments.hide import hide
from smiler.networks.device import make_fabric
from smiler.recipe.recipe import Recipe, load_recipe
from smiler.verbs.run import RunFolder
from smiler.verbs.train import TrainRequest, open_store, plan_of, steps_within, train


@pytest.fixture(scope="module")
def cohort(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("budget")
    hide(phantoms(folder / "all", 6), folder / "hidden", 0.5)
    return Cohort.open(folder / "hidden" / "cohort")


@pytest.fixture(scope="module")
def full(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return phantoms(tmp_path_factory.mktemp("full") / "all", 6)


def recipe(method: str, *changes: str) -> Recipe:
    return load_recipe(method, None, [*TINY, *changes])


def test_the_steps_are_what_relabelling_leaves() -> None:
    a_second_each = Estimate(seconds_a_step=1.0, memory_gb=1.0)
    assert steps_within(10, a_second_each, relabelling=0.0, rounds=0) == 600
    assert steps_within(10, a_second_each, relabelling=240.0, rounds=4) == 360
    with pytest.raises(BadInput, match=r"(?s)at least 11\.1 min, or fewer rounds"):
        steps_within(10, a_second_each, relabelling=600.0, rounds=4)
    assert steps_within(11.1, a_second_each, relabelling=600.0, rounds=4) > 4


@pytest.mark.parametrize("method", ["smile", "smiler"])
def test_too_short_a_time_is_refused_with_what_would_do(cohort: Cohort, tmp_path: Path, method: str) -> None:
    with pytest.raises(BadInput, match="the time is too short") as caught:
        train(TrainRequest(cohort, tmp_path / "run", recipe(method), budget_minutes=1e-7))
    assert ("relabelling alone takes about" in str(caught.value)) is (method == "smiler")
    assert "at least" in str(caught.value)
    assert not RunFolder(tmp_path / "run").exists  # so that the next try needs no --resume


@pytest.mark.parametrize(
    ("changes", "of_open", "of_held", "processes"),
    [
        ((), 2 + 1, 0, 1),
        (("curriculum.floor=0.5",), 2 + 1, 2 + 3 * 1, 1),
        (("curriculum.floor=0.5",), 2 + 1, 2 + 3 * 1, 2),
        (("curriculum.precision=0.9",), 2 + 1, 2 * 2, 2),  # each process measures all of the held-out pairs
        (("curriculum.precision=0.9", "curriculum.floor=0.5"), 2 + 1, 2 + 3 * 1 + 2 * 2, 2),
    ],
)
def test_relabelling_is_counted_case_by_case(
    full: Cohort, tmp_path: Path, changes: tuple[str, ...], of_open: int, of_held: int, processes: int
) -> None:
    """A voxel takes 2 s to predict and 1 s to accept; cases are of one size; three rounds."""
    made = recipe("marginal-dice", "curriculum.rounds=3", *changes)
    liver = full.organs.keys[0]
    open_cases = tuple(
        replace(case, cells={key: cell for key, cell in case.cells.items() if key != liver} if n < 2 else case.cells)
        for n, case in enumerate(full)
    )
    store = open_store(replace(full, cases=open_cases), made, tmp_path / "cache", Silent())
    held = sum(bits != 0 for bits in hold_out(store, made.curriculum.held_out, made.training.seed).bits)
    assert held > 0
    fabric = Processes(processes)
    found = seconds_relabelling(fabric, plan_of(made), store, Rates(2.0, 1.0))  # type: ignore[arg-type]
    assert found == pytest.approx(3 * 8 * 32 * 32 * (2 * of_open + held * of_held) / processes)


@dataclass(frozen=True)
class Processes:
    world_size: int


def test_relabelling_is_timed_and_none_where_all_is_annotated_or_no_round_is_made(
    cohort: Cohort, full: Cohort, tmp_path: Path
) -> None:
    fabric = make_fabric("cpu", "32")

    def seconds(cohort: Cohort, made: Recipe) -> float:
        return seconds_relabelling(fabric, plan_of(made), open_store(cohort, made, tmp_path / "cache", Silent()))

    assert seconds(full, recipe("smiler", "curriculum.rounds=2")) == 0
    assert seconds(cohort, recipe("smile")) == 0
    assert seconds(cohort, recipe("smiler", "curriculum.rounds=2")) > 0
