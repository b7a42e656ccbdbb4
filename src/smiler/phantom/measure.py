"""What a case looks like in numbers: volume, place, grey value, and what a threshold could find."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from smiler.phantom.arrays import BoolArray
from smiler.phantom.case import PhantomCase

SOFTEST_BODY_HU = -300


@dataclass(frozen=True)
class OrganMeasure:
    """One organ of one case; x and y as in `reference.Reference`, share in percent of voxels."""

    volume_ml: float
    hu: float
    hu_inside_sd: float
    x: float
    y: float
    share: float


@dataclass(frozen=True)
class IntervalScore:
    """The HU interval that finds an organ best, both ends included, and its Dice."""

    low_hu: int
    high_hu: int
    dice: float


def body_mask(hu: NDArray[np.int16]) -> BoolArray:
    """The patient without the table, lungs and gas filled in, bool (z, y, x)."""
    pieces, _ = ndimage.label(hu > SOFTEST_BODY_HU)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    body = pieces == sizes.argmax()
    return np.stack([ndimage.binary_fill_holes(plane) for plane in body])


def measure(case: PhantomCase) -> dict[str, OrganMeasure]:
    """Measure every organ that the patient has, by key."""
    body = body_mask(case.hu)
    rows, columns = (np.flatnonzero(body.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    measures = {}
    for key, mask in case.masks.items():
        if key not in case.absent:
            _, y, x = np.nonzero(mask)
            values = case.hu[mask].astype(float)
            measures[key] = OrganMeasure(
                volume_ml=float(mask.sum() * np.prod(case.spacing) / 1000),
                hu=float(values.mean()),
                hu_inside_sd=float(values.std()),
                x=float((x.mean() - columns[0]) / (columns[-1] - columns[0])),
                y=float((y.mean() - rows[0]) / (rows[-1] - rows[0])),
                share=float(100 * mask.mean()),
            )
    return measures


def best_interval(
    cases: Sequence[PhantomCase], key: str, edges_hu: Iterable[int] = range(-1000, 401, 10)
) -> IntervalScore:
    """Search all intervals between two edges for the best Dice over the pooled body voxels."""
    edges = np.array(sorted(edges_hu))
    inside, outside = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for case in cases:
        body, mask = body_mask(case.hu), case.masks[key]
        inside += np.histogram(case.hu[body & mask], edges)[0]
        outside += np.histogram(case.hu[body & ~mask], edges)[0]
    size = sum(int(case.masks[key].sum()) for case in cases)
    hit = np.concatenate([[0], np.cumsum(inside)])
    false = np.concatenate([[0], np.cumsum(outside)])
    true = hit[None, :] - hit[:, None]
    found = true + false[None, :] - false[:, None]
    dice = np.triu(2 * true / np.maximum(found + size, 1), 1)
    low, high = np.unravel_index(int(dice.argmax()), dice.shape)
    return IntervalScore(int(edges[low]), int(edges[high]) - 1, float(dice[low, high]))
