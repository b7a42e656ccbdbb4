"""The commands with --jobs and --ray: byte for byte what one process writes, also when a worker is killed."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from proc import needs_proc, needs_ray, workers_of

from smiler.cli import main
from smiler.domain.errors import BadInput
from smiler.domain.geometry import Geometry
from smiler.formats.nifti import write_ct
from smiler.phantom import PhantomOptions, generate
from smiler.verbs.model_at import ModelAt

SPREAD = [["--jobs", "2"], pytest.param(["--ray", "local", "--jobs", "2"], marks=needs_ray)]
IMAGES = 8


def start(*words: object) -> "subprocess.Popen[str]":
    """`smiler WORDS...` in a process of its own."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "smiler", *map(str, words)]
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@dataclass(frozen=True)
class Result:
    """What a command gave back."""

    code: int
    out: str
    err: str


def smiler(*words: object) -> Result:
    """`smiler WORDS...` in this process, which has loaded torch already; its workers are processes of their own."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["smiler", *map(str, words)])
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Result(code, out.getvalue(), err.getvalue())


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, but for the lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Volumes that take a moment each."""
    folder = tmp_path_factory.mktemp("images")
    phantom = generate(3, PhantomOptions(shape=(16, 64, 64)))
    for number in range(IMAGES):
        hu = np.tile(np.roll(phantom.hu, number, axis=2), (3, 2, 2))
        write_ct(folder / f"ct{number}.nii.gz", hu, Geometry.canonical(hu.shape, phantom.spacing))
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def alone(tiny: Any, images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process predicts."""
    out = tmp_path_factory.mktemp("alone")
    smiler("predict", tiny.run, *images, "--out", out, "--device", "cpu")
    return tree(out)


@pytest.mark.parametrize(
    "words",
    [
        lambda tiny, out: [
            "relabel",
            tiny.run,
            tiny.cohort.folder,
            out,
            "--rule",
            "mc_dropout",
            "--fraction",
            ".5",
            "--device",
            "cpu",
        ],
        lambda tiny, out: ["evaluate", tiny.run, tiny.cohort.folder, "--out", out, "--device", "cpu"],
        lambda tiny, out: ["audit", tiny.cohort.folder, "--deep", "--out", out],
    ],
    ids=["relabel by dropout", "evaluate", "audit"],
)
def test_two_processes_write_what_one_writes(tiny: Any, words: Callable[..., list[object]], tmp_path: Path) -> None:
    one, two = tmp_path / "a" / "out", tmp_path / "b" / "out"
    told = smiler(*words(tiny, one), "--json").out
    again = smiler(*words(tiny, two), "--json", "--jobs", "2").out
    assert json.loads(told.replace(str(one), "OUT")) == json.loads(again.replace(str(two), "OUT"))
    assert tree(one) == tree(two)
    assert len(tree(one)) > 0


@needs_proc
@pytest.mark.parametrize("spread", SPREAD, ids=lambda words: words[0])
def test_a_worker_killed_in_the_middle_changes_nothing(
    tiny: Any, images: list[Path], alone: dict[str, bytes], spread: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with start("predict", tiny.run, *images, "--out", out, "--device", "cpu", *spread) as process:
        deadline = time.monotonic() + 100
        while not (finished := list(out.glob("*/provenance.json"))):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        victims = workers_of(process.pid)
        kept = {path: path.stat() for path in finished}
        os.kill(victims[0], signal.SIGKILL)
        told = process.communicate(timeout=100)
    assert process.returncode == 0, told
    assert 1 <= len(victims) <= 2  # a process of Ray is named after its task only while it works
    assert len(kept) < IMAGES, "everything was finished before a worker was killed"
    assert tree(out) == alone
    for path, before in kept.items():  # finished, so not done again
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    whole = {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    assert smiler("predict", tiny.run, *images, "--out", out, "--device", "cpu").code == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/*")} == whole


def test_an_error_in_a_worker_is_one_clear_message(tiny: Any, images: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(images[0].read_bytes()[:5000])
    words = ["predict", tiny.run, images[0], broken, "--device", "cpu", "--out"]
    one, two = smiler(*words, tmp_path / "one"), smiler(*words, tmp_path / "two", "--jobs", "2")
    assert one == two
    assert one.code == 2
    assert one.err.startswith("error ")
    assert str(broken) in one.err
    assert "Traceback" not in one.err
    assert (tmp_path / "two" / "ct0" / "provenance.json").exists()


def test_a_model_that_changes_meanwhile_is_not_mixed_in(tiny: Any) -> None:
    at = ModelAt.find(tiny.run, "cpu")
    assert (at.made_by, at.organs.keys) == (tiny.model.made_by, tiny.model.organs.keys)
    assert at.open() is at.open()
    with pytest.raises(BadInput, match=r"the checkpoint has changed meanwhile; got .* instead of 000000000000"):
        replace(at, made_by="0" * 64).open()


def test_memory_is_said_for_one_process(tiny: Any, images: list[Path], alone: dict[str, bytes], tmp_path: Path) -> None:
    words = ["predict", tiny.run, *images, "--device", "cpu", "--out", tmp_path / "out", "--memory"]
    for wrong, told in {("1", "--jobs", "2"): "it is for one process", ("inf",): "not a size"}.items():
        refused = smiler(*words, *wrong)
        assert (refused.code, told in refused.err) == (2, True), refused.err
    assert not (tmp_path / "out").exists()
    assert smiler(*words, "0").code == 0
    assert tree(tmp_path / "out") == alone
