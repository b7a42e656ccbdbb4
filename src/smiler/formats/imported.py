"""`imports.jsonl` of a cohort: what was imported from where, and which public data sets share patients."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smiler.domain.errors import BadInput
from smiler.domain.files import parse_json, write_text
from smiler.domain.provenance import tool_version
from smiler.domain.shaped import read_lines

NAME = "imports.jsonl"
SHARED: Mapping[frozenset[str], str] = {
    frozenset({"lits", "ircadb"}): "LiTS contains the 20 patients of 3D-IRCADb-01",
    frozenset({"lits", "ctorg"}): "CT-ORG is mostly made of LiTS",
    frozenset({"ctorg", "ircadb"}): "CT-ORG contains LiTS, and with it 3D-IRCADb-01",
    frozenset({"lits", "msd"}): "Task03 (liver) of the Decathlon is LiTS",
    frozenset({"ctorg", "msd"}): "CT-ORG contains LiTS, which is Task03 of the Decathlon",
    frozenset({"flare", "msd"}): "FLARE takes cases from the Decathlon (pancreas, spleen, liver)",
    frozenset({"flare", "lits"}): "FLARE takes cases from LiTS",
    frozenset({"flare", "kits"}): "FLARE takes cases from KiTS",
}
"""Public data sets with patients in common."""


def read_imports(cohort: Path) -> list[dict[str, Any]]:
    """The imports so far, oldest first; BadInput names a line that is not JSON."""
    path = cohort / NAME
    if not path.exists():
        return []
    rows = []
    for number, line in read_lines(path):
        try:
            row = parse_json(line, f"{path}, line {number}")
        except BadInput as error:
            raise BadInput("the line is not JSON", where=error.where, got=line[:80]) from error
        if not isinstance(row, dict):
            raise BadInput("the line is not an import", where=f"{path}, line {number}", got=line[:80])
        rows.append(row)
    return rows


def note_import(cohort: Path, source: Path, format_name: str, options: Mapping[str, Any], cases: list[str]) -> None:
    """Add a line."""
    row = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": str(source),
        "format": format_name,
        "options": dict(options),
        "cases": cases,
        "tool": f"smiler {tool_version()}",
    }
    lines = [json.dumps(old, ensure_ascii=False) for old in read_imports(cohort)]
    write_text(cohort / NAME, "\n".join([*lines, json.dumps(row, ensure_ascii=False)]) + "\n")


def shared_patients(cohort: Path, format_name: str) -> Iterator[str]:
    """Sentences about data sets in the cohort that have patients in common with this one."""
    for other in dict.fromkeys(str(row.get("format")) for row in read_imports(cohort)):
        if what := SHARED.get(frozenset({other, format_name})):
            yield f"{what}: give the same patient one name in cases.csv before you split by patient"
