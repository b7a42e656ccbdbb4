"""How far a network agrees with itself about each organ: masks of several Monte-Carlo passes, counted as votes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from smiler.domain.geometry import Geometry
from smiler.prediction.compose import bounding_box
from smiler.prediction.scores import Opinions, Said, host
from smiler.store.resample import Resampler

BLOCK = 8
FEWEST = 4
"""Masks that agreement is taken of, at least."""


@dataclass(frozen=True)
class Agreement:
    """What the passes say of one organ of one volume.

    agreement: Dice over all pairs of passes, 0 to 1 (1 where none of them finds a voxel).
    unsure_cm2: area on which they do not agree, summed over the working grid's slices: what a reviewer has to look at.
    """

    agreement: float
    unsure_cm2: float


class Votes:
    """Counts, of the blocks of slices that pass, how many Monte-Carlo passes find each organ at each voxel."""

    def __init__(self, channels: tuple[int, ...], working: Geometry, passes: int) -> None:
        self.channels, self.working, self.passes = channels, working, passes
        self.counts: NDArray[np.uint8] = np.zeros((len(channels), *working.shape), dtype=np.uint8)

    @property
    def opinions(self) -> Opinions:
        """What the network is asked for."""
        return Opinions("votes", self.passes)

    def passing(self, stream: Iterator[Said]) -> Iterator[Said]:
        """The same blocks of slices, from the feet up."""
        at = 0
        for said in stream:
            here = slice(at, at + len(said.score))
            if said.mean is not None:
                found = said.mean[:, list(self.channels)].swapaxes(0, 1) * self.passes
                self.counts[:, here] = host(found + 0.5, torch.uint8)  # rounded: votes are whole numbers
            at = here.stop
            yield said

    def agreement(self, channel: int) -> Agreement:
        """Of one organ.

        With v votes at a voxel, the passes' masks share v (v - 1) / 2 voxels in all pairs, and have (T - 1) v / 2 of
        them on average: so the pairs need not be looked at one by one.
        """
        voxels = np.bincount(self._of(channel).ravel(), minlength=self.passes + 1)
        votes = np.arange(self.passes + 1)
        total = float((self.passes - 1) * (votes * voxels).sum())
        shared = float((votes * (votes - 1) * voxels).sum())
        _, y, x = self.working.spacing
        area = float(voxels[1 : self.passes].sum()) * y * x / 100
        return Agreement(round(shared / total, 4) if total else 1.0, round(area, 2))

    def unsure(self, channel: int, native: Geometry) -> NDArray[np.float16]:
        """(z, y, x) on the CT's grid: 0 where all passes agree, 1 where half of them find the organ."""
        counts, out = self._of(channel), np.zeros(native.shape, dtype=np.float16)
        box = bounding_box((counts > 0) & (counts < self.passes))
        if not box:
            return out
        resampler, source, target = Resampler(self.working.shape, native.shape).around(box[1], box[2])
        for start in range(0, native.shape[0], BLOCK):
            stop = min(start + BLOCK, native.shape[0])
            first, last = resampler.needed(start, stop)
            if last <= box[0].start or first >= box[0].stop:
                continue
            split = 1 - np.abs(counts[first:last, *source].astype(np.float32) * (2 / self.passes) - 1)
            out[start:stop, *target] = resampler.block(split, start, stop).clip(0, 1)
        return out

    def _of(self, channel: int) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = self.counts[self.channels.index(channel)]
        return found
