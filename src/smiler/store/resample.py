"""Resampling along the axes: linear, widened to the output's voxel where it is coarser (so that nothing aliases).

Both grids cover the same extent. Each axis is one small matrix, so a slice is two matrix products. The operator is
monotone and sums to one: thresholded at 1/2 it keeps a part inside its whole and exclusive organs apart.
"""

from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from smiler.domain.geometry import Geometry

Array = NDArray[np.float32]
HALF = 0.5 + 1e-5
"""A hair more than half: rounding must not give a voxel that two organs share equally to both."""


def axis_weights(inputs: int, outputs: int) -> Array:
    """(outputs, inputs): each output voxel as a weighted mean of input voxels."""
    ratio = inputs / outputs
    support = max(1.0, ratio)
    centres = (np.arange(outputs) + 0.5) * ratio - 0.5
    centres = np.clip(centres, 0, inputs - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(inputs)[None] - centres[:, None]) / support)
    result: Array = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return result


def working_geometry(native: Geometry, spacing_zyx_mm: Sequence[float | None]) -> Geometry:
    """The grid of about this spacing (None: as it is) that covers the same extent as `native`."""
    shape = [
        n if wanted is None else max(1, round(n * own / wanted))
        for n, own, wanted in zip(native.shape, native.spacing, spacing_zyx_mm, strict=True)
    ]
    return regrid(native, shape)


def regrid(native: Geometry, shape: Sequence[int]) -> Geometry:
    """The grid of that shape over the same extent."""
    ratio = np.asarray(native.shape, dtype=np.float64) / np.asarray(shape)
    step = np.diag([*ratio, 1.0])
    step[:3, 3] = (ratio - 1) / 2
    return Geometry.of(shape, native.matrix @ step)


def resample_plane(slices: NDArray[np.generic], rows: Array | None, columns: Array | None) -> Array:
    """Slices (n, y, x) through the matrices of both in-plane axes (None: as it is)."""
    result = slices.astype(np.float32)
    if rows is not None:
        result = np.matmul(rows, result)
    if columns is not None:
        result = np.matmul(result, columns.T)
    return result


def _reach(weights: Array | None, wanted: slice) -> tuple[Array | None, slice, slice]:
    """The part of an axis's matrix for the outputs that depend on the wanted inputs; their inputs; the outputs."""
    if weights is None:
        return None, wanted, wanted
    outputs = np.flatnonzero(weights[:, wanted].any(axis=1))
    target = slice(int(outputs[0]), int(outputs[-1]) + 1) if len(outputs) else slice(0, 0)
    inputs = np.flatnonzero(weights[target].any(axis=0))
    source = slice(int(inputs[0]), int(inputs[-1]) + 1) if len(inputs) else slice(0, 0)
    return weights[target, source], source, target


class Resampler:
    """From one shape (z, y, x) to another over the same extent, by blocks of output slices: memory stays small."""

    def __init__(self, source: Sequence[int], target: Sequence[int]) -> None:
        self.source, self.target = tuple(source), tuple(target)
        z, y, x = (
            None if inputs == outputs else axis_weights(inputs, outputs)
            for inputs, outputs in zip(self.source, self.target, strict=True)
        )
        self.depth, self.rows, self.columns = z, y, x

    def around(self, rows: slice, columns: slice) -> tuple["Resampler", tuple[slice, slice], tuple[slice, slice]]:
        """For what lies in some rows and columns of the source alone: a smaller resampler, the source rows and columns
        that it takes, and the target rows and columns that it fills: all that depend on them.
        """
        small = copy(self)
        (small.rows, *y), (small.columns, *x) = _reach(self.rows, rows), _reach(self.columns, columns)
        return small, (y[0], x[0]), (y[1], x[1])

    def needed(self, start: int, stop: int) -> tuple[int, int]:
        """Source slices [first, last) that output slices [start, stop) are made of."""
        if self.depth is None:
            return start, stop
        used = np.flatnonzero(self.depth[start:stop].any(axis=0))
        return int(used[0]), int(used[-1]) + 1

    def block(self, slices: NDArray[np.generic], start: int, stop: int) -> Array:
        """Output slices [start, stop) (n, y, x) from the source slices that `needed` names."""
        if self.depth is None:
            return resample_plane(slices, self.rows, self.columns)
        first, last = self.needed(start, stop)
        flat = slices.reshape(len(slices), -1).astype(np.float32)
        mixed = self.depth[start:stop, first:last] @ flat
        return resample_plane(mixed.reshape(stop - start, *slices.shape[1:]), self.rows, self.columns)

    def volume(self, array: NDArray[np.generic], block: int = 16) -> NDArray[np.float32]:
        """The whole volume (z, y, x)."""
        out = np.empty(self.target, dtype=np.float32)
        for start in range(0, self.target[0], block):
            stop = min(start + block, self.target[0])
            first, last = self.needed(start, stop)
            out[start:stop] = self.block(array[first:last], start, stop)
        return out

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask (z, y, x): where its share of the output voxel is more than half."""
        out = np.zeros(self.target, dtype=bool)
        for start in range(0, self.target[0], 16):
            stop = min(start + 16, self.target[0])
            first, last = self.needed(start, stop)
            if mask[first:last].any():
                out[start:stop] = self.block(mask[first:last], start, stop) > HALF
        return out
