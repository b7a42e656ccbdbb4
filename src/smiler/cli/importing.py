"""The conversation around an import: ask where a label map can't tell absent from not annotated."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from smiler.cli.console import Bars, err, out
from smiler.domain.errors import BadInput, Faults
from smiler.formats.base import ImportOptions
from smiler.formats.importing import Ambiguous, ImportReport, import_into
from smiler.formats.makers import Unattributed


def import_asking(
    source: Path, cohort: Path, values: Mapping[str, Any], format_name: str | None, *, ask: bool
) -> ImportReport:
    """Import; where only the user can tell something and a person is there, ask once for each and go on."""
    bars, values = Bars(), dict(values)
    while True:
        try:
            report = import_into(source, cohort, _options(values), format_name)
        except BadInput as error:
            questions = error.faults if isinstance(error, Faults) else (error,)
            if not ask or not all(isinstance(fault, (Ambiguous, Unattributed)) for fault in questions):
                raise
            for fault in questions:
                name, question = _QUESTIONS[type(fault)]
                err.print(str(fault), soft_wrap=True)
                values[name] = typer.prompt(question).strip()
        else:
            _tell(report, cohort, bars)
            return report


_QUESTIONS = {
    Ambiguous: ("absent_means", "What does a label without a voxel mean in these cases? (absent/unannotated)"),
    Unattributed: ("taken_as", "Who are these masks by? (expert/proposals)"),
}


def _options(values: Mapping[str, Any]) -> ImportOptions:
    try:
        return ImportOptions(**values)
    except ValidationError as error:
        row = error.errors()[0]
        name = "--" + "-".join(str(part) for part in row["loc"]).replace("_", "-").replace("taken-as", "as")
        raise BadInput(row["msg"], where=name, got=repr(row["input"])) from error


def _tell(report: ImportReport, cohort: Path, bars: Bars) -> None:
    organs = f", organs new in it: {', '.join(report.organs_added)}" if report.organs_added else ""
    bars.note(f"{len(report.added)} case{'s' * (len(report.added) != 1)} added to {cohort}{organs}")
    for text in (*report.notes, *(f"conflict: {conflict}" for conflict in report.conflicts)):
        bars.note(f"  {text}")
    out.print("", end="")
