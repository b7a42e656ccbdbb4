"""kill -9 in training and in a curriculum round, then --resume: the same final weights, bit for bit."""

import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import warm
from shared_phantoms import Phantoms

from smiler.experiments.hide import hide
from smiler.networks.checkpoint import find_checkpoint
from smiler.verbs.run import RunFolder

STEPS, ROUNDS = 14, 2
OPTIONS = (
    f"training.steps={STEPS}",
    f"curriculum.rounds={ROUNDS}",
    "curriculum.floor=none",
    "training.checkpoint_minutes=0.0001",
    "training.precision='32'",
    "training.device=cpu",
    "sampling.patch_size=32",
    "sampling.batch_size=2",
    "network.width=8",
    "data.spacing_xy_mm=native",
)


@pytest.fixture(scope="module")
def cohort(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kill")
    hide(phantoms(folder / "all", 4), folder / "hidden", 0.5)
    return folder / "hidden" / "cohort"


VOLUMES = ("--set", "network.name=unet3d", "--set", "sampling.patch_depth=16")


@pytest.fixture(scope="module")
def undisturbed(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert warm.wait(start(cohort, run)) == 0
    return RunFolder(run)


@pytest.fixture(scope="module")
def undisturbed_3d(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = tmp_path_factory.mktemp("runs") / "undisturbed3d"
    assert warm.wait(start(cohort, run, *VOLUMES)) == 0
    return RunFolder(run)


def start(cohort: Path, run: Path, *extra: str) -> BaseProcess:
    options = [word for option in OPTIONS for word in ("--set", option)]
    return warm.start("train", str(cohort), str(run), *options, *extra)


def kill_when(process: BaseProcess, run: Path, pattern: str) -> None:
    """kill -9 as soon as a file of that pattern is there."""
    deadline = time.monotonic() + 120
    while not any(run.glob(pattern)):
        assert process.is_alive(), "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    assert warm.wait(process) == -signal.SIGKILL


def final_hash(run: RunFolder) -> str:
    checkpoint = run.newest()
    assert checkpoint.finished
    assert checkpoint.path.parent == run.stage_folder(ROUNDS)
    return checkpoint.model_hash


@pytest.mark.parametrize(
    "pattern",
    [
        "checkpoints/step-000000[3-9].json",  # in the first training
        "rounds/2/proposals/*.json",  # while round 2 relabels
        "rounds/2/checkpoints/step-000000[2-5].json",  # while round 2 trains
    ],
)
def test_a_killed_run_resumes_to_the_same_weights(
    pattern: str, cohort: Path, undisturbed: RunFolder, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    kill_when(start(cohort, run), run, pattern)
    assert warm.wait(start(cohort, run, "--resume")) == 0
    assert final_hash(RunFolder(run)) == final_hash(undisturbed)
    assert (run / "events.jsonl").read_text().count('"event": "step"') >= ROUNDS + 1


def test_a_killed_run_of_a_3d_network_resumes_to_the_same_weights(
    cohort: Path, undisturbed_3d: RunFolder, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    kill_when(start(cohort, run, *VOLUMES), run, "rounds/1/checkpoints/step-000000[2-4].json")
    assert warm.wait(start(cohort, run, "--resume")) == 0
    assert final_hash(RunFolder(run)) == final_hash(undisturbed_3d)


def test_sigterm_stops_with_a_checkpoint_and_resumes(cohort: Path, undisturbed: RunFolder, tmp_path: Path) -> None:
    run = tmp_path / "stopped"
    process = start(cohort, run, "--set", "training.checkpoint_minutes=60")
    deadline = time.monotonic() + 120
    while not (run / "recipe.toml").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    process.terminate()
    code = warm.wait(process)
    if code == 130:  # stopped in training: a checkpoint is there, wherever it was
        assert any(
            find_checkpoint(run / name) for name in ("checkpoints", "rounds/1/checkpoints", "rounds/2/checkpoints")
        )
    assert warm.wait(start(cohort, run, "--resume")) == 0
    assert final_hash(RunFolder(run)) == final_hash(undisturbed)


def test_a_changed_cohort_is_not_resumed(
    cohort: Path, undisturbed: RunFolder, phantoms: Phantoms, tmp_path: Path
) -> None:
    other = hide(phantoms(tmp_path / "other", 4), tmp_path / "hidden", 0.5, seed=5)
    output = tmp_path / "told"
    words = ("train", str(other.folder), str(undisturbed.path), "--resume")
    assert warm.wait(warm.start(*words, output=output)) == 2
    assert "the cohort has changed since the run began" in output.read_text()
