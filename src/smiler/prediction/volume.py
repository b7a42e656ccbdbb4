"""Masks on the CT's own grid, made a few slices at a time: never K float volumes at full resolution."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import cc3d
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smiler.domain.evidence import Relations
from smiler.domain.geometry import Geometry
from smiler.domain.organs import OrganSet
from smiler.domain.progress import Progress, Silent
from smiler.prediction.compose import Patch, bounding_box, compose, patches
from smiler.prediction.model import Model
from smiler.prediction.on_device import restored_blocks
from smiler.prediction.options import PredictionOptions
from smiler.prediction.scores import Opinions, Said, Scores, slice_scores
from smiler.store.grey_scale import GreyScale
from smiler.store.options import DataOptions
from smiler.store.resample import Resampler, working_geometry

BLOCK = 8


@dataclass(frozen=True)
class WorkingImage:
    """A volume on the working grid: int16 (z, y, x) as `GreyScale` makes them, and where it lies."""

    hu: NDArray[np.int16]
    geometry: Geometry


def to_working(data: DataOptions, hu: NDArray[np.int16], geometry: Geometry, where: str = "the image") -> WorkingImage:
    """Bring a volume in canonical order to the working grid of a model with these options."""
    scale = GreyScale.of(hu, data, where)
    working = working_geometry(geometry, data.spacing_zyx_mm)
    if working.shape == geometry.shape:
        return WorkingImage(scale(hu), working)
    out = np.empty(working.shape, dtype=np.int16)
    resampler = Resampler(geometry.shape, working.shape)
    for start in range(0, working.shape[0], BLOCK):
        stop = min(start + BLOCK, working.shape[0])
        first, last = resampler.needed(start, stop)
        out[start:stop] = scale(resampler.block(hu[first:last], start, stop))
    return WorkingImage(out, working)


def native_blocks(
    stream: Iterator[Scores], working: Geometry, native: Geometry
) -> Iterator[tuple[int, int, list[Patch]]]:
    """(first slice, last, scores in boxes (n, y, x)) on the native grid, a few slices at a time from the feet up.

    `stream`: scores (K, y, x) of one working slice after the other.
    """
    resampler = Resampler(working.shape, native.shape)
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
        yield start, stop, _upsample(np.stack(list(ready)[: last - first], axis=1), resampler, start, stop)


def _upsample(scores: Scores, resampler: Resampler, start: int, stop: int) -> list[Patch]:
    """Each organ in the box in which it can be above 0: nothing is interpolated elsewhere."""
    found = []
    for patch in patches(scores):
        part, source, target = resampler.around(*patch.box[1:])
        native = part.block(scores[patch.channel][:, *source], start, stop)
        found.append(Patch(patch.channel, (slice(0, stop - start), *target), native))
    return found


def each_slice(blocks: Iterator[Said], options: PredictionOptions) -> Iterator[Any]:
    """Scores (K, y, x) of one slice after the other, above 0 where the organ's probability is above the threshold."""
    for said in blocks:
        yield from said.score - options.score_threshold if options.score_threshold else said.score


def predict_bits(
    model: Model,
    hu: NDArray[np.int16],
    geometry: Geometry,
    options: PredictionOptions,
    progress: Progress | None = None,
) -> NDArray[np.int32]:
    """Bit field (z, y, x) of all organs on the CT's canonical grid, from HU (z, y, x) in the same order."""
    return working_bits(model, to_working(model.facts.data, hu, geometry), geometry, options, progress)


def working_bits(
    model: Model,
    image: WorkingImage,
    native: Geometry,
    options: PredictionOptions,
    progress: Progress | None = None,
) -> NDArray[np.int32]:
    """As `predict_bits`, from a CT that is on the working grid already."""
    said = slice_scores(model, image.hu, 0, len(image.hu), options.batch_size, _moves(options))
    stream = each_slice(said, options)
    return restored(stream, Grids(image.geometry, native), model.organs, options, progress)


def _moves(options: PredictionOptions) -> Opinions | None:
    return Opinions("pooled", options.shifts) if options.shifts else None


class Keeper(Protocol):
    """What looks at all that a network says of a volume while masks are made of it (`Gathered`, `Votes`)."""

    def passing(self, stream: Iterator[Said]) -> Iterator[Said]:
        """The same blocks of slices, from the feet up."""


def kept_bits(
    model: Model,
    image: WorkingImage,
    native: Geometry,
    options: PredictionOptions,
    keeper: Keeper,
    opinions: Opinions | None = None,
) -> NDArray[np.int32]:
    """As `working_bits`; the network runs once for the masks and for what `keeper` makes of it."""
    opinions = opinions or _moves(options)
    said = keeper.passing(slice_scores(model, image.hu, 0, len(image.hu), options.batch_size, opinions))
    scores = each_slice(said, options)
    bits = restored(scores, Grids(image.geometry, native), model.organs, options)
    for _ in scores:
        pass  # slices that no slice of the CT needs are kept, too
    return bits


@dataclass(frozen=True)
class Grids:
    """Where scores are, and where masks are wanted."""

    working: Geometry
    native: Geometry


def restored(
    stream: Iterator[Any],
    grids: Grids,
    organs: OrganSet,
    options: PredictionOptions,
    progress: Progress | None = None,
) -> NDArray[np.int32]:
    """Bit field (z, y, x) on the native grid from scores (K, y, x) of one working slice after the other.

    Scores in a GPU's memory stay there until masks are made of them.
    """
    bits = np.empty(grids.native.shape, dtype=np.int32)
    blocks = _masks(stream, grids, Relations.of(organs))
    for start, stop, found in (progress or Silent()).track(blocks, "predicting", -(-len(bits) // BLOCK)):
        bits[start:stop] = found
    return keep_largest(bits, len(organs)) if options.largest_component else bits


def _masks(stream: Iterator[Any], grids: Grids, relations: Relations) -> Iterator[tuple[int, int, NDArray[np.int32]]]:
    one = next(stream)
    stream = chain([one], stream)
    if isinstance(one, Tensor):
        yield from restored_blocks(stream, Resampler(grids.working.shape, grids.native.shape), relations)
        return
    for start, stop, found in native_blocks(stream, grids.working, grids.native):
        yield start, stop, compose(found, (stop - start, *grids.native.shape[1:]), relations)


def mask_of(bits: NDArray[np.int32], k: int) -> NDArray[np.uint8]:
    """One organ (z, y, x), slice by slice: what is in between stays small."""
    mask = np.zeros(bits.shape, dtype=np.uint8)
    for z, plane in enumerate(bits):
        mine = plane & np.int32(1 << k)
        if mine.any():
            np.not_equal(mine, 0, out=mask[z].view(bool))
    return mask


def keep_largest(bits: NDArray[np.int32], organs: int) -> NDArray[np.int32]:
    """Of each organ only its largest connected piece (26 neighbours)."""
    out = np.zeros_like(bits)
    for k in range(organs):
        mask = (bits >> k & 1).astype(bool)
        box = bounding_box(mask)
        if box:
            largest = cc3d.largest_k(mask[box], k=1, connectivity=26) > 0
            out[box] |= largest.astype(np.int32) << np.int32(k)
    return out
