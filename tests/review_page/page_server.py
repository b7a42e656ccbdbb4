"""The real server, as a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "src/smiler/review/page"


@dataclass(frozen=True)
class Served:
    """A cohort under review: its folder, each reviewer's address, and the server's process."""

    folder: Path
    urls: dict[str, str]
    process: subprocess.Popen[str]


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Served]:
    """The server of a cohort, as a process of its own."""
    command = [sys.executable, "-m", "smiler", "review", str(folder), "--no-browser", "--json", "--page", str(PAGE)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Served(folder, json.loads(_first_page(process))["urls"], process)
        finally:
            process.terminate()


def _first_page(process: subprocess.Popen[str]) -> str:
    """The JSON object that the server prints once it listens."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if line.rstrip() == "}":
            return "".join(lines)
    raise AssertionError("the server ended before it listened")
