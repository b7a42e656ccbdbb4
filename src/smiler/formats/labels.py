"""What a case's cells say, as bit fields on the CT's grid: every file read once, every fault of the case at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from smiler.domain.cells import Cell
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput, raise_all
from smiler.domain.evidence import UNSEEN
from smiler.domain.geometry import Geometry
from smiler.domain.organs import OrganSet
from smiler.formats.exclusive import Clashes, settle
from smiler.formats.volumes import Drawn, Grid, ReadOptions, off_the_grid, read_header, read_labels


class LabelOptions(BaseModel, frozen=True, extra="forbid"):
    """How to read the masks of a case."""

    overlap: Literal["refuse", "first"] = Field(
        default="refuse",
        description="Where two organs that exclude each other share voxels: refuse, or the organ declared first.",
    )
    read: ReadOptions = Field(default=ReadOptions(), description="How to read the mask files, as for the CT.")


@dataclass(frozen=True)
class Labels:
    """Bit fields of one case, canonical: bit k is organ k of the cohort's organ set.

    drawn: int32 (z, y, x), an expert drew the organ; only on its known slices. Negative (bit 31, and no other) where
        the files say that nobody looked.
    proposed: int32 (z, y, x), a model proposed the organ (`auto:` cells).
    known: int32 (z,), an expert's word about the organ counts on this axial slice.
    unclaimed: path as the cells write it -> labels that the file holds and no cell claims.
    """

    drawn: NDArray[np.int32]
    proposed: NDArray[np.int32]
    known: NDArray[np.int32]
    notes: tuple[str, ...] = ()
    unclaimed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


_DEFAULT = LabelOptions()


def read_case_labels(cohort: Cohort, case: Case, geometry: Geometry, options: LabelOptions = _DEFAULT) -> Labels:
    """Read every mask of a case onto its CT's canonical grid; all faults are raised together.

    An `absent` organ has its bit set in `known` and nowhere in `drawn`; an unannotated organ has no bit set.
    """
    reader = _Reader(cohort, case, geometry, options)
    for path, organs in _by_path(cohort.organs, case).items():
        reader.read(path, organs)
    for part in reader.drawn:
        part[part >> np.uint32(UNSEEN) != 0] = np.uint32(1 << UNSEEN)
    reader.check_overlap()
    raise_all(reader.faults)
    drawn, proposed = reader.drawn.view(np.int32), reader.proposed.view(np.int32)
    return Labels(drawn, proposed, reader.known.view(np.int32), tuple(reader.notes), reader.unclaimed)


def _named(cell: Cell) -> tuple[int, ...]:
    """The labels that a cell speaks of."""
    return (*cell.labels, cell.ignored) if cell.ignored else cell.labels


def _by_path(organs: OrganSet, case: Case) -> dict[str, list[str]]:
    """Mask file -> the organs, in channel order, whose cells refer to it."""
    files: dict[str, list[str]] = {}
    for organ in organs.keys:
        if case.cell(organ).path:
            files.setdefault(case.cell(organ).path, []).append(organ)
    return files


def _codes(drawn: Drawn) -> tuple[int, ...]:
    """Which codes above 0 occur."""
    seen = np.zeros(np.iinfo(drawn.codes.dtype).max + 1, dtype=bool)
    for part in drawn.codes:
        seen[part] = True
    return tuple(int(value) for value in np.flatnonzero(seen) if value)


@dataclass(frozen=True)
class _Claim:
    """What one cell takes from its file: bit `bit` where the label is claimed, on slices `known` (z,)."""

    organ: str
    cell: Cell
    bit: int
    known: NDArray[np.bool_]


@dataclass
class _Reader:
    """Gathers the bit fields (uint32), notes and faults of one case, file by file."""

    cohort: Cohort
    case: Case
    geometry: Geometry
    options: LabelOptions
    faults: list[BadInput] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    unclaimed: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.drawn = np.zeros(self.geometry.shape, dtype=np.uint32)
        self.proposed = np.zeros(self.geometry.shape, dtype=np.uint32)
        self.known = np.zeros(self.geometry.shape[0], dtype=np.uint32)
        for organ in self.cohort.organs.keys:
            cell = self.case.cell(organ)
            self.known[cell.known_slices(len(self.known))] |= np.uint32(1 << self.cohort.organs.index(organ))
            beyond = [part for part in cell.ranges if part.stop > len(self.known)]
            if beyond:
                got = f"{beyond[0]}, the volume has {len(self.known)} slices"
                self._fault([organ], cell.path, BadInput("a slice range ends beyond the volume", where="", got=got))

    def read(self, path: str, organs: list[str]) -> None:
        """Add what one file holds."""
        try:
            drawn = read_labels(self.cohort.at(path), self.options.read, self.geometry)
            self._check_geometry(drawn.grid)
        except BadInput as error:
            self._fault(organs, path, error)
            return
        self.notes += [f"{self._where(organs, path)}: {note}" for note in drawn.notes]
        claims = [self._claim(organ) for organ in organs]
        self._list_unclaimed(path, drawn, claims)
        counts = self._add(drawn, claims)
        for claim, (inside, outside) in zip(claims, counts, strict=True):
            self.counts[claim.organ] = inside
            self._report(claim, drawn, inside, outside)

    def _list_unclaimed(self, path: str, drawn: Drawn, claims: list[_Claim]) -> None:
        named = [_named(claim.cell) for claim in claims]
        if all(named):  # a cell that takes the whole file claims all of it
            held = {label for code in _codes(drawn) for label in drawn.labels_of(code)}
            rest = tuple(sorted(held.difference(*named)))
            self.unclaimed.update({path: rest} if rest else {})

    def check_overlap(self) -> None:
        """Refuse voxels of two organs that exclude each other, or settle them."""
        clashes = settle(self.drawn, self.cohort.organs, change=self.options.overlap == "first")
        for (first, second), count in clashes.pairs.items():
            if self.options.overlap == "first":
                self.notes.append(
                    f"case {self.case.id}: {count} voxels of both {first} and {second} kept by the one declared first"
                )
            else:
                self._fault_overlap(first, second, count)
        self._check_not_emptied(clashes)

    def _add(self, drawn: Drawn, claims: list[_Claim]) -> list[tuple[int, int]]:
        """Set the bits slice by slice; per claim, its voxels on known slices and on others."""
        size = drawn.largest + 1
        tables = np.stack([drawn.table(claim.cell.labels) for claim in claims])
        ignored = {claim.cell.ignored for claim in claims if claim.cell.ignored}
        unseen = drawn.table(ignored) if ignored else np.zeros(size, dtype=bool)
        counts = np.zeros((len(claims), 2), dtype=np.int64)
        for z, part in enumerate(drawn.codes):
            if not part.any():
                continue
            voxels = tables @ np.bincount(part.ravel(), minlength=size)
            for which, target in ((False, self.drawn), (True, self.proposed)):
                bits = np.zeros(size, dtype=np.uint32)
                for claim, table in zip(claims, tables, strict=True):
                    if claim.cell.auto is which and claim.known[z]:
                        bits |= np.where(table, np.uint32(claim.bit), np.uint32(0))
                bits |= np.where(unseen & (not which), np.uint32(1 << UNSEEN), np.uint32(0))
                if bits.any():
                    target[z] |= bits[part]
            outside = np.array([not claim.known[z] for claim in claims], dtype=np.intp)
            counts[np.arange(len(claims)), outside] += voxels
        return [(int(inside), int(rest)) for inside, rest in counts]

    def _claim(self, organ: str) -> _Claim:
        cell, slices = self.case.cell(organ), self.geometry.shape[0]
        known = np.ones(slices, dtype=bool) if cell.auto else cell.known_slices(slices)
        return _Claim(organ, cell, 1 << self.cohort.organs.index(organ), known)

    def _report(self, claim: _Claim, drawn: Drawn, inside: int, outside: int) -> None:
        where = self._where([claim.organ], claim.cell.path)
        if not inside and claim.cell.auto:
            self.notes.append(f"{where}: the proposal has no voxel")
        elif not inside and claim.cell.labels and (claim.cell.ranges or claim.cell.ignored) and not outside:
            self.notes.append(f"{where}: no voxel where an expert looked")
        elif not inside:
            self._fault([claim.organ], claim.cell.path, self._empty(claim.cell, outside))
        if outside:
            self.notes.append(f"{where}: {outside} voxels outside the annotated slices ignored")
        if inside and not claim.cell.labels and drawn.largest > 1:
            values = ", ".join(map(str, _codes(drawn)[:8]))
            self.notes.append(f"{where}: voxels of value {values} count as {claim.organ}")

    @staticmethod
    def _empty(cell: Cell, outside: int) -> BadInput:
        label = f" of label {'+'.join(map(str, cell.labels))}" if cell.labels else ""
        slices = f" on the annotated slices, {outside} on others" if cell.ranges else ""
        return BadInput(
            "the organ is annotated and its mask is empty",
            where="",
            got=f"no voxel{label}{slices}",
            do="write absent if an expert looked and it is not there, else leave the cell empty",
        )

    def _check_geometry(self, grid: Grid) -> None:
        if not grid.geometry.agrees(self.geometry):
            raise off_the_grid(grid, self.geometry, self._ct_codes)

    @cached_property
    def _ct_codes(self) -> str:
        """The CT file's own axes, or its canonical ones where it is no NIfTI file."""
        try:
            return read_header(self.cohort.image_path(self.case), self.options.read).axis_codes
        except BadInput:
            return self.geometry.axis_codes[::-1]

    def _fault_overlap(self, first: str, second: str, count: int) -> None:
        paths = " and ".join(dict.fromkeys(self.case.cell(organ).path for organ in (first, second)))
        got = f"{count} voxels"
        do = "mend the masks, declare part_of or overlaps, or set overlap = first"
        error = BadInput("two organs that exclude each other share voxels", where="", got=got, do=do)
        self._fault([first, second], paths, error)

    def _check_not_emptied(self, clashes: Clashes) -> None:
        for organ, lost in clashes.lost.items():
            if self.options.overlap == "first" and lost == self.counts.get(organ):
                error = BadInput(
                    "other organs take every voxel of it", where="", got=f"{lost} voxels", do="mend the masks"
                )
                self._fault([organ], self.case.cell(organ).path, error)

    def _fault(self, organs: list[str], path: str, error: BadInput) -> None:
        self.faults.append(BadInput(error.what, where=self._where(organs, path), got=error.got, do=error.do))

    def _where(self, organs: list[str], path: str) -> str:
        return f"case {self.case.id}, organ {', '.join(organs)}, file {path}"
