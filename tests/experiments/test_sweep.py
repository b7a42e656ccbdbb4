"""A small sweep through the command line: killed, resumed, a failing trial, and every file that comes out."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.experiments.arms import ARMS
from smiler.experiments.jobs import run_trials
from smiler.experiments.phantom_cohort import make_phantom_cohort
from smiler.experiments.results import write_results
from smiler.experiments.sweep import Key, SweepOptions, run_sweep, trial_of
from smiler.experiments.trial import TrialFolder
from smiler.recipe.recipe import METHODS
from smiler.report.comparison import PLAIN, arm_colour
from smiler.report.names import ARMS as TITLES

TINY = (
    "data.spacing_xy_mm=native",
    "network.width=8",
    "sampling.patch_size=32",
    "sampling.batch_size=2",
    "training.steps=12",
    "training.device=cpu",
    "training.prior=0.6",  # so that even this network proposes something,
    "curriculum.floor=0",  # and it is accepted
)
ARMS_RUN = ("full", "baseline", "baseline-rethreshold", "smile", "smiler-guarded")
ORGANS = ("liver", "spleen")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return make_phantom_cohort(tmp_path_factory.mktemp("sweep") / "cohort", 12, (8, 32, 32))


def options(**changes: object) -> SweepOptions:
    usual: dict[str, object] = {
        "arms": ARMS_RUN, "alphas": (0.0, 0.5), "folds": 2, "organs": ORGANS, "changes": TINY,
        "validation": 0.2, "jobs": 2,
    }  # fmt: skip
    return SweepOptions(**{**usual, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def out(cohort: Cohort) -> Path:
    folder = cohort.folder.parent / "out"
    write_results(run_sweep(cohort, folder, options()))
    return folder


def test_every_arm_is_a_shipped_method() -> None:
    assert {arm.method for arm in ARMS.values()} <= set(METHODS)
    assert all(arm.of is None or arm.of in ARMS for arm in ARMS.values())
    assert all(arm.at_zero is None or ARMS[arm.at_zero].at_zero == arm.at_zero for arm in ARMS.values())


def test_the_report_has_a_title_and_a_colour_for_every_arm() -> None:
    assert set(ARMS) == set(TITLES)
    colours = [arm_colour(arm, PLAIN) for arm in ARMS]
    assert len(set(colours)) == len(ARMS)


def test_trials_that_are_one_training_are_run_once() -> None:
    assert trial_of(Key("full", 0.9, 1, 0)) == Key("full", 0.0, 1, 0)
    assert trial_of(Key("smile", 0.0, 1, 0)) == Key("full", 0.0, 1, 0)
    assert trial_of(Key("baseline", 0.5, 0, 0)) == Key("baseline", 0.5, 0, 0)


def test_a_sweep_leaves_tables_figures_and_one_page(out: Path) -> None:
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["arms"]) == set(ARMS_RUN)
    assert set(summary["arms"]["smile"]) == {"0", "0.5"}
    assert set(summary["arms"]["smiler-guarded"]) == {"0.5"}
    cell = summary["arms"]["smile"]["0.5"]
    assert cell["low"] <= cell["dice"] <= cell["high"]
    assert cell["n"] == 12
    assert summary["arms"]["smile"]["0"] == summary["arms"]["full"]["0.5"] == summary["arms"]["full"]["0"]
    assert summary["trials"] == 12
    with (out / "tables" / "relabelling.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["organ"] for row in rows} == set(ORGANS)
    assert {row["round"] for row in rows} == {"1", "2", "3"}
    for name in ("dice_over_alpha", "relabelling_precision", "calibration", "risk_coverage"):
        assert (out / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (out / "figures" / f"{name}.svg").read_text()
    page = (out / "report.html").read_text()
    assert "Arms over the share of missing annotations" in page
    assert "Relabelling, round by round" in page
    assert "organ 1" not in page


def test_all_arms_share_steps_seed_test_patients_and_network(out: Path) -> None:
    trials = [TrialFolder(path.parent).trial() for path in out.glob("trials/**/trial.json")]
    assert len(trials) == 12
    assert len({(t.recipe.training.steps, t.recipe.training.seed, t.recipe.training.precision) for t in trials}) == 1
    assert len({(t.fold, t.test, t.cases, t.recipe.sampling, t.recipe.network) for t in trials}) == 2
    assert {t.recipe.prediction.threshold for t in trials} == {0.5, 0.25}


def test_called_again_nothing_is_done_again_and_other_options_are_refused(cohort: Cohort, out: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.glob("trials/**/outcome.json")}
    run_sweep(cohort, out, options())
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("trials/**/outcome.json")}
    with pytest.raises(BadInput, match="a sweep with another folds is here already"):
        run_sweep(cohort, out, options(folds=3))
    with pytest.raises(BadInput, match="no such arm"):
        options(arms=("smiel",))


def test_a_failed_trial_is_named_and_does_not_stop_the_rest(out: Path, tmp_path: Path) -> None:
    good = next(path.parent for path in out.glob("trials/smile/**/trial.json"))
    order = json.loads((good / "trial.json").read_text())
    folders = []
    for name, cases in (("bad", ["nobody"]), ("good", order["cases"])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trial.json").write_text(json.dumps({**order, "cases": cases}))
        folders.append(TrialFolder(tmp_path / name))
    failed = run_trials(folders, 1)
    assert list(failed) == [tmp_path / "bad"]
    assert "no such case" in failed[tmp_path / "bad"]
    assert folders[1].outcome()["dice"] == TrialFolder(good).outcome()["dice"]


def test_killed_and_called_again_it_comes_to_the_same(cohort: Cohort, out: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "smiler", "sweep", str(cohort.folder), str(tmp_path / "again"), "--methods",
        ",".join(ARMS_RUN), "--alphas", "0,.5", "--folds", "2", "--organs", ",".join(ORGANS),
        "--validation", "0.2", "--jobs", "2", "--json",
    ]  # fmt: skip
    for change in TINY:
        command += ["--set", change]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "again").glob("trials/**/outcome.json")):
            assert time.monotonic() < deadline
            assert first.poll() is None
            time.sleep(0.05)
        first.kill()  # its processes must notice by themselves, and let go of their trials
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=True)
    ours, theirs = json.loads(done.stdout), json.loads((out / "summary.json").read_text())
    assert ours["arms"] == theirs["arms"]
    assert not ours["failed"]
