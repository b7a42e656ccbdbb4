"""What the headers of slices say: what they have in common, how they lie, how far their pixels are apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from smiler.domain.errors import BadInput
from smiler.domain.geometry import TOLERANCE_MM
from smiler.formats.dicom.objects import Object

SHARED = ("SeriesInstanceUID", "FrameOfReferenceUID", "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient")
"""What `shared` returns."""


def shared(source: Object) -> tuple[Any, ...]:
    """What all slices of a volume have in common. Numbers are rounded: they are written as decimal text."""
    header = source.header
    orientation = tuple(round(v, 4) for v in orientation_of(source, str(source.path)))
    spacing = tuple(round(v, 5) for v in spacing_of(source, str(source.path)))
    frame = str(header.get("FrameOfReferenceUID") or "")
    return source.series, frame, header.get("Rows"), header.get("Columns"), spacing, orientation


def orientation_of(source: Object, where: str) -> tuple[float, ...]:
    """Unit vectors along a row and down a column, LPS; BadInput names the file."""
    value = numbers_in(functional(source.header, "PlaneOrientationSequence").get("ImageOrientationPatient"), 6)
    if value is None:
        raise BadInput("a slice doesn't say how it lies", where=f"{where}, {source.path.name}")
    right, down = np.array(value[:3]), np.array(value[3:])
    lengths = np.linalg.norm(right), np.linalg.norm(down)
    if max(abs(n - 1) for n in lengths) > 1e-3 or abs(right @ down) > 1e-3:
        got = ", ".join(f"{v:g}" for v in value)
        raise BadInput("the orientation's axes are not at right angles", where=f"{where}, {source.path.name}", got=got)
    return (*(right / lengths[0]), *(down / lengths[1]))


def spacing_of(source: Object, where: str) -> tuple[float, float]:
    """Distance of rows and of columns in mm."""
    value = numbers_in(functional(source.header, "PixelMeasuresSequence").get("PixelSpacing"), 2)
    if value is None or min(value) <= TOLERANCE_MM:
        raise BadInput("no usable pixel spacing", where=f"{where}, {source.path.name}", got=str(value or ""))
    return value[0], value[1]


def functional(header: Any, sequence: str) -> Any:
    """Where a value lies that multi-frame objects keep in their functional groups."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        if header.get(groups) and header[groups][0].get(sequence):
            return header[groups][0][sequence][0]
    return header


def thickness_of(header: Any) -> float:
    """Of a single slice, where there is no other to measure from."""
    value = numbers_in([functional(header, "PixelMeasuresSequence").get("SliceThickness")], 1)
    return value[0] if value and value[0] > TOLERANCE_MM else 1.0


def numbers_in(value: Any, count: int) -> tuple[float, ...] | None:
    """So many finite numbers, or None."""
    try:
        read = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        return None
    return read if len(read) == count and np.isfinite(read).all() else None


def whole_number(header: Any, key: str, where: str) -> int:
    """A positive whole number of the header."""
    value = header.get(key)
    if not isinstance(value, int) or value < 1:
        raise BadInput(f"{key} is not a positive number", where=where, got=str(value))
    return value


def some(names: Sequence[str], most: int = 8) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
