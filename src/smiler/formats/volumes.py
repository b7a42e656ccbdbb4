"""The one door to voxels: a path of the ledger to a CT, its grid, or labels, whatever format lies behind it.

Volume files are read here; folders, zip files and whatever lies in them are DICOM, read in a process of its own. What
lies at an address is fetched first.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smiler.domain import places
from smiler.domain.endings import ending_of
from smiler.domain.errors import BadInput, renamed
from smiler.domain.fetching import fetched
from smiler.domain.geometry import Geometry
from smiler.domain.remote import Remote, place
from smiler.formats import nifti
from smiler.formats.dicom import client
from smiler.formats.dicom.signature import HEAD_BYTES, looks_dicom
from smiler.formats.grey_values import GreyValues
from smiler.formats.nifti import CT, ReadOptions
from smiler.formats.nifti_grid import Grid, grid_of, off_the_grid
from smiler.formats.nifti_header import display_path

__all__ = [
    "CT",
    "Drawn",
    "Grid",
    "ReadOptions",
    "check",
    "content",
    "glance",
    "off_the_grid",
    "read_ct",
    "read_header",
    "read_hu",
    "read_labels",
]
_DEFAULT = ReadOptions()


@dataclass(frozen=True)
class Drawn:
    """Labels on a canonical grid: `codes` (z, y, x), and the labels that each code stands for.

    In a label map a code is its label; segments of a DICOM-SEG may overlap, so that a code may stand for several.
    unusable: labels (segments, ROIs) whose masks can't be used, and why.
    """

    codes: NDArray[np.uint8] | NDArray[np.uint16]
    grid: Grid
    meaning: Mapping[int, tuple[int, ...]] | None = None
    notes: tuple[str, ...] = ()
    unusable: Mapping[int, str] = field(default_factory=dict)
    path: str = ""

    @cached_property
    def largest(self) -> int:
        """The largest code."""
        return int(self.codes.max())

    def mask(self, labels: Collection[int]) -> NDArray[np.uint8]:
        """1 where a voxel has one of these labels, uint8 (z, y, x); no labels: any."""
        table = self.table(labels)
        if table[1:].all():  # a mask of its own: a tenth of the time
            drawn: NDArray[np.bool_] = self.codes != 0
            return drawn.view(np.uint8)
        return table.astype(np.uint8)[self.codes]

    def table(self, labels: Collection[int]) -> NDArray[np.bool_]:
        """(largest code + 1,): which codes have one of these labels; no labels: all but 0.

        BadInput for a label whose mask can't be used.
        """
        wanted = set(labels)
        for label in sorted(wanted & set(self.unusable)):
            where = f"{self.path}, segment or ROI {label}"
            raise BadInput(self.unusable[label], where=where, do="mend the file, or empty the cell")
        codes = range(1, self.largest + 1)
        return np.array([False, *(not wanted or not wanted.isdisjoint(self.labels_of(code)) for code in codes)])

    def labels_of(self, code: int) -> tuple[int, ...]:
        """The labels of a code."""
        return (code,) if self.meaning is None else self.meaning[code]


def is_nifti(path: str | Path) -> bool:
    """Whether a path is read as a volume file (NIfTI, MHA, NRRD); all else is DICOM. An address tells by its name."""
    path = place(path)
    if isinstance(path, Remote):
        return bool(ending_of(path.file_name))
    return bool(ending_of(path.name)) or (path.is_file() and not _looks_dicom(path))


def read_header(path: str | Path, options: ReadOptions = _DEFAULT) -> Grid:
    """Where the voxels lie; none is read. BadInput says what is wrong with the file or series."""
    with _at_hand(path) as file:
        return nifti.read_header(file, options) if is_nifti(file) else client.read_header(_there(file), options)


def check(path: str | Path, options: ReadOptions = _DEFAULT) -> Grid:
    """Check a CT: a volume file to its last byte, a DICOM series by its headers. BadInput says what is wrong."""
    with _at_hand(path) as file:
        return nifti.check(file, options) if is_nifti(file) else client.read_header(_there(file), options)


def read_ct(path: str | Path, options: ReadOptions = _DEFAULT) -> CT:
    """Read a CT as whole HU, in canonical order."""
    with _at_hand(path) as file:
        return nifti.read_ct(file, options) if is_nifti(file) else client.read_ct(_there(file), options)


def read_hu(path: str | Path, options: ReadOptions = _DEFAULT, named: str = "") -> CT:
    """As `read_ct`; BadInput (about `named`) for a CT whose numbers are not HU, unless `options.grey_values` is any."""
    ct = read_ct(path, options)
    return replace(ct, notes=ct.notes + GreyValues.of(ct.hu).notes(options, named or str(path)))


def glance(path: str | Path, options: ReadOptions = _DEFAULT) -> tuple[Grid, GreyValues]:
    """As `read_header`, with the grey values of a few slices; of all where a few leave a doubt."""
    seen = GreyValues()

    def look(hu: NDArray[Any]) -> bool:
        seen.add(hu)
        return seen.convincing

    with _at_hand(path) as file:
        if is_nifti(file):
            return nifti.glance(file, look, options), seen
        grid, hu = client.read_some(_there(file), options)
    seen.add(hu)
    return grid, seen


def read_labels(path: str | Path, options: ReadOptions = _DEFAULT, geometry: Geometry | None = None) -> Drawn:
    """Read a label map, mask, DICOM-SEG or RTSTRUCT in canonical order.

    geometry: of the CT; a DICOM-SEG or RTSTRUCT can't be read without it and comes back on it.
    """
    with _at_hand(path) as file:
        return _read_labels(file, options, geometry)


def _read_labels(path: Path, options: ReadOptions, geometry: Geometry | None) -> Drawn:
    if is_nifti(path):
        array, grid = nifti.read_labels(path, options)
        return Drawn(array, grid, None, grid.notes)
    read = client.read_labels(_there(path), options, geometry)
    if read.grid is None and geometry is not None and read.meaning is not None:
        meaning = dict(enumerate(read.meaning))
        return Drawn(read.codes, grid_of(geometry), meaning, read.notes, read.unusable, str(path))
    found: Any = read.grid
    return Drawn(read.codes, found, None, read.notes)


def content(path: Path) -> str:
    """Hash of what a path leads to, hexadecimal; BadInput if it can't be read."""
    try:
        return places.content(path)
    except OSError as error:
        raise BadInput("the file can't be read", where=str(path), got=error.strerror or str(error)) from error


@contextmanager
def _at_hand(path: str | Path) -> Iterator[Path]:
    """The path on this disk, fetched if it is an address; errors name it as the user does."""
    named = place(path if isinstance(path, Path) else display_path(path) if "\0" in path else path)
    with fetched(named) as file:
        try:
            yield file
        except BadInput as error:
            if file is named:
                raise
            raise renamed(error, str(file), str(named)) from error


def _there(path: Path) -> Path:
    if not places.exists(display_path(path)):
        raise BadInput("the file does not exist", where=str(path))
    return path


def _looks_dicom(path: Path) -> bool:
    if path.name.lower().endswith(places.ZIP):
        return True
    try:
        with path.open("rb") as stream:
            return looks_dicom(stream.read(HEAD_BYTES))
    except OSError:
        return False
