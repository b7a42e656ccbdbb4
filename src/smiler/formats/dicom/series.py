"""A CT series as one volume: slices grouped by what they share, sorted by position, refused where they are no volume.

Nothing here trusts a file's name, its InstanceNumber or SliceThickness. highdicom has the last word on whether the
positions are regular.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.utils import pixel_array

from smiler.domain.errors import BadInput
from smiler.formats.dicom.grouping import find_series, missing_slices, not_one
from smiler.formats.dicom.headers import numbers_in, orientation_of, some, spacing_of, thickness_of, whole_number
from smiler.formats.dicom.objects import UNREADABLE, Object

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


def read_series(path: Path, *, detilt: bool = False, incomplete: bool = False) -> Series:
    """The one CT series below a path, checked; no pixel is decoded.

    BadInput unless there is exactly one group of slices and they are a regular stack (with `detilt`, a sheared one),
    or where slices are known to be missing (with `incomplete`, a note).
    """
    found = find_series(path)
    groups, skipped = found.groups, found.skipped
    if not groups:
        got = f"{len(skipped)} other files" if skipped else "nothing"
        raise BadInput("no CT slices there", where=str(path), got=got, do="give a folder or zip with one CT series")
    if len(groups) > 1:
        raise not_one(groups, path)
    notes = [f"{len(skipped)} files skipped: {some(skipped)}"] if skipped else []
    if found.united:
        notes.append(f"{found.united} slices that each have a SeriesInstanceUID of their own are read as one series")
    if missing := missing_slices(found):
        if not incomplete:
            do = "get the whole series, or add --set reading.incomplete=accept to read what is there"
            raise BadInput("slices of the series are missing", where=str(path), got="; ".join(missing), do=do)
        notes += [f"{what}: the series is read without them, as asked" for what in missing]
    planes, double = _without_doubles(_planes(groups[0], str(path)), str(path))
    notes += [f"{double} slices are there twice with the same pixels: one of each is read"] if double else []
    return _stack(path, planes, notes, detilt=detilt)


def _stack(path: Path, planes: list[Plane], notes: list[str], *, detilt: bool) -> Series:
    header, where = planes[0].source.header, str(path)
    rows, columns = whole_number(header, "Rows", where), whole_number(header, "Columns", where)
    orientation = np.array(orientation_of(planes[0].source, where))
    right, down = orientation[:3], orientation[3:]
    normal = np.cross(right, down)
    planes.sort(key=lambda plane: float(np.dot(plane.position, normal)))
    _check_one_acquisition(planes, where)
    positions = np.array([plane.position for plane in planes])
    spacing = _regular(planes, positions @ normal, where) if len(planes) > 1 else thickness_of(header)
    straight = positions[0] + np.arange(len(planes))[:, None] * spacing * normal
    shifts = positions - straight
    shifts -= np.outer(shifts @ normal, normal)
    aside = float(np.linalg.norm(shifts, axis=1).max())
    allowed = max(REGULAR_MM, 0.001 * spacing * len(planes))
    if aside > allowed:
        _refuse_odd_slices(planes, shifts, allowed, where)
        angle = np.degrees(np.arctan2(aside, spacing * (len(planes) - 1)))
        if not detilt:
            do = "add --set reading.detilt=true, or resample it upright to NIfTI first"
            raise BadInput("the slices are stacked askew (gantry tilt)", where=where, got=f"{angle:.1f} degrees", do=do)
        notes.append(f"gantry tilt of {angle:.1f} degrees resampled upright, as asked")
    else:
        shifts = np.zeros_like(shifts)
        _agrees_with_highdicom(positions, orientation, where)
    down_mm, right_mm = spacing_of(planes[0].source, where)
    affine = np.eye(4)
    affine[:3] = np.column_stack([normal * spacing, down * down_mm, right * right_mm, positions[0]])
    return Series(path, tuple(planes), (len(planes), rows, columns), affine, shifts, tuple(notes))


def _refuse_odd_slices(planes: Sequence[Plane], shifts: NDArray[np.float64], allowed: float, where: str) -> None:
    """A tilt moves each slice a little; where nearly all lie straight, the others are no part of the volume."""
    aside = np.linalg.norm(shifts - np.median(shifts, axis=0), axis=1)
    odd = np.flatnonzero(aside > allowed).tolist()
    if 0 < len(odd) <= len(planes) // 4:
        names = [f"{_name(planes[i])} ({aside[i]:.2f} mm)" for i in odd]
        do = "take them out, or mend their ImagePositionPatient"
        raise BadInput("slices lie beside the others", where=where, got=some(names), do=do)


def _name(plane: Plane) -> str:
    return ascii(plane.source.path.name)[1:-1]


def _regular(planes: Sequence[Plane], z: NDArray[np.float64], where: str) -> float:
    """Spacing in mm; BadInput with the gaps where it isn't the same everywhere."""
    steps = np.diff(z)
    usual = float(np.median(steps))
    odd = np.flatnonzero(np.abs(steps - usual) > max(REGULAR_MM, 0.01 * usual)).tolist()
    if odd:
        places = [f"{z[i]:.2f} to {z[i + 1]:.2f} ({_name(planes[i])}, {_name(planes[i + 1])})" for i in odd]
        whole = all(abs(steps[i] / usual - round(steps[i] / usual)) < 0.05 for i in odd)
        what = "slices are missing" if whole else "the slices are not equally far apart"
        got = f"usual distance {usual:.4g} mm, others at z in mm = {some(places)}"
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
    value = numbers_in(holder.get("ImagePositionPatient"), 3)
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
        got = f"different pixels at the same place, {len(others)} times: z = {some(others)} mm"
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
        got = f"acquisition numbers {some(sorted(set(numbers)))} take turns from slice to slice"
        do = "put each acquisition into a folder of its own"
        raise BadInput("several acquisitions in one series", where=where, got=got, do=do)
