"""3-D patches: where each lies, and the voxels that it needs, read from the store.

A patch is `patch_depth` whole slices, all changed by one map in the axial plane (see `augment`): along z nothing is
interpolated, so that what experts say of a slice stays with that slice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from smiler.sampling.augment import Changes, Slices
from smiler.sampling.draws import Draw
from smiler.sampling.options import FEWER
from smiler.store.store import StoredCase
from smiler.workers.memory import lacking

if TYPE_CHECKING:
    from smiler.sampling.batches import Batches

JITTER = 0.25
"""How far from the patch's middle the voxel for whose sake it is drawn may lie, as a share of the patch."""

MARGIN = 2
"""Voxels read around what a map reaches: the neighbours that interpolation looks at, and rounding."""


def centres(first: NDArray[np.int64], patch: int) -> NDArray[np.float64]:
    """(B, 2): the middles (y, x) of patches that begin at these voxels (B, 3)."""
    middles: NDArray[np.float64] = (first[:, 1:] + (patch - 1) / 2).astype(np.float64)
    return middles


def read_patches(
    batches: Batches, draws: Sequence[Draw], first: NDArray[np.int64], changes: Changes
) -> tuple[Slices, Changes]:
    """Read what changed patches that begin at these voxels (B, 3) need; and the changes, counted from what was read."""
    patch = batches.options.patch_size
    corner, size = _reach(changes.matrix, patch)
    boxes = Boxes(
        tuple(draw.case for draw in draws),
        np.concatenate([first[:, :1], corner], axis=1),
        (batches.options.patch_depth, *size),
    )
    matrix = changes.matrix.copy()
    matrix[:, :, 2] -= corner
    return _read(batches, boxes, centres(first, patch) - corner), replace(changes, matrix=matrix)


@dataclass(frozen=True)
class Boxes:
    """What is read for a batch: boxes of one size (z, y, x) out of these cases, beginning at `first` (B, 3)."""

    cases: tuple[int, ...]
    first: NDArray[np.int64]
    size: tuple[int, int, int]


def cut(array: Any, first: Sequence[int], size: Sequence[int], outside: int) -> NDArray[Any]:
    """The box of `size` (z, y, x) that begins at `first`, from an array on disk or in memory; `outside` beyond it."""
    found = [slice(min(max(0, a), n), max(0, min(a + s, n))) for a, s, n in zip(first, size, array.shape, strict=True)]
    box = np.full(size, outside, dtype=array.dtype)
    if all(part.start < part.stop for part in found):
        there = tuple(slice(part.start - a, part.stop - a) for part, a in zip(found, first, strict=True))
        box[there] = array[tuple(found)]
    return box


def first_voxel(batches: Batches, draw: Draw, rng: np.random.Generator) -> NDArray[np.int64]:
    """The first voxel (z, y, x) of a patch around the slice that was drawn, and around a voxel of its organ.

    The patch stays in the volume where it fits, else the volume lies in its middle.
    """
    shape, size = np.array(batches.store.cases[draw.case].geometry.shape), np.array(batches.options.box)
    room = np.maximum(0, shape - size) / 2
    wanted = (shape - 1) / 2 + rng.uniform(-1, 1, 3) * room
    jitter = rng.uniform(-JITTER, JITTER, 3) * size
    wanted[0] = draw.z + jitter[0]
    if draw.organ >= 0:
        voxels = np.argwhere(_shown(batches, draw) >> draw.organ & 1)
        wanted[1:] = voxels[rng.integers(len(voxels))] + jitter[1:]
    middle = np.clip(wanted, (shape - 1) / 2 - room, (shape - 1) / 2 + room)
    begin: NDArray[np.int64] = np.floor(middle - (size - 1) / 2 + 0.5).astype(np.int64)
    return begin


def _shown(batches: Batches, draw: Draw) -> NDArray[np.int32]:
    """Bits (y, x) of what the drawn slice shows, by an expert's word or a proposal."""
    case = batches.store.cases[draw.case]
    shown: NDArray[np.int32] = case.drawn[draw.z] & case.known[draw.z]
    return shown | batches.proposals[case.case.id][draw.z] if case.case.id in batches.proposals else shown


def _reach(matrix: NDArray[np.float32], patch: int) -> tuple[NDArray[np.int64], tuple[int, int]]:
    """The first voxels (B, 2) of boxes (y, x) of one size that hold all that the maps (B, 2, 3) look at."""
    half = np.abs(matrix[:, :, :2]).sum(axis=2) * (patch - 1) / 2
    low = np.floor(matrix[:, :, 2] - half).astype(np.int64) - MARGIN + 1
    high = np.ceil(matrix[:, :, 2] + half).astype(np.int64) + MARGIN
    height, width = (high - low).max(axis=0).tolist()
    return low, (height, width)


def _read(batches: Batches, boxes: Boxes, centre: NDArray[np.float64]) -> Slices:
    """Image and bit fields (B, *size) of these boxes; beyond the volume air, about which nothing is known."""
    cases = [batches.store.cases[index] for index in boxes.cases]

    def gather(field: Callable[[StoredCase], Any], outside: int = 0) -> NDArray[Any]:
        found = []
        for case, first in zip(cases, boxes.first.tolist(), strict=True):
            with lacking(f"case {case.case.id}", FEWER):
                found.append(cut(field(case), first, boxes.size, outside))
        return np.stack(found)

    def of_round(bits: Mapping[str, Any]) -> NDArray[np.int32]:
        return gather(lambda case: bits.get(case.case.id, _blank(case)))

    return Slices(
        gather(lambda case: case.image, batches.store.data.working_range[0]),
        gather(lambda case: case.drawn),
        of_round(batches.proposals),
        gather(_known),
        np.tile(np.array(boxes.size[1:], dtype=np.int64), (len(cases), 1)),
        centre,
        of_round(batches.cleared) if batches.cleared else None,
    )


def _known(case: StoredCase) -> NDArray[np.int32]:
    return np.broadcast_to(case.known[:, None, None], case.geometry.shape)


def _blank(case: StoredCase) -> NDArray[np.int32]:
    return np.broadcast_to(np.int32(0), case.geometry.shape)
