"""Drawing tools of the page: each takes the voxels of a box and gives those of a box that may be larger."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from smiler.review.errors import Refused
from smiler.review.masks import Box, Mask

Voxels = NDArray[np.uint8]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Drawing:
    """A mask, the box that the page asks about, and the voxel size along (i, j, k) in mm."""

    mask: Mask
    box: Box
    spacing: Spacing

    @property
    def voxels(self) -> Voxels:
        """The voxels of the box (i, j, k)."""
        return self.mask.among(self.box)

    def voxels_of(self, mm: float) -> tuple[int, int, int]:
        """So many voxels along each axis hold a distance."""
        i, j, k = (int(np.ceil(mm / step)) for step in self.spacing)
        return i, j, k


Tool = Callable[[Drawing, int | None, float | None], tuple[Voxels, Box]]


def interpolate(drawing: Drawing, axis: int | None, radius_mm: float | None) -> tuple[Voxels, Box]:  # noqa: ARG001
    """Fill the slices between drawn ones along an axis: where the mean of their signed distances is inside."""
    if axis is None:
        raise Refused(422, "along which axis?", where="axis", do="send axis=0, 1 or 2")
    work = np.moveaxis(drawing.voxels, axis, 0)
    drawn = np.flatnonzero(work.any(axis=(1, 2)))
    if len(drawn) < 2:
        raise Refused(409, "nothing to interpolate between", where="tool", do="draw the organ on two slices or more")
    plane = tuple(step for a, step in enumerate(drawing.spacing) if a != axis)
    for low, high in pairwise(drawn):
        if high - low > 1:
            below, above = _signed(work[low], plane), _signed(work[high], plane)
            for at in range(low + 1, high):
                share = (at - low) / (high - low)
                work[at] = (1 - share) * below + share * above < 0
    return np.moveaxis(work, 0, axis), drawing.box


def _signed(plane: Voxels, spacing: tuple[float, ...]) -> NDArray[np.float32]:
    """Distance to the border in mm, negative inside; the border runs between voxels."""
    measure: Any = edt.edt
    inside = np.ascontiguousarray(plane)
    half = min(spacing) / 2
    outside_mm = measure(inside == 0, anisotropy=spacing, black_border=False)
    inside_mm = measure(inside, anisotropy=spacing, black_border=False)
    signed: NDArray[np.float32] = np.where(inside, half - inside_mm, outside_mm - half).astype(np.float32)
    return signed


def fill(drawing: Drawing, axis: int | None, radius_mm: float | None) -> tuple[Voxels, Box]:  # noqa: ARG001
    """Fill holes: in each slice along an axis, or without an axis those that are closed in space."""
    voxels = drawing.voxels
    if axis is None:
        return ndimage.binary_fill_holes(voxels).astype(np.uint8), drawing.box
    work = np.moveaxis(voxels, axis, 0)
    for plane in work:
        plane[:] = ndimage.binary_fill_holes(plane)
    return voxels, drawing.box


def grow(drawing: Drawing, axis: int | None, radius_mm: float | None) -> tuple[Voxels, Box]:  # noqa: ARG001
    """Every voxel within a radius of the mask; the box grows with it."""
    radius = _radius(radius_mm)
    box = drawing.box.grown(drawing.voxels_of(radius), drawing.mask.shape)
    voxels = drawing.mask.among(box)
    if not voxels.any():
        return voxels, box
    return (_distance(voxels == 0, drawing.spacing) <= radius).astype(np.uint8), box


def shrink(drawing: Drawing, axis: int | None, radius_mm: float | None) -> tuple[Voxels, Box]:  # noqa: ARG001
    """Every voxel farther than a radius from the outside; the image's own border is not outside."""
    radius = _radius(radius_mm)
    around = drawing.box.grown((1, 1, 1), drawing.mask.shape)
    voxels = drawing.mask.among(around)
    if voxels.all():
        return drawing.voxels, drawing.box
    left = (_distance(voxels, drawing.spacing) > radius).astype(np.uint8)
    return left[drawing.box.within(around)], drawing.box


def largest(drawing: Drawing, axis: int | None, radius_mm: float | None) -> tuple[Voxels, Box]:  # noqa: ARG001
    """Only the largest connected piece; voxels that touch at a corner are connected."""
    find: Any = cc3d.largest_k
    return (find(drawing.voxels, k=1, connectivity=26) > 0).astype(np.uint8), drawing.box


def _distance(inside: NDArray[Any], spacing: Spacing) -> NDArray[np.float32]:
    """Distance of each voxel inside to the nearest outside, centre to centre, in mm."""
    measure: Any = edt.edt
    found: NDArray[np.float32] = measure(np.asfortranarray(inside), anisotropy=spacing, black_border=False, parallel=2)
    return found


def _radius(radius_mm: float | None) -> float:
    if radius_mm is None:
        raise Refused(422, "by how much?", where="radius_mm", do="send radius_mm, above 0 and at most 50")
    return radius_mm


TOOLS: Mapping[str, Tool] = {
    "interpolate": interpolate,
    "fill": fill,
    "grow": grow,
    "shrink": shrink,
    "largest": largest,
}
