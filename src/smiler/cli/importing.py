"""The conversation around an import: ask where a label map can't tell absent from not annotated."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from smiler.cli.console import Bars, err, out, safe
from smiler.domain.errors import BadInput
from smiler.formats.base import ImportOptions
from smiler.formats.importing import Ambiguous, ImportReport, import_into


def import_asking(
    source: Path, cohort: Path, values: Mapping[str, Any], format_name: str | None, *, ask: bool
) -> ImportReport:
    """Import; where it is ambiguous and a person is there, ask once and go on."""
    bars = Bars()
    try:
        report = import_into(source, cohort, _options(values), format_name)
    except Ambiguous as error:
        if not ask:
            raise
        err.print(safe(str(error)))
        answer = typer.prompt("What does a label without a voxel mean in these cases? (absent/unannotated)")
        report = import_into(source, cohort, _options({**values, "absent_means": answer.strip()}), format_name)
    _tell(report, cohort, bars)
    return report


def _options(values: Mapping[str, Any]) -> ImportOptions:
    try:
        return ImportOptions(**values)
    except ValidationError as error:
        row = error.errors()[0]
        name = "--" + "-".join(str(part) for part in row["loc"]).replace("_", "-")
        raise BadInput(row["msg"], where=name, got=repr(row["input"])) from error


def _tell(report: ImportReport, cohort: Path, bars: Bars) -> None:
    organs = f", organs new in it: {', '.join(report.organs_added)}" if report.organs_added else ""
    bars.note(f"{len(report.added)} case{'s' * (len(report.added) != 1)} added to {cohort}{organs}")
    for text in (*report.notes, *(f"conflict: {conflict}" for conflict in report.conflicts)):
        bars.note(f"  {text}")
    out.print("", end="")
