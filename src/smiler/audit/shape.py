"""Form and place of what an expert drew: pieces, borders it touches, its extent, and its mean HU."""

from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from smiler.domain.organs import OrganSet
from smiler.formats.labels import Labels

BORDERS = (("lowest slice", "highest slice"), ("front", "back"), ("right", "left"))
"""Names of the image's first and last planes along (z, y, x)."""


@dataclass(frozen=True)
class Shape:
    """One organ in one case. largest: share of its voxels in the largest of its pieces; middle: of its box, in slices.

    hu: mean over its voxels, None where the CT's voxels were not read.
    """

    pieces: int
    largest: float
    borders: tuple[str, ...]
    middle: float
    hu: float | None = None


def shapes_of(labels: Labels, organs: OrganSet, hu: NDArray[np.int16] | None = None) -> dict[str, Shape]:
    """Shape of every organ that an expert drew; arrays are only looked at within the organ's box."""
    drawn = labels.drawn & np.int32(2**31 - 1)
    across = np.bitwise_or.reduce(drawn, axis=0)
    profiles = (
        np.bitwise_or.reduce(drawn.reshape(len(drawn), -1), axis=1),
        np.bitwise_or.reduce(across, axis=1),
        np.bitwise_or.reduce(across, axis=0),
    )
    found: dict[str, Shape] = {}
    for k, key in enumerate(organs.keys):
        spans = [np.flatnonzero(profile >> k & 1) for profile in profiles]
        if all(len(span) for span in spans):
            box = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
            mask = (drawn[box] >> k & 1).astype(np.uint8)
            found[key] = _shape(mask, box, drawn.shape, None if hu is None else hu[box])
    return found


def _shape(
    mask: NDArray[np.uint8], box: tuple[slice, ...], whole: tuple[int, ...], hu: NDArray[np.int16] | None
) -> Shape:
    pieces: Any = cc3d.connected_components(mask, connectivity=26)
    sizes = np.bincount(pieces.ravel())[1:]
    borders = [
        name
        for (first, last), part, size in zip(BORDERS, box, whole, strict=True)
        for name, there in ((first, part.start == 0), (last, part.stop == size))
        if there
    ]
    mean = None if hu is None else float(hu[mask > 0].mean())
    share = float(sizes.max() / sizes.sum())
    return Shape(len(sizes), share, tuple(borders), (box[0].start + box[0].stop - 1) / 2, mean)
