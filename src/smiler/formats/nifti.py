"""Volume files (NIfTI, MHA, NRRD) in, NIfTI out: the header is checked before anything is read; arrays are canonical.

Canonical order is (z, y, x): z from the feet up, y to the back, x to the patient's left.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_serializer

from smiler.domain.geometry import Geometry
from smiler.formats.nifti_grid import Grid, Orientation, grid_of
from smiler.formats.nifti_header import Header, display_path
from smiler.formats.nifti_stream import Source
from smiler.formats.nifti_values import ToHU, ToLabels
from smiler.formats.nifti_write import ct_bytes, labels_bytes, write_ct, write_labels, write_probability
from smiler.formats.volume_file import checked

__all__ = [
    "CT",
    "Grid",
    "ReadOptions",
    "check",
    "ct_bytes",
    "grid_of",
    "labels_bytes",
    "read_ct",
    "read_header",
    "read_labels",
    "write_ct",
    "write_labels",
    "write_probability",
]
_SLAB_BYTES = 4 << 20
_GLANCE_BYTES = 512 << 10
_NEWER = (("incomplete", "refuse"), ("grey_values", "refuse"))
"""Options that runs and stores of version 0.1 do not have, as they mean nothing new."""


class ReadOptions(BaseModel, frozen=True, extra="forbid"):
    """How to read a file that does not speak for itself."""

    orientation: Orientation = Field(
        default="refuse",
        description="Which to believe where sform and qform disagree (sform, qform); none: where both are missing, "
        "read the axes as right, anterior, superior.",
    )
    nonfinite: Literal["refuse", "clamp"] = Field(
        default="refuse", description="NaN and Inf in a CT: refuse, or set to -1024 HU."
    )
    rescale: Literal["refuse", "none"] = Field(
        default="refuse", description="DICOM slices without RescaleSlope: refuse, or none: the stored numbers are HU."
    )
    grey_values: Literal["refuse", "any"] = Field(
        default="refuse", description="A CT whose numbers are not HU: refuse, or any: use them as they are."
    )
    detilt: bool = Field(default=False, description="Resample a DICOM series with gantry tilt upright.")
    incomplete: Literal["refuse", "accept"] = Field(
        default="refuse", description="A DICOM series that lacks slices at an end: refuse, or accept what is there."
    )
    max_bytes: int = Field(default=8 << 30, gt=0, description="Most bytes that a volume may have uncompressed.")

    @model_serializer(mode="wrap")
    def _as_before(self, serialized: Any) -> dict[str, Any]:
        """Without an option that is newer than runs and stores and not in use: their hashes stay."""
        told: dict[str, Any] = serialized(self)
        return {key: value for key, value in told.items() if (key, value) not in _NEWER}

    def taking(self, *, any_grey_values: bool) -> "ReadOptions":
        """The same, and any grey values if so."""
        return self.model_copy(update={"grey_values": "any"}) if any_grey_values else self


@dataclass(frozen=True)
class CT:
    """A CT: `hu` int16 (z, y, x) in canonical order, where it lies, its file's own grid, and what was changed."""

    hu: NDArray[np.int16]
    geometry: Geometry
    grid: Grid
    notes: tuple[str, ...] = ()


_DEFAULT = ReadOptions()


def read_header(path: str | Path, options: ReadOptions = _DEFAULT) -> Grid:
    """Check a file's header and size and read no voxel; BadInput says what is wrong with it."""
    with checked(display_path(path), options.orientation, options.max_bytes) as (_, _, grid):
        return grid


def read_ct(path: str | Path, options: ReadOptions = _DEFAULT) -> CT:
    """Read a CT as whole HU. Takes the int16 volume and a few MB more, whatever type the file has."""
    with checked(display_path(path), options.orientation, options.max_bytes) as (source, header, grid):
        hu: NDArray[np.int16] = np.empty(grid.geometry.shape, dtype=np.int16)
        convert = ToHU(header)
        notes = _fill(source, header, grid.own(hu), convert)
        notes += convert.notes(options.nonfinite, str(source.path))
    return CT(hu, grid.geometry, grid, grid.notes + notes)


def glance(path: str | Path, look: Callable[[NDArray[Any]], bool], options: ReadOptions = _DEFAULT) -> Grid:
    """As `read_header`; then `look` gets HU in blocks (k, j, i) from the file's beginning, until it is true.

    What comes after that is not read, nor checked.
    """
    with checked(display_path(path), options.orientation, options.max_bytes) as (source, header, grid):
        convert = ToHU(header)
        any(look(convert(slab)) for _, slab in _slabs(source, header, _GLANCE_BYTES))
    return grid


def read_labels(
    path: str | Path, options: ReadOptions = _DEFAULT
) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], Grid]:
    """Read a label map or mask: uint8 or uint16 (z, y, x) in canonical order, and the file's grid.

    BadInput for a value that is not within 1e-6 of a whole number, negative, or above 65535.
    """
    with checked(display_path(path), options.orientation, options.max_bytes) as (source, header, grid):
        convert = ToLabels(header, str(source.path))
        labels: NDArray[Any] = np.empty(grid.geometry.shape, dtype=convert.dtype)
        _fill(source, header, grid.own(labels), convert)
    return labels, grid


def check(path: str | Path, options: ReadOptions = _DEFAULT) -> Grid:
    """Check a CT file to its last byte and keep no voxel; BadInput for all that `read_ct` would refuse.

    What is not compressed holds as many bytes as its size says, and whole numbers are all finite: neither is read.
    """
    with checked(display_path(path), options.orientation, options.max_bytes) as (source, header, grid):
        convert = ToHU(header)
        if not source.gzipped and header.dtype.kind != "f":
            source.skip_at_once(header.data_bytes)
        for _, slab in _slabs(source, header, _SLAB_BYTES) if source.gzipped or header.dtype.kind == "f" else ():
            if header.dtype.kind == "f":
                convert(slab)
        source.finish()
        convert.notes(options.nonfinite, str(source.path))
    return grid


def _fill(
    source: Source, header: Header, own: NDArray[Any], convert: Callable[[NDArray[Any]], NDArray[Any]]
) -> tuple[str, ...]:
    """Stream the voxels into `own` (i, j, k), a few MB at a time."""
    for first, slab in _slabs(source, header, _SLAB_BYTES):
        own[:, :, first : first + len(slab)] = convert(slab).T
    padding = source.finish()
    return (f"{padding} bytes of padding after the last voxel ignored",) if padding else ()


def _slabs(source: Source, header: Header, size: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """Stored numbers (slices, j, i) with the number of the first slice, about `size` bytes at a time, in one buffer."""
    i, j, k = header.shape
    step = min(k, max(1, size // (i * j * header.dtype.itemsize)))
    buffer = bytearray(step * i * j * header.dtype.itemsize)
    for first in range(0, k, step):
        slices = min(step, k - first)
        view = memoryview(buffer)[: slices * i * j * header.dtype.itemsize]
        source.fill(view)
        yield first, np.frombuffer(view, header.dtype).reshape(slices, j, i)
