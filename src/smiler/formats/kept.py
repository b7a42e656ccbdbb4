"""`smiler.json`: what an exported data set can't say in its own layout, so that an import brings it back exactly.

Statuses (absent is not unannotated), slice ranges, who drew a mask, patients, and the organs' relations.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from smiler.domain.cells import UNANNOTATED, Cell, Status, annotated, parse_cell
from smiler.domain.errors import BadInput
from smiler.domain.files import read_json
from smiler.domain.organs import Organ
from smiler.domain.shaped import as_shape

KEPT = "smiler.json"


@dataclass(frozen=True)
class KeptCase:
    """One exported case: its id and patient in the cohort, and its cells."""

    id: str
    patient: str
    cells: Mapping[str, Cell]

    def settled(self, organ: str, cell: Cell) -> Cell:
        """The imported cell as it was before the export; only its file and labels are the data set's own."""
        was = self.cells.get(organ, UNANNOTATED)
        if was.auto:
            return Cell(path=cell.path, labels=cell.labels, auto=True)
        if was.status is Status.ANNOTATED:
            return annotated(cell.path, cell.labels, was.ranges, cell.ignored)
        return was


@dataclass(frozen=True)
class Kept:
    """Organs with their relations, and the cases by their id in the layout."""

    organs: Mapping[str, Organ] = field(default_factory=dict)
    cases: Mapping[str, KeptCase] = field(default_factory=dict)

    def to_json(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The content of `smiler.json`."""
        organs = [_organ_row(organ) for organ in self.organs.values()]
        cases = {
            name: {"case": case.id, "patient": case.patient, "cells": _texts(case.cells)}
            for name, case in self.cases.items()
        }
        return {"format": 1, **facts, "organs": organs, "cases": cases}


def read_kept(source: Path) -> Kept | None:
    """What an export left beside its data, or None; BadInput for a file that can't be understood."""
    path = source / KEPT
    if not path.is_file():
        return None
    value, do = read_json(path), "delete it to import the data set without it"
    try:
        table = as_shape(value, _Table, "in it")
    except BadInput as error:
        raise BadInput("not what an export wrote", where=str(path), got=str(error), do=do) from error
    organs = {row.key: _organ(row) for row in table.organs}
    return Kept(organs, {name: _case(row, f"{path}, case {name}") for name, row in table.cases.items()})


@dataclass(frozen=True)
class _OrganRow:
    key: str
    title: str = ""
    snomed: str = ""
    colour: str = ""
    part_of: str | None = None
    overlaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class _CaseRow:
    case: str
    patient: str
    cells: Mapping[str, str]


@dataclass(frozen=True)
class _Table:
    """What `Kept.to_json` writes."""

    organs: tuple[_OrganRow, ...]
    cases: Mapping[str, _CaseRow]


def _case(row: _CaseRow, where: str) -> KeptCase:
    cells = {key: parse_cell(text, f"{where}, organ {key}") for key, text in row.cells.items()}
    return KeptCase(row.case, row.patient, cells)


def _texts(cells: Mapping[str, Cell]) -> dict[str, str]:
    """Cells with "-" for their file; unannotated ones are left out."""
    kept = {key: replace(cell, path="-", labels=(), ignored=0) if cell.path else cell for key, cell in cells.items()}
    return {key: str(cell) for key, cell in kept.items() if cell != UNANNOTATED}


def _organ_row(organ: Organ) -> dict[str, Any]:
    row = {"key": organ.key, "title": organ.title, "snomed": organ.snomed, "colour": organ.colour}
    return {**row, "part_of": organ.part_of or "", "overlaps": sorted(organ.overlaps)}


def _organ(row: _OrganRow) -> Organ:
    return Organ(row.key, row.title, row.snomed, row.colour, row.part_of or None, frozenset(row.overlaps))
