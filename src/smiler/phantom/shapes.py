"""Primitives: fields in mm that are negative inside a shape and positive outside."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from smiler.phantom.arrays import FloatArray, Point, Window
from smiler.phantom.frame import Frame

FAR_MM = 1000.0
REACH_MM = 22.0  # fields are exact up to this distance outside of a shape


@dataclass(frozen=True)
class Shape:
    """A field in mm, (z, y, x), over one window of the volume; outside of it, far away."""

    window: Window
    field: FloatArray

    def without(self, other: "Shape") -> "Shape":
        """This shape with the other one cut out of it."""
        hole = np.full_like(self.field, FAR_MM)
        mine, theirs = _overlap(self.window, other.window)
        hole[mine] = other.field[theirs]
        return Shape(self.window, np.maximum(self.field, -hole))

    def roughened(self, frame: Frame, amplitude_mm: float) -> "Shape":
        """This shape with a lumpy surface."""
        return Shape(self.window, self.field + np.float32(amplitude_mm) * frame.lumps[self.window])


def _overlap(a: Window, b: Window) -> tuple[Window, Window]:
    """The common part of two windows, counted from the start of each."""
    first, second = [], []
    for s, t in zip(a, b, strict=True):
        start, stop = max(s.start, t.start), min(s.stop, t.stop)
        stop = max(start, stop)
        first.append(slice(start - s.start, stop - s.start))
        second.append(slice(start - t.start, stop - t.start))
    return (first[0], first[1], first[2]), (second[0], second[1], second[2])


def ellipsoid(frame: Frame, centre: Point, radii: Point, turn: float = 0.0) -> Shape:
    """An ellipsoid, (z, y, x) in mm, turned by `turn` radians in the axial plane."""
    middle, size = np.array(centre), np.array(radii)
    reach = np.full(3, REACH_MM + (max(radii[1:]) if turn else 0.0))
    window = frame.window(middle - size - reach, middle + size + reach)
    z, y, x = (frame.inner[i][window] - np.float32(middle[i]) for i in range(3))
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    v, u = cos * y - sin * x, sin * y + cos * x
    radius = np.sqrt((z / size[0]) ** 2 + (v / size[1]) ** 2 + (u / size[2]) ** 2)
    field = (radius - 1) * float(np.prod(size)) ** (1 / 3)
    return Shape(window, field.astype(np.float32))


def tube(frame: Frame, points: Sequence[Point], radii: Sequence[float], pieces: int = 4) -> Shape:
    """A tube of changing radius along a smooth curve through `points`, (z, y, x) in mm."""
    path, width = _smooth_path(np.array(points, float), np.array(radii, float), pieces)
    margin = REACH_MM + width.max()
    window = frame.window(path.min(axis=0) - margin, path.max(axis=0) + margin)
    shape = tuple(s.stop - s.start for s in window)
    field = np.full(shape, FAR_MM, np.float32)
    for i in range(len(path) - 1):
        ends = path[i : i + 2]
        near = frame.window(ends.min(axis=0) - margin, ends.max(axis=0) + margin)
        part, _ = _overlap(window, near)
        field[part] = np.minimum(field[part], _capsule(frame, near, ends, width[i : i + 2]))
    return Shape(window, field)


def _smooth_path(
    points: NDArray[np.float64], radii: NDArray[np.float64], pieces: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    t = np.arange(len(points))
    fine = np.linspace(0, len(points) - 1, (len(points) - 1) * pieces + 1)
    if len(points) < 3:
        path = np.stack([np.interp(fine, t, points[:, i]) for i in range(3)], axis=1)
    else:
        path = CubicSpline(t, points)(fine)
    return path, np.interp(fine, t, radii)


def _capsule(frame: Frame, window: Window, ends: NDArray[np.float64], radii: NDArray[np.float64]) -> FloatArray:
    """Distance to a line segment less the radius interpolated along it, (z, y, x) in mm."""
    start, way = ends[0].astype(np.float32), (ends[1] - ends[0]).astype(np.float32)
    z, y, x = (frame.inner[i][window] - start[i] for i in range(3))
    t = (z * way[0] + y * way[1] + x * way[2]) / max(float(way @ way), 1e-6)
    t = np.clip(t, 0, 1)
    gap = (z - t * way[0]) ** 2 + (y - t * way[1]) ** 2 + (x - t * way[2]) ** 2
    radius = np.float32(radii[0]) + t * np.float32(radii[1] - radii[0])
    return np.asarray(np.sqrt(gap) - radius, dtype=np.float32)
