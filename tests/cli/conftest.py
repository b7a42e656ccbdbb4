"""The command line as a user drives it, and a small cohort and run made with nothing else."""

import contextlib
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from own_state import own_state
from tiny_runs import TINY

from smiler.cli import main

__all__ = ["own_state"]


@dataclass(frozen=True)
class Result:
    """What a command gave back."""

    code: int
    out: str
    err: str


def run_smiler(*words: object) -> Result:
    """`smiler WORDS...` in this process: the same function that the installed command calls."""
    out, err, argv, code = io.StringIO(), io.StringIO(), sys.argv, 0
    sys.argv = ["smiler", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = argv
    return Result(code, out.getvalue(), err.getvalue())


def train_words(*more: str) -> list[str]:
    """Options of a training that takes a second."""
    return ["--steps", "2", *(word for change in TINY for word in ("--set", change)), *more]


@dataclass(frozen=True)
class World:
    """A complete phantom cohort, the same with annotations hidden, its truth, and a run."""

    phantom: Path
    hidden: Path
    truth: Path
    run: Path


@pytest.fixture(scope="session")
def smiler() -> Callable[..., Result]:
    return run_smiler


@pytest.fixture(scope="session")
def quick_training() -> Callable[..., list[str]]:
    return train_words


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Made by commands alone, once; tests leave it as it is."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("world")
    made = World(base / "phantom", base / "out" / "cohort", base / "out" / "truth", base / "run")
    for words in (
        ["phantom", made.phantom, "--cases", 4, "--size", "8x32x32"],
        ["hide", made.phantom, base / "out", "--alpha", 0.5],
        ["train", made.hidden, made.run, "--method", "smile", *train_words()],
    ):
        result = run_smiler(*words)
        assert result.code == 0, result.err
    return made
