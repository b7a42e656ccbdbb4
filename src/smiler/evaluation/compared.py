"""Prediction and truth of one case side by side: one pass finds every organ's box, masks are made inside it only."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from smiler.evaluation.metrics import Mask, extent

Bits: TypeAlias = NDArray[np.int32]
Box: TypeAlias = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Compared:
    """Bit fields of one case on one grid, and where the compared organs have their bits.

    found: predicted, int32 (z, y, x); drawn: by experts, int32 (z, y, x), negative where nobody looked; known: int32
    (z,), an expert's word about the organ counts on this slice. predicted_bits, truth_bits: organ i's bit in `found`,
    and in `drawn` and `known`.
    """

    found: Bits
    drawn: Bits
    known: Bits
    predicted_bits: Sequence[int]
    truth_bits: Sequence[int]

    @cached_property
    def boxes(self) -> tuple[Box, ...]:
        """Per organ the smallest box that holds what is predicted on known voxels and what is drawn; maybe empty."""
        found, drawn = self._projections()
        pairs = zip(_lines(*found, self.predicted_bits), _lines(*drawn, self.truth_bits), strict=True)
        return tuple((extent(f[0] | d[0]), extent(f[1] | d[1]), extent(f[2] | d[2])) for f, d in pairs)

    def masks(self, number: int) -> tuple[Mask, Mask]:
        """What is predicted on known voxels and what is drawn of organ `number`, both in its box."""
        box = self.boxes[number]
        drawn, own = self.drawn[box], np.int32(1 << self.truth_bits[number])
        counts = (drawn >= 0) & ((self.known[box[0]] & own) != 0)[:, None, None]
        return ((self.found[box] & np.int32(1 << self.predicted_bits[number])) != 0) & counts, (drawn & own) != 0

    def _projections(self) -> tuple[tuple[Bits, Bits], tuple[Bits, Bits]]:
        """Which bits are set in each slice (z,) and in each column (y, x): of what is predicted, and of what is drawn.

        Slice by slice, so that nothing of the size of the volume is made.
        """
        allowed = self._allowed()
        depth, plane = len(allowed), self.drawn.shape[1:]
        slices, planes = np.zeros((2, depth), np.int32), np.zeros((2, *plane), np.int32)
        for z in range(depth):
            here, said = self.drawn[z], self.found[z] & allowed[z]
            slices[1, z] = np.bitwise_or.reduce(here, axis=None)
            if slices[1, z] < 0:  # somewhere nobody looked
                said[here < 0] = 0
            slices[0, z] = np.bitwise_or.reduce(said, axis=None)
            planes[0] |= said
            planes[1] |= here
        return (slices[0], planes[0]), (slices[1], planes[1])

    def _allowed(self) -> Bits:
        """Per slice (z,), the bits of `found` of whose organs something is known there."""
        allowed = np.zeros_like(self.known)
        for bit, own in zip(self.predicted_bits, self.truth_bits, strict=True):
            allowed |= (self.known >> own & 1) << np.int32(bit)
        return allowed


def _lines(slices: Bits, plane: Bits, bits: Sequence[int]) -> list[tuple[Mask, Mask, Mask]]:
    """Per organ, which z, y and x it occupies."""
    rows, columns = np.bitwise_or.reduce(plane, axis=1), np.bitwise_or.reduce(plane, axis=0)
    return [(slices >> bit & 1 != 0, rows >> bit & 1 != 0, columns >> bit & 1 != 0) for bit in bits]
