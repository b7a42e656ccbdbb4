"""A CT series as one volume: slices grouped by what they share, sorted by position, refused where they are no volume.

Nothing here trusts a file's name, its InstanceNumber or SliceThickness. highdicom has the last word on whether the
positions are regular.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.utils import pixel_array

from smiler.domain.errors import BadInput
from smiler.domain.geometry import TOLERANCE_MM
from smiler.domain.places import split_series
from smiler.formats.dicom.objects import CT_CLASSES, RTSTRUCT_CLASS, SEG_CLASS, UNREADABLE, Object, objects

REGULAR_MM = 0.01
"""Neighbouring slices may be this much nearer or farther than the mean: positions are written with few decimals."""


@dataclass(frozen=True)
class Plane:
    """One slice: its object, its frame there, and the centre of its first voxel in LPS mm."""

    source: Object
    frame: int
    position: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Series:
    """Slices (k, rows, columns) sorted along their normal; `affine`: from index (k, row, column, 1) to LPS mm.

    `shifts_mm`: (k, 3), how far each slice lies beside the straight stack (gantry tilt), zero where it doesn't.
    """

    path: Path
    planes: tuple[Plane, ...]
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    shifts_mm: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    @property
    def sources(self) -> list[Object]:
        """The objects in the order of their slices, each once."""
        return list(dict.fromkeys(plane.source for plane in self.planes))

    def some(self, count: int) -> "Series":
        """A few of its slices, evenly spread; of use for their pixels alone."""
        which = np.unique(np.linspace(0, len(self.planes) - 1, count + 2).round().astype(int)[1:-1])
        planes, shape = tuple(self.planes[k] for k in which), (len(which), *self.shape[1:])
        return replace(self, planes=planes, shape=shape, shifts_mm=self.shifts_mm[which])


def find_series(path: Path) -> tuple[list[list[Object]], list[str]]:
    """The groups of CT slices below a path that may each be a volume, and the names of what was skipped."""
    place, wanted = split_series(path)
    groups: dict[tuple[Any, ...], list[Object]] = {}
    skipped: list[str] = []
    for found in objects(place):
        if isinstance(found, str):
            skipped.append(f"{found} (not DICOM)")
        elif found.sop_class in (SEG_CLASS, RTSTRUCT_CLASS):
            continue
        elif not found.is_ct:
            skipped.append(f"{found.path.name} ({_kind(found)})")
        elif not wanted or found.series == wanted:
            groups.setdefault(shared(found), []).append(found)
    return list(groups.values()), skipped


def read_series(path: Path, *, detilt: bool = False) -> Series:
    """The one CT series below a path, checked; no pixel is decoded.

    BadInput unless there is exactly one group of slices and they are a regular stack (with `detilt`, a sheared one).
    """
    groups, skipped = find_series(path)
    if not groups:
        got = f"{len(skipped)} other files" if skipped else "nothing"
        raise BadInput("no CT slices there", where=str(path), got=got, do="give a folder or zip with one CT series")
    if len(groups) > 1:
        raise BadInput("several series or acquisitions", where=str(path), got=_several(groups), do=_choose(groups))
    notes = [f"{len(skipped)} files skipped: {_some(skipped)}"] if skipped else []
    planes, double = _without_doubles(_planes(groups[0], str(path)), str(path))
    notes += [f"{double} slices are there twice with the same pixels: one of each is read"] if double else []
    return _stack(path, planes, notes, detilt=detilt)


def _stack(path: Path, planes: list[Plane], notes: list[str], *, detilt: bool) -> Series:
    header, where = planes[0].source.header, str(path)
    rows, columns = _whole(header, "Rows", where), _whole(header, "Columns", where)
    orientation = np.array(_orientation(planes[0].source, where))
    right, down = orientation[:3], orientation[3:]
    normal = np.cross(right, down)
    planes.sort(key=lambda plane: float(np.dot(plane.position, normal)))
    _check_one_acquisition(planes, where)
    positions = np.array([plane.position for plane in planes])
    spacing = _regular(positions @ normal, where) if len(planes) > 1 else _thickness(header)
    straight = positions[0] + np.arange(len(planes))[:, None] * spacing * normal
    shifts = positions - straight
    shifts -= np.outer(shifts @ normal, normal)
    aside = float(np.linalg.norm(shifts, axis=1).max())
    if aside > max(REGULAR_MM, 0.001 * spacing * len(planes)):
        angle = np.degrees(np.arctan2(aside, spacing * (len(planes) - 1)))
        if not detilt:
            do = "add --set reading.detilt=true, or resample it upright to NIfTI first"
            raise BadInput("the slices are stacked askew (gantry tilt)", where=where, got=f"{angle:.1f} degrees", do=do)
        notes.append(f"gantry tilt of {angle:.1f} degrees resampled upright, as asked")
    else:
        shifts = np.zeros_like(shifts)
        _agrees_with_highdicom(positions, orientation, where)
    down_mm, right_mm = _spacing(planes[0].source, where)
    affine = np.eye(4)
    affine[:3] = np.column_stack([normal * spacing, down * down_mm, right * right_mm, positions[0]])
    return Series(path, tuple(planes), (len(planes), rows, columns), affine, shifts, tuple(notes))


def _regular(z: NDArray[np.float64], where: str) -> float:
    """Spacing in mm; BadInput with the gaps where it isn't the same everywhere."""
    steps = np.diff(z)
    usual = float(np.median(steps))
    odd = np.flatnonzero(np.abs(steps - usual) > max(REGULAR_MM, 0.01 * usual))
    if len(odd):
        places = [f"{z[i]:.2f} to {z[i + 1]:.2f}" for i in odd]
        whole = all(abs(steps[i] / usual - round(steps[i] / usual)) < 0.05 for i in odd)
        what = "slices are missing" if whole else "the slices are not equally far apart"
        got = f"usual distance {usual:.4g} mm, others at z = {_some(places)} mm"
        raise BadInput(what, where=where, got=got, do="get the whole series, or resample it first")
    return float((z[-1] - z[0]) / (len(z) - 1))


def _agrees_with_highdicom(positions: NDArray[np.float64], orientation: NDArray[np.float64], where: str) -> None:
    from highdicom.spatial import get_volume_positions

    spacing, _ = get_volume_positions(positions.tolist(), orientation.tolist())
    if spacing is None:
        raise BadInput("the slices are no regular volume", where=where, got=f"{len(positions)} slices")


def _planes(group: Sequence[Object], where: str) -> list[Plane]:
    planes: list[Plane] = []
    for source in group:
        frames = int(source.header.get("NumberOfFrames") or 1)
        per_frame = source.header.get("PerFrameFunctionalGroupsSequence")
        for frame in range(frames):
            holder = per_frame[frame].PlanePositionSequence[0] if per_frame else source.header
            planes.append(Plane(source, frame, _position(holder, source, where)))
    return planes


def _position(holder: Any, source: Object, where: str) -> tuple[float, float, float]:
    value = _numbers(holder.get("ImagePositionPatient"), 3)
    if value is None:
        raise BadInput("a slice doesn't say where it lies", where=f"{where}, {source.path.name}")
    return value[0], value[1], value[2]


def _without_doubles(planes: list[Plane], where: str) -> tuple[list[Plane], int]:
    """One plane a position; the same position with other pixels is another acquisition."""
    kept: dict[tuple[float, ...], Plane] = {}
    others: list[str] = []
    double = 0
    for plane in planes:
        first = kept.setdefault(tuple(round(v, 3) for v in plane.position), plane)
        if first is not plane:
            double += 1
            if not _same_pixels(first, plane):
                others.append(f"{plane.position[2]:.2f}")
    if others:
        got = f"different pixels at the same place, {len(others)} times: z = {_some(others)} mm"
        do = "put each acquisition (phase, reconstruction) into a folder of its own"
        raise BadInput("several acquisitions in one series", where=where, got=got, do=do)
    return list(kept.values()), double


def _same_pixels(a: Plane, b: Plane) -> bool:
    one, other = a.source.dataset(), b.source.dataset()
    same = ("RescaleSlope", "RescaleIntercept")
    if a.source is not b.source and not (a.frame or b.frame):
        return one.get("PixelData") == other.get("PixelData") and all(one.get(k) == other.get(k) for k in same)
    try:
        first, second = (pixel_array(ds, index=plane.frame) for ds, plane in ((one, a), (other, b)))
    except UNREADABLE:
        return False
    return np.array_equal(first, second)


def _check_one_acquisition(planes: Sequence[Plane], where: str) -> None:
    """Two acquisitions half a slice apart lie like one regular volume; their numbers take turns."""
    numbers = [str(plane.source.header.get("AcquisitionNumber") or "") for plane in planes]
    turns = sum(a != b for a, b in pairwise(numbers))
    if turns > 2 * (len(set(numbers)) - 1):
        got = f"acquisition numbers {_some(sorted(set(numbers)))} take turns from slice to slice"
        do = "put each acquisition into a folder of its own"
        raise BadInput("several acquisitions in one series", where=where, got=got, do=do)


def shared(source: Object) -> tuple[Any, ...]:
    """What all slices of a volume have in common. Numbers are rounded: they are written as decimal text."""
    header = source.header
    orientation = tuple(round(v, 4) for v in _orientation(source, str(source.path)))
    spacing = tuple(round(v, 5) for v in _spacing(source, str(source.path)))
    frame = str(header.get("FrameOfReferenceUID") or "")
    return source.series, frame, header.get("Rows"), header.get("Columns"), spacing, orientation


def _orientation(source: Object, where: str) -> tuple[float, ...]:
    value = _numbers(_functional(source.header, "PlaneOrientationSequence").get("ImageOrientationPatient"), 6)
    if value is None:
        raise BadInput("a slice doesn't say how it lies", where=f"{where}, {source.path.name}")
    right, down = np.array(value[:3]), np.array(value[3:])
    lengths = np.linalg.norm(right), np.linalg.norm(down)
    if max(abs(n - 1) for n in lengths) > 1e-3 or abs(right @ down) > 1e-3:
        got = ", ".join(f"{v:g}" for v in value)
        raise BadInput("the orientation's axes are not at right angles", where=f"{where}, {source.path.name}", got=got)
    return (*(right / lengths[0]), *(down / lengths[1]))


def _spacing(source: Object, where: str) -> tuple[float, float]:
    """Distance of rows and of columns in mm."""
    value = _numbers(_functional(source.header, "PixelMeasuresSequence").get("PixelSpacing"), 2)
    if value is None or min(value) <= TOLERANCE_MM:
        raise BadInput("no usable pixel spacing", where=f"{where}, {source.path.name}", got=str(value or ""))
    return value[0], value[1]


def _functional(header: Any, sequence: str) -> Any:
    """Where a value lies that multi-frame objects keep in their functional groups."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        if header.get(groups) and header[groups][0].get(sequence):
            return header[groups][0][sequence][0]
    return header


def _thickness(header: Any) -> float:
    """Of a single slice, where there is no other to measure from."""
    value = _numbers([_functional(header, "PixelMeasuresSequence").get("SliceThickness")], 1)
    return value[0] if value and value[0] > TOLERANCE_MM else 1.0


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None


def _whole(header: Any, key: str, where: str) -> int:
    value = header.get(key)
    if not isinstance(value, int) or value < 1:
        raise BadInput(f"{key} is not a positive number", where=where, got=str(value))
    return value


def _kind(found: Object) -> str:
    if found.sop_class in CT_CLASSES:
        return "localizer"
    return str(found.header.get("Modality") or "no CT")


def _several(groups: Iterable[Sequence[Object]]) -> str:
    told = []
    for group in groups:
        first = group[0].header
        name = ascii(str(first.get("SeriesDescription") or ""))
        told.append(f"{len(group)} slices of {first.get('Rows')}x{first.get('Columns')} {name} {group[0].series}")
    return _some(told)


def _choose(groups: Sequence[Sequence[Object]]) -> str:
    uids = Counter(group[0].series for group in groups)
    if "" in uids or max(uids.values()) > 1:
        return "put each into a folder of its own"
    return "add /SeriesInstanceUID=... to the path, or give the folder of one series"


def _some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
