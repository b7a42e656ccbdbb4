"""Export to nnU-Net: one data set in which `ignore` is where some organ is unknown, or one data set an organ.

A label map says one thing a voxel: a label, background for every organ, or ignore for every organ. Where a case leaves
an organ out altogether, all that experts said about the others' background would be ignored too; then each organ gets
a data set of its own, of the cases that say something of it, and nothing is lost.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.evidence import Code, Fields, Relations, derive
from smiler.domain.files import write_json
from smiler.domain.organs import OrganSet
from smiler.export.images import link, put_image
from smiler.export.pieces import ExportRequest, Piece
from smiler.formats.nifti import read_labels, write_labels

Layout = Literal["auto", "one", "per-organ"]
HIGHEST = 254
IMAGES = "images"
_THERE = (Code.POSITIVE, Code.IMPLIED)


@dataclass
class DataSet:
    """One nnU-Net data set while it grows: which organs it has, which labels its combinations got, what was lost."""

    folder: Path
    organs: OrganSet
    keys: tuple[str, ...]
    numbers: dict[int, int] = field(default_factory=dict)
    cases: list[str] = field(default_factory=list)
    ignores: bool = False
    lost: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for key in self.keys:
            self._number(self.organs.bits(({key} | self.organs.wholes(key)) & set(self.keys)))

    def image(self, case: str) -> Path:
        """Where a case's CT lies."""
        return self.folder / "imagesTr" / f"{case}_0000.nii.gz"

    def add(self, piece: Piece) -> None:
        """Write a label map with a number for each combination of organs."""
        name = piece.case.id
        labels = self._label_map(piece)
        write_labels(self.folder / "labelsTr" / f"{name}.nii.gz", labels, piece.grid)
        told = {key: piece.provenance[key] for key in self.keys if key in piece.provenance}
        if told:
            write_json(self.folder / "labelsTr" / f"{name}.json", {"organs": told})
        self.cases.append(name)

    def finish(self, name: str) -> None:
        """`dataset.json`, last: it makes the folder a data set. The ignore label follows the last, as nnU-Net asks."""
        labels: dict[str, Any] = {"background": 0}
        for key in self.keys:
            bit = 1 << self.organs.index(key)
            mine = [number for bits, number in self.numbers.items() if bits & bit]
            labels[key] = mine[0] if len(mine) == 1 else mine
        manifest: dict[str, Any] = {"channel_names": {"0": "CT"}, "labels": labels}
        if any(isinstance(value, list) for value in labels.values()):
            order = sorted(self.keys, key=lambda key: len(self.organs.wholes(key)))
            manifest["labels"] = {"background": 0} | {key: labels[key] for key in order}
            manifest["regions_class_order"] = [self._own(key) for key in order]
        if self.ignores:
            manifest["labels"]["ignore"] = len(self.numbers) + 1
            self._renumber(len(self.numbers) + 1)
        manifest |= {"numTraining": len(self.cases), "file_ending": ".nii.gz", "name": name}
        write_json(self.folder / "dataset.json", manifest)

    def _renumber(self, ignore: int) -> None:
        """Labels are only all known when every case is through."""
        for name in self.cases:
            path = self.folder / "labelsTr" / f"{name}.nii.gz"
            labels, grid = read_labels(path)
            if (labels == IGNORE).any():
                write_labels(path, np.where(labels == IGNORE, ignore, labels).astype(np.uint8), grid)

    def _own(self, key: str) -> int:
        return self.numbers[self.organs.bits(({key} | self.organs.wholes(key)) & set(self.keys))]

    def _number(self, bits: int) -> int:
        if bits not in self.numbers and len(self.numbers) >= HIGHEST - 2:
            raise BadInput("too many combinations of overlapping organs for one label map", where=str(self.folder))
        return self.numbers.setdefault(bits, len(self.numbers) + 1)

    def _label_map(self, piece: Piece) -> NDArray[np.uint8]:
        out = np.zeros(piece.labels.drawn.shape, dtype=np.uint8)
        for z, plane in enumerate(piece.labels.drawn):
            values, where, counts = np.unique(plane, return_inverse=True, return_counts=True)
            told = self._numbers_of(values, int(piece.labels.known[z]), counts)
            out[z] = told[where.reshape(plane.shape)]
        return out

    def _numbers_of(self, values: NDArray[np.int32], known: int, counts: NDArray[np.intp]) -> NDArray[np.uint8]:
        """The label of each combination of drawn bits on a slice: ignore where one of the organs is unknown."""
        drawn = values.astype(np.int64)
        fields = Fields(drawn, np.full_like(drawn, known), np.zeros_like(drawn))
        codes = derive(fields, Relations.of(self.organs), np)
        numbers = np.zeros(len(values), dtype=np.uint8)
        for i in range(len(values)):
            of = {key: Code(int(codes[self.organs.index(key), i])) for key in self.keys}
            there = self.organs.bits(key for key, code in of.items() if code in _THERE)
            if Code.UNKNOWN in of.values():
                numbers[i], self.ignores = IGNORE, True
                self.lost.update({key: int(counts[i]) for key, code in of.items() if code in _THERE})
                self.lost["background"] += int(counts[i]) * sum(code is Code.NEGATIVE for code in of.values())
            elif there:
                numbers[i] = self._number(there)
        return numbers


IGNORE = HIGHEST
"""Written while the data set grows; in the end it becomes the label after the last, as nnU-Net wants it."""


def data_sets(cohort: Cohort, request: ExportRequest, layout: Layout) -> list[DataSet]:
    """One data set, or one an organ, in a folder that can serve as nnUNet_raw."""
    keys = request.organs or cohort.organs.keys
    whole = all(str(case.cell(key)) and not case.cell(key).auto for case in cohort for key in keys)
    if layout == "one" or (layout == "auto" and whole):
        name = re.sub(r"[^A-Za-z0-9]+", "_", cohort.name).strip("_") or "organs"
        return [DataSet(request.out / f"Dataset001_{name}", cohort.organs, tuple(keys))]
    numbered = enumerate(keys, start=1)
    return [DataSet(request.out / f"Dataset{n:03d}_{key}", cohort.organs, (key,)) for n, key in numbered]


def add_piece(sets: Sequence[DataSet], cohort: Cohort, piece: Piece, request: ExportRequest) -> None:
    """A case goes into every data set of whose organs it says something; its CT is written once."""
    mine = [data_set for data_set in sets if any(key in piece.cells for key in data_set.keys)]
    if mine and len(sets) == 1:
        put_image(cohort, piece.case, sets[0].image(piece.case.id), request)
    elif mine:
        shared = request.out / IMAGES / f"{piece.case.id}.nii.gz"
        put_image(cohort, piece.case, shared, request)
        for data_set in mine:
            link(shared.absolute(), data_set.image(piece.case.id))
    for data_set in mine:
        data_set.add(piece)


def finish(sets: Sequence[DataSet], cohort: Cohort) -> Iterator[str]:
    """Write what makes the folders data sets, and say what was lost."""
    for data_set in sets:
        data_set.finish(cohort.name or data_set.folder.name)
        lost: Mapping[str, int] = data_set.lost
        for key in data_set.keys:
            if lost.get(key):
                yield f"{data_set.folder.name}: {lost[key]} voxels of {key} are ignored: another organ is unknown there"
        if lost.get("background"):
            n = lost["background"]
            what = "an expert's 'not here' is ignored"
            yield f"{data_set.folder.name}: {what} at {n} voxels: another organ is unknown there"
