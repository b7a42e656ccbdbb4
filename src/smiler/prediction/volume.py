"""Masks on the CT's own grid, made a few slices at a time: never K float volumes at full resolution."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from smiler.domain.evidence import Relations
from smiler.domain.geometry import Geometry
from smiler.domain.progress import Progress, Silent
from smiler.prediction.compose import compose
from smiler.prediction.model import Model
from smiler.prediction.options import PredictionOptions
from smiler.prediction.scores import Scores, slice_scores
from smiler.store.resample import Resampler, working_geometry
from smiler.store.store import window

BLOCK = 8


@dataclass(frozen=True)
class WorkingImage:
    """A CT on the working grid: windowed HU int16 (z, y, x), and where it lies."""

    hu: NDArray[np.int16]
    geometry: Geometry


def to_working(model: Model, hu: NDArray[np.int16], geometry: Geometry) -> WorkingImage:
    """Bring a CT in canonical order to the model's working grid."""
    data = model.facts.data
    working = working_geometry(geometry, data.spacing_zyx_mm)
    out = np.empty(working.shape, dtype=np.int16)
    resampler = Resampler(geometry.shape, working.shape)
    for start in range(0, working.shape[0], BLOCK):
        stop = min(start + BLOCK, working.shape[0])
        first, last = resampler.needed(start, stop)
        out[start:stop] = window(resampler.block(hu[first:last], start, stop), data)
    return WorkingImage(out, working)


def native_blocks(
    model: Model, image: WorkingImage, native: Geometry, options: PredictionOptions
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """(first slice, scores (K, n, y, x)) on the native grid, a few slices at a time from the feet up."""
    resampler = Resampler(image.geometry.shape, native.shape)
    stream = _each_slice(model, image.hu, options)
    ready: deque[Scores] = deque()
    offset = 0
    for start in range(0, native.shape[0], BLOCK):
        stop = min(start + BLOCK, native.shape[0])
        first, last = resampler.needed(start, stop)
        while offset < first:
            if ready:
                ready.popleft()
            else:
                next(stream)
            offset += 1
        while offset + len(ready) < last:
            ready.append(next(stream))
        yield start, _upsample(np.stack(list(ready)[: last - first], axis=1), resampler, start, stop)


def _upsample(scores: Scores, resampler: Resampler, start: int, stop: int) -> NDArray[np.float32]:
    """Organs that are nowhere predicted in the block are not interpolated: their score stays below 0."""
    out = np.full((len(scores), stop - start, *resampler.target[1:]), -1.0, dtype=np.float32)
    for k, organ in enumerate(scores):
        if organ.max() > 0:
            out[k] = resampler.block(organ, start, stop)
    return out


def _each_slice(model: Model, hu: Any, options: PredictionOptions) -> Iterator[Scores]:
    for said in slice_scores(model, hu, 0, hu.shape[0], options.batch_size):
        yield from said.score - options.score_threshold if options.score_threshold else said.score


def predict_bits(
    model: Model,
    hu: NDArray[np.int16],
    geometry: Geometry,
    options: PredictionOptions,
    progress: Progress | None = None,
) -> NDArray[np.int32]:
    """Bit field (z, y, x) of all organs on the CT's canonical grid, from HU (z, y, x) in the same order."""
    image = to_working(model, hu, geometry)
    bits = np.zeros(geometry.shape, dtype=np.int32)
    relations = Relations.of(model.organs)
    blocks = native_blocks(model, image, geometry, options)
    for start, scores in (progress or Silent()).track(blocks, "predicting", -(-geometry.shape[0] // BLOCK)):
        bits[start : start + scores.shape[1]] = compose(scores, relations)
    return keep_largest(bits, len(model.organs)) if options.largest_component else bits


def keep_largest(bits: NDArray[np.int32], organs: int) -> NDArray[np.int32]:
    """Of each organ only its largest connected piece (26 neighbours)."""
    out = np.zeros_like(bits)
    for k in range(organs):
        mask = (bits >> k & 1).astype(bool)
        if mask.any():
            box = bounding_box(mask)
            largest = cc3d.largest_k(mask[box], k=1, connectivity=26) > 0
            out[box] |= largest.astype(np.int32) << np.int32(k)
    return out


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The smallest box (z, y, x) around a mask that has a voxel."""
    spans = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        spans.append(slice(int(used[0]), int(used[-1]) + 1))
    return tuple(spans)
