"""How often each combination of bit fields occurs in a case, and the evidence codes that follow: no code per voxel.

A code depends only on a voxel's (known, drawn, proposed), and a case has a handful of such combinations. Along a row
they seldom change, so that runs of equal voxels are counted, not voxels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smiler.domain.evidence import Code, Fields, Relations, derive
from smiler.formats.labels import Labels

_HIGH = 32


@dataclass(frozen=True)
class Tally:
    """The n distinct combinations of a case. known, drawn, proposed: bit fields int64 (n,), bit k is organ k.

    voxels: how many voxels have the combination; x_sum: the sum of their x indices. Both int64 (n,).
    """

    known: NDArray[np.int64]
    drawn: NDArray[np.int64]
    proposed: NDArray[np.int64]
    voxels: NDArray[np.int64]
    x_sum: NDArray[np.int64]

    @classmethod
    def of(cls, labels: Labels) -> "Tally":
        """Count the bit fields of a case, slice by slice."""
        sums: dict[tuple[int, int], NDArray[np.int64]] = {}
        for known, keys, parts in _slices(labels):
            for key, part in zip(keys.tolist(), parts, strict=True):
                sums[known, key] = sums.get((known, key), np.zeros(2, dtype=np.int64)) + part
        fields = np.array(list(sums), dtype=np.int64)
        counts = np.array(list(sums.values()), dtype=np.int64)
        return cls(fields[:, 0], fields[:, 1] & (1 << _HIGH) - 1, fields[:, 1] >> _HIGH, counts[:, 0], counts[:, 1])

    def codes(self, relations: Relations) -> NDArray[np.int64]:
        """Voxels of each evidence code, int64 (K, 7), columns in the order of Code."""
        codes = derive(Fields(self.drawn, self.known, self.proposed), relations, np)
        return np.stack([(self.voxels * (codes == code)).sum(axis=1) for code in Code], axis=1)

    def drawn_of(self, organ: int) -> tuple[int, float]:
        """Voxels that an expert drew of the organ in channel `organ`, and their mean x index (NaN without any)."""
        where = (self.drawn & self.known) >> organ & 1 == 1
        voxels = int(self.voxels[where].sum())
        return voxels, float(self.x_sum[where].sum()) / voxels if voxels else float("nan")


def _slices(labels: Labels) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Per slice: its known bits, its n keys (drawn, and proposed 32 bits higher), their (n, 2) voxels and x sums."""
    _, rows, columns = labels.drawn.shape
    x_before = np.concatenate([[0], np.cumsum(np.tile(np.arange(columns, dtype=np.int64), rows))])
    for known, drawn, proposed in zip(labels.known.tolist(), labels.drawn, labels.proposed, strict=True):
        flat, other = drawn.ravel(), proposed.ravel()
        changes = np.flatnonzero((flat[1:] != flat[:-1]) | (other[1:] != other[:-1])) + 1
        bounds = np.concatenate([[0], changes, [flat.size]])
        starts = bounds[:-1]
        runs = flat.view(np.uint32)[starts].astype(np.int64) | other[starts].astype(np.int64) << _HIGH
        keys, which = np.unique(runs, return_inverse=True)
        parts = np.zeros((len(keys), 2), dtype=np.int64)
        np.add.at(parts, which, np.stack([np.diff(bounds), np.diff(x_before[bounds])], axis=1))
        yield known, keys, parts
