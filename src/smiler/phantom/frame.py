"""The patient's coordinate frame: where each voxel lies in the reference anatomy.

Reference anatomy, in mm: z = 0 at the liver's lowest slice and 190 at its dome; y = 0 at mid-depth,
negative towards the front; x = 0 in the midline, negative towards the patient's right.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smiler.phantom.arrays import FloatArray, Point, Window
from smiler.phantom.case import PhantomOptions
from smiler.phantom.fields import smooth_field
from smiler.phantom.patient import Patient

LARGEST_SHIFT_MM = 16.0
WALL_MM = 11.0
CAVITY_HALF_WIDTH_MM = 140.0


@dataclass(frozen=True)
class Frame:
    """Coordinates of a grid of voxels.

    spacing: voxel size in mm, (z, y, x).
    axes: undeformed anatomical coordinate in mm along z, y and x.
    inner: (3, z, y, x) anatomical (z, y, x) in mm as the organs see it, deformed.
    outer: the same, less deformed, for the body wall and the skeleton.
    lumps: (z, y, x) unit-variance field that roughens surfaces.
    """

    spacing: Point
    axes: tuple[NDArray[np.float32], ...]
    inner: FloatArray
    outer: FloatArray
    lumps: FloatArray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (z, y, x)."""
        nz, ny, nx = self.lumps.shape
        return nz, ny, nx

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in ml."""
        return float(np.prod(self.spacing)) / 1000.0

    def window(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> Window:
        """The part of the grid that can hold anatomical points between `low` and `high` mm."""
        sides = []
        for axis, a, b in zip(self.axes, low, high, strict=True):
            start = int(np.searchsorted(axis, a - LARGEST_SHIFT_MM))
            stop = int(np.searchsorted(axis, b + LARGEST_SHIFT_MM, side="right"))
            start = min(start, len(axis) - 1)
            sides.append(slice(start, max(stop, start + 1)))
        return sides[0], sides[1], sides[2]


def field_of_view_mm(rng: np.random.Generator, patient: Patient) -> float:
    """In-plane field of view, 360 to 420 mm, chosen around the body's width as a scanner would."""
    inside = CAVITY_HALF_WIDTH_MM * (0.97 + 0.04 * patient.visceral) + WALL_MM
    width = 2 * (inside + patient.fat_mm) * patient.scale[2]
    return float(np.clip(width * rng.uniform(1.05, 1.16), 360.0, 420.0))


def build_frame(rng: np.random.Generator, patient: Patient, options: PhantomOptions) -> Frame:
    """Lay the voxel grid over the patient and deform the anatomy smoothly."""
    shape = options.shape
    view = field_of_view_mm(rng, patient)
    height = (patient.top_mm - patient.bottom_mm) * patient.scale[0]
    spacing = (height / shape[0], view / shape[1], view / shape[2])
    shift = (0.0, rng.uniform(-16, -4), rng.uniform(-5, 5))
    starts = (patient.bottom_mm, -view / 2 / patient.scale[1], -view / 2 / patient.scale[2])
    axes = tuple(
        (start + (np.arange(n) + 0.5) * step / scale - offset / scale).astype(np.float32)
        for start, n, step, scale, offset in zip(starts, shape, spacing, patient.scale, shift, strict=True)
    )
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    bend = np.stack([_displacement(rng, shape, spacing, options) for _ in range(3)])
    return Frame(
        spacing=spacing,
        axes=axes,
        inner=grid + bend,
        outer=grid + np.float32(0.4) * bend,
        lumps=smooth_field(rng, shape, spacing, 17.0),
    )


def _displacement(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing: Point, options: PhantomOptions
) -> FloatArray:
    """One component of the displacement in mm, (z, y, x)."""
    broad = smooth_field(rng, shape, spacing, 75.0) * np.float32(options.deformation_mm)
    fine = smooth_field(rng, shape, spacing, 32.0) * np.float32(0.3 * options.deformation_mm)
    return np.clip(broad + fine, -LARGEST_SHIFT_MM, LARGEST_SHIFT_MM)
