"""One case, audited: what the ledger says of each organ, and what its files hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from smiler.audit.shape import Shape, shapes_of
from smiler.audit.tally import Tally
from smiler.domain.cells import Cell, Status
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput, Faults
from smiler.domain.evidence import Code, Relations
from smiler.domain.geometry import Geometry
from smiler.formats.grey_values import GreyValues
from smiler.formats.labels import LabelOptions, read_case_labels
from smiler.formats.volumes import CT, Grid, ReadOptions, glance, read_ct, read_labels


class AuditOptions(BaseModel, frozen=True, extra="forbid"):
    """How thoroughly a cohort is checked, and how its files are read."""

    deep: bool = Field(default=False, description="Read every CT's voxels too: finds truncated files and NaN.")
    reading: ReadOptions = Field(default=ReadOptions(), description="How to read the CT files.")
    labels: LabelOptions = Field(default=LabelOptions(), description="How to read the masks.")


class Coverage(Enum):
    """What the ledger says of an organ in a volume; `partial`: annotated on some axial slices only."""

    ANNOTATED = "annotated"
    PARTIAL = "partial"
    ABSENT = "absent"
    AUTO = "auto"
    UNANNOTATED = "unannotated"

    @classmethod
    def of(cls, cell: Cell) -> "Coverage":
        """The coverage that a cell of the ledger means."""
        if cell.status is Status.ANNOTATED:
            return cls.PARTIAL if cell.ranges else cls.ANNOTATED
        if cell.status is Status.ABSENT:
            return cls.ABSENT
        return cls.AUTO if cell.auto else cls.UNANNOTATED

    @property
    def missing(self) -> bool:
        """Whether no expert has looked."""
        return self in (Coverage.AUTO, Coverage.UNANNOTATED)


@dataclass(frozen=True)
class Count:
    """One organ in one readable case: voxels of each code, drawn voxels, and the centre of what is drawn.

    x: mean index over the image's width, 0 = patient's right edge, 1 = left edge; NaN where nothing is drawn.
    """

    codes: Mapping[Code, int]
    drawn: int
    volume_ml: float
    x: float


@dataclass(frozen=True)
class CaseAudit:
    """What the audit found in one case; `counts` and `shapes` (per organ) are empty if its files can't be read."""

    id: str
    coverage: Mapping[str, Coverage]
    counts: Mapping[str, Count] = field(default_factory=dict)
    faults: tuple[BadInput, ...] = ()
    notes: tuple[str, ...] = ()
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    geometry: Geometry | None = None


def audit_case(cohort: Cohort, case: Case, options: AuditOptions) -> CaseAudit:
    """Read a few slices of a case's image (with `deep` all) and every mask; faults are gathered, never raised."""
    look = _Look(cohort, case, options)
    geometry = look.image()
    counts = look.masks(geometry) if geometry else look.masks_alone()
    found = (counts, tuple(look.faults), tuple(look.notes), look.shapes, geometry)
    return CaseAudit(case.id, coverage_of(cohort, case), *found)


def coverage_of(cohort: Cohort, case: Case) -> dict[str, Coverage]:
    """What the ledger says of each organ."""
    return {key: Coverage.of(case.cell(key)) for key in cohort.organs.keys}


@dataclass
class _Look:
    """Gathers faults and notes of one case."""

    cohort: Cohort
    case: Case
    options: AuditOptions
    faults: list[BadInput] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    hu: NDArray[np.int16] | None = None

    def image(self) -> Geometry | None:
        """Where the CT's voxels lie, or None if the file can't be used."""
        path, where = self.cohort.image_path(self.case), f"case {self.case.id}, image, file {self.case.image}"
        try:
            found, values = self._values(path)
        except BadInput as error:
            self.faults.append(_at(where, error))
            return None
        self.notes += [f"{where}: {note}" for note in found.notes]
        try:
            self.notes += [f"{where}: {note}" for note in values.notes(self.options.reading, where)]
        except BadInput as error:
            self.faults.append(error)
        return found.geometry

    def _values(self, path: Path) -> tuple[CT | Grid, GreyValues]:
        if not self.options.deep:
            return glance(path, self.options.reading)
        found = read_ct(path, self.options.reading)
        self.hu = found.hu
        return found, GreyValues.of(found.hu)

    def masks(self, geometry: Geometry) -> dict[str, Count]:
        """Per organ, what its masks hold; empty with any fault."""
        try:
            labels = read_case_labels(self.cohort, self.case, geometry, self.options.labels)
        except BadInput as error:
            self.faults += error.faults if isinstance(error, Faults) else (error,)
            return {}
        self.notes += labels.notes
        for path, values in labels.unclaimed.items():
            shown = ", ".join(map(str, values[:12])) + (" ..." if len(values) > 12 else "")
            self.notes.append(f"case {self.case.id}, file {path}: no cell claims label values {shown}")
        self.shapes = shapes_of(labels, self.cohort.organs, self.hu)
        return _counts(Tally.of(labels), self.cohort, geometry)

    def masks_alone(self) -> dict[str, Count]:
        """Without a CT to lie on, masks are only read for their own faults."""
        for path, where in self._mask_files().items():
            try:
                read_labels(self.cohort.at(path), self.options.labels.read)
            except BadInput as error:
                self.faults.append(_at(where, error))
        return {}

    def _mask_files(self) -> dict[str, str]:
        files: dict[str, list[str]] = {}
        for key in self.cohort.organs.keys:
            files.setdefault(self.case.cell(key).path, []).append(key)
        files.pop("", None)
        return {path: f"case {self.case.id}, organ {', '.join(keys)}, file {path}" for path, keys in files.items()}


def _counts(tally: Tally, cohort: Cohort, geometry: Geometry) -> dict[str, Count]:
    width = max(geometry.shape[2] - 1, 1)
    counts = {}
    for k, (key, row) in enumerate(zip(cohort.organs.keys, tally.codes(Relations.of(cohort.organs)), strict=True)):
        drawn, x = tally.drawn_of(k)
        codes = {code: int(row[code]) for code in Code}
        counts[key] = Count(codes, drawn, drawn * geometry.voxel_ml, x / width)
    return counts


def _at(where: str, error: BadInput) -> BadInput:
    return BadInput(error.what, where=where, got=error.got, do=error.do)
