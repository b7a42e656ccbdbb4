"""The outcomes of `make bench`: each is kept under its date and machine, the last one also as latest.json."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smiler.domain.errors import BadInput
from smiler.domain.files import read_json, write_text

FOLDER = Path(__file__).parents[1] / "results" / "bench"


@dataclass(frozen=True)
class Run:
    """One outcome. `number`: its place among those that are kept, from 1, the oldest first."""

    number: int
    name: str
    facts: Mapping[str, Any]

    @property
    def date(self) -> str:
        """As a person reads it; a run of old has no hour."""
        return str(self.facts["date"]).replace("T", " ").replace("Z", " UTC")

    @property
    def machine(self) -> str:
        """In one line."""
        return str(self.facts["machine"])

    def value(self, group: str, key: str) -> float | None:
        """One of its figures; None where it was not measured."""
        found = self.facts.get(group)
        number = found.get(key) if isinstance(found, dict) else None
        return float(number) if isinstance(number, int | float) else None


def keep(outcome: Mapping[str, Any], folder: Path = FOLDER) -> None:
    """Write an outcome under its own name, and as the last."""
    text = json.dumps(outcome, indent=1) + "\n"
    write_text(folder / "runs" / f"{name_of(outcome)}.json", text)
    write_text(folder / "latest.json", text)


def name_of(outcome: Mapping[str, Any]) -> str:
    """Date, hour and machine, so that names are in the order of time."""
    date = re.sub(r"[:Z]", "", str(outcome["date"])).replace("T", "-")
    return f"{date}-{re.sub(r'[^a-z0-9.]+', '-', str(outcome['machine']).lower()).strip('-')}"


def read_runs(folder: Path = FOLDER) -> list[Run]:
    """All that are kept, the oldest first; BadInput where a file is no outcome, or where there is none."""
    paths = sorted((folder / "runs").glob("*.json"))
    if not paths:
        raise BadInput("no run of make bench is kept", where=str(folder / "runs"), do="make bench")
    return [Run(number, path.stem, outcome_of(path)) for number, path in enumerate(paths, start=1)]


def outcome_of(path: Path) -> dict[str, Any]:
    """A file's outcome; BadInput if it is none."""
    facts = read_json(path)
    missing = [key for key in ("date", "machine") if not isinstance(facts, dict) or key not in facts]
    if missing:
        raise BadInput("the file is no outcome of a benchmark", where=str(path), got=f"no {missing[0]}")
    return dict(facts)
