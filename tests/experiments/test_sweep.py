"""A small sweep through the command line: killed, resumed, a failing trial, and every file that comes out."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from proc import needs_proc, needs_ray, workers_of
from shared_phantoms import Phantoms

from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.experiments.arms import ARMS
from smiler.experiments.jobs import LocalJobs, run_trials
from smiler.experiments.ray_jobs import RayJobs
from smiler.experiments.results import write_results
from smiler.experiments.sweep import Key, SweepOptions, run_sweep, trial_of
from smiler.experiments.trial import TrialFolder
from smiler.experiments.worker import LOG
from smiler.recipe.recipe import METHODS
from smiler.report.comparison import PLAIN, arm_colour
from smiler.report.names import ARMS as TITLES
from smiler.workers.over_ray import OverRay

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
def cohort(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return phantoms(tmp_path_factory.mktemp("sweep") / "cohort", 12)


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


def a_bad_and_a_good_trial(out: Path, folder: Path) -> list[TrialFolder]:
    order = json.loads(next(out.glob("trials/smile/**/trial.json")).read_text())
    for name, cases in (("bad", ["nobody"]), ("good", order["cases"])):
        (folder / name).mkdir()
        (folder / name / "trial.json").write_text(json.dumps({**order, "cases": cases}))
    return [TrialFolder(folder / "bad"), TrialFolder(folder / "good")]


def test_a_failed_trial_is_named_and_does_not_stop_the_rest(out: Path, tmp_path: Path) -> None:
    folders = [bad, good] = a_bad_and_a_good_trial(out, tmp_path)
    failed = run_trials(folders, LocalJobs(1))
    assert list(failed) == [bad.path]
    assert "no such case" in failed[bad.path]
    same = TrialFolder(next(out.glob("trials/smile/**/trial.json")).parent)
    assert good.outcome()["dice"] == same.outcome()["dice"]


def start(cohort: Cohort, out: Path, *words: str) -> "subprocess.Popen[str]":
    """`smiler sweep` with the options of this file, in a process of its own."""
    command = [
        sys.executable, "-m", "smiler", "sweep", str(cohort.folder), str(out), "--folds", "2",
        "--organs", ",".join(ORGANS), "--validation", "0.2", "--jobs", "2", "--json", *words,
    ]  # fmt: skip
    for change in TINY:
        command += ["--set", change]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: "subprocess.Popen[str]", out: Path, pattern: str) -> Path:
    """The first file of that pattern."""
    deadline = time.monotonic() + 200
    while not (found := list(out.glob(pattern))):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found[0]


def test_killed_and_called_again_it_comes_to_the_same(cohort: Cohort, out: Path, tmp_path: Path) -> None:
    words = ("--alphas", ".5", "--methods", "baseline,smiler-guarded")
    with start(cohort, tmp_path / "again", *words) as first:
        wait_for(first, tmp_path / "again", "trials/**/outcome.json")
        first.kill()  # its processes must notice by themselves, and let go of their trials
    with start(cohort, tmp_path / "again", *words) as second:
        told = second.communicate(timeout=280)
    assert second.returncode == 0, told
    same_as_undisturbed(json.loads(told[0]), out)


def same_as_undisturbed(ours: dict[str, Any], out: Path) -> None:
    """Of the arms and shares that were run again every number is the same, and nothing failed."""
    theirs = json.loads((out / "summary.json").read_text())
    assert not ours["failed"]
    assert ours["arms"] == {
        arm: {alpha: theirs["arms"][arm][alpha] for alpha in cells} for arm, cells in ours["arms"].items()
    }


@needs_ray
@needs_proc
def test_over_ray_it_comes_to_the_same_and_a_killed_trial_goes_on(cohort: Cohort, out: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    words = ("--alphas", ".5", "--methods", "baseline,baseline-rethreshold,smiler-guarded", "--ray", "local")
    with start(cohort, again, *words) as process:
        round_1 = wait_for(process, again, "trials/smiler-guarded/**/rounds/1")
        trial = round_1.parents[1]
        victims = [pid for pid in workers_of(process.pid) if Path(f"/proc/{pid}/fd/1").readlink() == trial / LOG]
        os.kill(victims[0], signal.SIGKILL)
        done = not_again(again, trial)
        told = process.communicate(timeout=280)
    assert process.returncode == 0, told
    assert trial / "checkpoints" in {path.parent for path in done}
    assert {path: path.stat().st_mtime_ns for path in done} == done
    same_as_undisturbed(json.loads(told[0]), out)


def not_again(out: Path, killed: Path) -> dict[Path, int]:
    """When the finished trials' outcomes were written, and the checkpoints of the killed trial's first training."""
    return {
        path: path.stat().st_mtime_ns for path in (*out.glob("trials/**/outcome.json"), *killed.glob("checkpoints/*"))
    }


@needs_ray
def test_a_trial_that_fails_over_ray_is_named_and_does_not_stop_the_rest(out: Path, tmp_path: Path) -> None:
    folders = [bad, good] = a_bad_and_a_good_trial(out, tmp_path)
    with RayJobs.joined(OverRay("local", 2)) as runner:
        failed = run_trials(folders, runner)
    assert list(failed) == [bad.path]
    assert "exit status 2" in failed[bad.path]
    assert "no such case" in failed[bad.path]
    assert good.done
