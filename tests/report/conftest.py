"""One fake folder and its page, made once for all tests that only read it."""

from pathlib import Path

import pytest
from fake_folder import make_folder

from smiler.report.report import write_report


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("reports") / "everything <b>", patients=6)


@pytest.fixture(scope="session")
def page(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")
