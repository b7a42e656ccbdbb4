"""One tiny cohort, made once and copied for each test; a server for those that need one."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from own_state import own_state
from reviewing import Reviewer, Served, make_cohort, serving

__all__ = ["own_state"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("review") / "cohort").folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A cohort that nobody has reviewed."""
    return Path(shutil.copytree(made, tmp_path / "cohort"))


@pytest.fixture
def served(folder: Path) -> Iterator[Served]:
    with serving(folder) as running:
        yield running


@pytest.fixture
def anna(served: Served) -> Reviewer:
    return served.reviewer("anna")


@pytest.fixture
def ben(served: Served) -> Reviewer:
    return served.reviewer("ben")
