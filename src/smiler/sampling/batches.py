"""Batches of a training stage: each a pure function of (seed, stage, step), read ahead."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import reduce
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from smiler.sampling.augment import Batch, Changes, Normalisation, Slices, apply, sample
from smiler.sampling.draws import Draw, Plan, generator
from smiler.sampling.options import FEWER, SamplingOptions
from smiler.sampling.patches import centres, first_voxel, read_patches
from smiler.store.store import Store
from smiler.workers.memory import lacking

READERS, READ_AHEAD = 3, 2
"""Threads that make batches for a GPU; and how many batches wait, of each thread."""


@dataclass(frozen=True)
class Batches:
    """Batches for one stage; draws are seeded by (seed, stage, first + step).

    `proposals`, `cleared`: case id -> bits on disk of what a round proposed and ruled out; `proposed`: case id -> (z,),
    the organs that are drawn for there. `axes`: 2 for batches of slices, 3 for batches of 3-D patches. `part`: which of
    so many equal parts of each batch is wanted, for a training in several processes.
    """

    store: Store
    options: SamplingOptions
    context: int
    seed: int
    stage: int = 0
    proposals: Mapping[str, Any] = field(default_factory=dict)
    proposed: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)
    cleared: Mapping[str, Any] = field(default_factory=dict)
    first: int = 0
    axes: int = 2
    part: tuple[int, int] = (0, 1)

    def normalisation(self) -> Normalisation:
        """Grey-value normalisation from the voxels that experts drew."""
        return Normalisation(*self.store.normalisation, air=float(self.store.data.working_range[0]))

    def steps(self, start: int, stop: int, device: torch.device) -> Iterator[Batch]:
        """The batches of steps [start, stop). The network thread never waits for the disk."""
        plan, normalisation = Plan.of(self.store, self.proposed), self.normalisation()
        if device.type == "cuda":
            yield from self._beside(plan, range(start, stop), device)
            return
        with ThreadPoolExecutor(1) as reader:
            coming = (reader.submit(self._read, plan, step) for step in range(start, stop))
            ahead = deque(islice(coming, READ_AHEAD))
            while ahead:
                batch = self._batch(ahead.popleft().result(), normalisation, device)
                ahead.extend(islice(coming, 1))  # only now: two threads that run Python wait for each other
                yield batch

    def _beside(self, plan: Plan, steps: range, device: torch.device) -> Iterator[Batch]:
        """Batches for a GPU: read by several threads, and changed on the GPU beside the network's own work."""
        normalisation = self.normalisation()
        lane: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

        def make(step: int) -> tuple[Batch, torch.cuda.Event]:
            read = self._read(plan, step, locked=True)
            with torch.cuda.stream(lane):
                return self._batch(read, normalisation, device), lane.record_event()

        with ThreadPoolExecutor(READERS) as readers:
            coming = (readers.submit(make, step) for step in steps)
            ahead = deque(islice(coming, READERS * READ_AHEAD))
            while ahead:
                batch, made = ahead.popleft().result()
                ahead.extend(islice(coming, 1))
                here = torch.cuda.current_stream(device)
                here.wait_event(made)
                for tensor in batch.tensors:
                    tensor.record_stream(here)
                yield batch

    def _batch(self, read: tuple[Slices, Changes], normalisation: Normalisation, device: torch.device) -> Batch:
        batch = apply(*read, self.options.patch_size, normalisation, device)
        return Batch(batch.image[:, None], batch.fields) if self.axes == 3 else batch

    def _read(self, plan: Plan, step: int, *, locked: bool = False) -> tuple[Slices, Changes]:
        rng = generator(self.seed, self.stage, self.first + step)
        draws = plan.draw(rng, self.options)
        mine, parts = self.part
        each = len(draws) // parts
        own = slice(mine * each, (mine + 1) * each)
        rngs = [generator(int(seed)) for seed in rng.integers(2**62, size=len(draws))]
        if self.axes == 3:
            first = np.stack([first_voxel(self, draw, one) for draw, one in zip(draws[own], rngs[own], strict=True)])
            changes = self._changes(rng, centres(first, self.options.patch_size), own, len(draws))
            return read_patches(self, draws[own], first, changes)
        slices = read_slices(self, draws[own], rngs[own], locked=locked)
        return slices, self._changes(rng, slices.centre, own, len(draws))

    def _changes(self, rng: np.random.Generator, centre: NDArray[np.float64], own: slice, count: int) -> Changes:
        """The changes of this part of a batch of `count`; drawn for all, so that every process draws the same."""
        everywhere = np.zeros((count, 2))
        everywhere[own] = centre
        return sample(rng, everywhere, self.options.patch_size, self.options.augment).part(own)


def read_slices(
    batches: Batches, draws: list[Draw], rngs: list[np.random.Generator], *, locked: bool = False
) -> Slices:
    """Read the drawn slices with their neighbours, padded to the largest; choose where each patch is centred.

    `locked`: into page-locked memory, from which a GPU reads by itself.
    """
    cases = batches.store.cases
    extent = np.array([cases[draw.case].geometry.shape[1:] for draw in draws], dtype=np.int64)
    height, width = extent.max(axis=0).tolist()
    count, channels = len(draws), 2 * batches.context + 1

    def bits() -> NDArray[np.int32]:
        return _filled((count, height, width), np.int32, 0, locked)

    image = _filled((count, channels, height, width), np.int16, batches.store.data.working_range[0], locked)
    known = np.array([cases[draw.case].known[draw.z] for draw in draws], dtype=np.int32).reshape(-1, 1, 1)
    drawn, pseudo, cleared = bits(), bits() if batches.proposals else None, bits() if batches.cleared else None
    centre = np.empty((count, 2))
    for i, (draw, rng) in enumerate(zip(draws, rngs, strict=True)):
        case, (y, x) = cases[draw.case], extent[i]
        with lacking(f"case {case.case.id}", FEWER):
            image[i, :, :y, :x] = neighbours(case.image, draw.z, batches.context)
            for array, found in (
                (drawn, case.drawn),
                (pseudo, batches.proposals.get(case.case.id)),
                (cleared, batches.cleared.get(case.case.id)),
            ):
                if array is not None and found is not None:
                    array[i, :y, :x] = found[draw.z]
        shown = [drawn[i, :y, :x]] if draw.organ >= 0 and case.known[draw.z] >> draw.organ & 1 else []
        shown += [] if pseudo is None else [pseudo[i, :y, :x]]
        centre[i] = _centre(shown, draw, extent[i], batches.options, rng)
    return Slices(image, drawn, pseudo, known, extent, centre, cleared)


def _filled(shape: tuple[int, ...], kind: type[np.integer[Any]], value: int, locked: bool) -> NDArray[Any]:
    """Filled by numpy: where a CPU trains, the reader must not have threads of torch's own (decision 15)."""
    array: NDArray[Any] = torch.empty(shape, dtype=getattr(torch, np.dtype(kind).name), pin_memory=locked).numpy()
    array.fill(value)
    return array


def neighbours(image: Any, z: int, context: int) -> NDArray[np.int16]:
    """Slices z - context to z + context (C, y, x); beyond the volume the outermost slice stands."""
    depth = image.shape[0]
    first, last = max(0, z - context), min(depth - 1, z + context)
    block: NDArray[np.int16] = image[first : last + 1]
    if not context:
        return block
    return block[np.clip(np.arange(z - context, z + context + 1), 0, depth - 1) - first]


def _centre(
    shown: Sequence[NDArray[np.int32]],
    draw: Draw,
    extent: NDArray[np.int64],
    options: SamplingOptions,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Where the patch is centred: the slice's middle where it fits, else at random, on the organ that was drawn.

    `shown`: bit fields (y, x) of what the slice shows.
    """
    middle = (extent - 1) / 2
    room = np.maximum(0, extent - options.patch_size) / 2
    if not room.any():
        return middle
    wanted = middle + rng.uniform(-1, 1, 2) * room
    if draw.organ >= 0:
        there = reduce(np.bitwise_or, shown) & np.int32(1 << draw.organ) != 0
        voxels = np.flatnonzero(there)
        voxel = np.unravel_index(voxels[rng.integers(len(voxels))], there.shape)
        wanted = np.array(voxel) + rng.uniform(-0.25, 0.25, 2) * options.patch_size
    return np.clip(wanted, middle - room, middle + room)
