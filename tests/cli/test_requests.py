"""What is asked for is checked by the request itself: the command and Python are refused alike, and record the same."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import smiler
from smiler.audit.fix import fix_geometry
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.experiments.demo import DemoOptions
from smiler.experiments.hide import hide
from smiler.experiments.phantom_cohort import make_phantom_cohort
from smiler.experiments.sweep import SweepOptions
from smiler.export.export import export
from smiler.export.pieces import ExportRequest
from smiler.review.server.run import ServeOptions
from smiler.verbs.predict import PredictRequest
from smiler.verbs.relabel import RelabelRequest
from smiler.verbs.train import TrainRequest
from smiler.workers.pipelined import Pipelined
from smiler.workers.processes import Processes

Smiler = Callable[..., Any]
OUT = Path("never-made")
NAN: Any = math.nan
ANY: Any = None

WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "rule": (lambda: RelabelRequest(OUT, rule="nonsense"), "--rule: no such rule; got 'nonsense'; do: choose among"),
    "fraction -1": (
        lambda: RelabelRequest(OUT, -1),
        "--fraction: not a number in its range; got -1; do: give one from",
    ),
    "fraction 0": (lambda: RelabelRequest(OUT, 0), "0.01 to 1"),
    "fraction 1.5": (lambda: RelabelRequest(OUT, 1.5), "0.01 to 1"),
    "fraction nan": (lambda: RelabelRequest(OUT, NAN), "got nan"),
    "fraction text": (lambda: RelabelRequest(OUT, "0.5"), "got '0.5'"),  # type: ignore[arg-type]
    "fraction bool": (lambda: RelabelRequest(OUT, True), "got True"),
    "passes": (lambda: RelabelRequest(OUT, passes=0), "curriculum.passes"),
    "stage": (lambda: RelabelRequest(OUT, stage=-1), "stage of the model"),
    "part of a round": (lambda: RelabelRequest(OUT, 0.5, review=True), "a round of review proposes all"),
    "kind of masks": (lambda: PredictRequest(OUT, kinds=("png",)), "no such kind of masks; got 'png'"),
    "no kind of masks": (lambda: PredictRequest(OUT, kinds=()), "no kind of masks"),
    "an organ twice": (lambda: PredictRequest(OUT, ("liver", "liver")), "--organs: named twice; got 'liver'"),
    "minutes": (lambda: TrainRequest(ANY, OUT, ANY, budget_minutes=0), "--time-budget"),
    "minutes nan": (lambda: TrainRequest(ANY, OUT, ANY, budget_minutes=NAN), "--time-budget"),
    "minutes inf": (lambda: TrainRequest(ANY, OUT, ANY, budget_minutes=math.inf), "--time-budget"),
    "alpha": (lambda: hide(ANY, OUT, 1.5), "--alpha"),
    "alpha nan": (lambda: hide(ANY, OUT, NAN), "--alpha"),
    "hide seed": (lambda: hide(ANY, OUT, 0.5, -1), "--seed"),
    "cases": (lambda: make_phantom_cohort(OUT, 0, (8, 32, 32)), "--cases"),
    "size": (lambda: make_phantom_cohort(OUT, 1, (1, 1, 1)), "at least 8x32x32, at most 1024 an axis"),
    "include": (lambda: ExportRequest(OUT, "some"), "--include: no such choice; got 'some'"),  # type: ignore[arg-type]
    "layout": (lambda: export(ANY, "nnunet", ExportRequest(OUT), "two"), "--data-sets"),  # type: ignore[arg-type]
    "mend": (lambda: fix_geometry(ANY, "guess"), "--fix-geometry"),  # type: ignore[arg-type]
    "arm": (lambda: SweepOptions(arms=("luck",)), "--methods: no such arm"),
    "folds": (lambda: SweepOptions(folds=1), "--folds"),
    "run folds": (lambda: SweepOptions(run_folds=0), "--run-folds"),
    "seeds": (lambda: SweepOptions(seeds=(0.5,)), "--seeds"),  # type: ignore[arg-type]
    "seeds twice": (lambda: SweepOptions(seeds=(1, 1)), "--seeds: named twice"),
    "validation": (lambda: SweepOptions(validation=0.9), "--validation"),
    "budget": (lambda: SweepOptions(budget_minutes=NAN), "--budget"),
    "sweep jobs": (lambda: SweepOptions(jobs=0), "--jobs"),
    "demo steps": (lambda: DemoOptions(steps=1), "--steps"),
    "port": (lambda: ServeOptions(port=70000), "--port"),
    "repeats": (lambda: ServeOptions(repeats=1.5), "--repeats"),
    "jobs": (lambda: Processes(0), "--jobs"),
    "memory": (lambda: Pipelined(-1), "--memory"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_request_refuses_what_the_command_refuses(name: str) -> None:
    make, text = WRONG[name]
    with pytest.raises(BadInput) as caught:
        make()
    assert text in str(caught.value)
    assert not OUT.exists()


def test_a_relabelling_that_means_nothing_is_not_carried_out(world: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such rule"):
        smiler.relabel(world.run, world.hidden, tmp_path / "out", rule="nonsense", fraction=-1)
    with pytest.raises(BadInput, match="not a number in its range"):
        smiler.relabel(world.run, world.hidden, tmp_path / "out", fraction=-1)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def between_rounds(world: Any, tmp_path: Path) -> Path:
    """A run of two rounds that was stopped after its first training."""
    run = Path(shutil.copytree(world.run, tmp_path / "run"))
    recipe = (run / "recipe.toml").read_text()
    assert "rounds = 0" in recipe
    (run / "recipe.toml").write_text(recipe.replace("rounds = 0", "rounds = 2"))
    return run


def notes(folder: Path) -> dict[str, Any]:
    found = {path.relative_to(folder).as_posix(): json.loads(path.read_text()) for path in folder.rglob("*.json")}
    assert found
    return found


def test_the_command_and_python_record_the_same_of_a_relabelling(
    smiler_command: Smiler, world: Any, between_rounds: Path, tmp_path: Path
) -> None:
    done = smiler_command("relabel", between_rounds, world.hidden, tmp_path / "a", "--fraction", 0.5)
    assert done.code == 0, done.err
    smiler.relabel(between_rounds, world.hidden, tmp_path / "b", fraction=0.5)
    one, other = notes(tmp_path / "a"), notes(tmp_path / "b")
    assert one == other
    rounds = {note["facts"]["round"] for name, note in one.items() if name.startswith("completed/")}
    assert rounds == {0}  # what the checkpoint is, not what the recipe wanted
    assert (tmp_path / "a/cases.csv").read_text() == (tmp_path / "b/cases.csv").read_text()


def test_the_command_and_python_record_the_same_of_a_prediction(
    smiler_command: Smiler, world: Any, tmp_path: Path
) -> None:
    image = Cohort.open(world.phantom).image_path(Cohort.open(world.phantom).cases[0])
    done = smiler_command("predict", world.run, image, "--out", tmp_path / "a", "--organs", "liver")
    assert done.code == 0, done.err
    smiler.predict(world.run, [image], tmp_path / "b", organs=["liver"])
    assert notes(tmp_path / "a") == notes(tmp_path / "b")


def test_a_stage_that_is_no_number_is_named(world: Any, between_rounds: Path, tmp_path: Path) -> None:
    (checkpoint,) = (between_rounds / "checkpoints").glob("*.json")
    table = json.loads(checkpoint.read_text())
    table["facts"]["stage"] = "two"
    checkpoint.write_text(json.dumps(table))
    with pytest.raises(BadInput, match="stage: not a whole number in its range; got 'two'"):
        smiler.relabel(between_rounds, world.hidden, tmp_path / "out")


def test_nan_on_the_command_line_is_refused(smiler_command: Smiler, world: Any, tmp_path: Path) -> None:
    for words in (
        ["relabel", world.run, world.hidden, tmp_path / "o", "--fraction", "nan"],
        ["hide", world.phantom, tmp_path / "o", "--alpha", "nan"],
        ["train", world.hidden, tmp_path / "o", "--time-budget", "nan"],
        ["sweep", world.phantom, tmp_path / "o", "--seeds", "0.5"],
    ):
        result = smiler_command(*words)
        assert result.code == 2, words
        assert "Traceback" not in result.err
        assert not (tmp_path / "o").exists()


@pytest.fixture
def smiler_command(request: pytest.FixtureRequest) -> Smiler:
    """`smiler WORDS...`; the package has the fixture's usual name here."""
    command: Smiler = request.getfixturevalue("smiler")
    return command
