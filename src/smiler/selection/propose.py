"""Selection: the safest share of what a network predicts becomes a proposal (Algorithm 1 of Petit et al. 2018)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from smiler.domain.evidence import Code, Relations

Ranks = NDArray[np.float32]


@dataclass(frozen=True)
class Selection:
    """How much is accepted (share gamma in [0, 1]), counted over what, and the seed that breaks ties.

    `each`: a share for each channel, where they differ.
    """

    fraction: float
    scope: Literal["volume", "slice"] = "volume"
    seed: tuple[int, ...] = (0,)
    each: tuple[float, ...] = ()

    def of_channel(self, k: int) -> "Selection":
        """The selection of one channel."""
        return Selection(self.each[k] if self.each else self.fraction, self.scope, (*self.seed, k))


def select(candidate: NDArray[np.bool_], rank: Ranks, selection: Selection) -> NDArray[np.bool_]:
    """The best-ranked share of the candidates (z, y, x), over the volume or slice by slice. Ties fall by seeded noise.

    The share is rounded to the nearest voxel.
    """
    rng = np.random.default_rng(np.random.SeedSequence(selection.seed))
    if selection.scope == "volume":
        return _best(candidate, rank, selection.fraction, rng)
    return np.stack([_best(c, r, selection.fraction, rng) for c, r in zip(candidate, rank, strict=True)])


def _best(candidate: NDArray[np.bool_], rank: Ranks, fraction: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    where = np.flatnonzero(candidate)
    count = round(fraction * len(where))
    accepted = np.zeros(candidate.size, dtype=bool)
    if count:
        ranks = rank.ravel()[where]
        border = np.partition(ranks, len(ranks) - count)[len(ranks) - count]
        sure = where[ranks > border]
        tied = where[ranks == border]
        accepted[sure] = True
        accepted[rng.permutation(tied)[: count - len(sure)]] = True
    return accepted.reshape(candidate.shape)


def propose(
    ranks: Ranks, predicted: NDArray[np.bool_], codes: NDArray[np.uint8], relations: Relations, selection: Selection
) -> NDArray[np.int32]:
    """Bit field (z, y, x) of accepted proposals.

    ranks, predicted, codes: (K, z, y, x), rank (higher is safer), the network's positives, evidence without proposals.
    Only UNKNOWN voxels are proposed. Where two exclusive organs are accepted at one voxel, the better-ranked owns it.
    """
    accepted = np.zeros(predicted.shape, dtype=bool)
    for k in range(len(predicted)):
        candidate = predicted[k] & (codes[k] == int(Code.UNKNOWN))
        if candidate.any():
            accepted[k] = select(candidate, ranks[k], selection.of_channel(k))
    return _settle(accepted, ranks, relations)


def _settle(accepted: NDArray[np.bool_], ranks: Ranks, relations: Relations) -> NDArray[np.int32]:
    bits = np.zeros(accepted.shape[1:], dtype=np.int32)
    present = [k for k in range(len(accepted)) if accepted[k].any()]
    for k in present:
        mine = accepted[k].copy()
        for j in present:
            if relations.excluders[k] >> j & 1:
                beaten = ranks[j] >= ranks[k] if j < k else ranks[j] > ranks[k]
                mine &= ~(accepted[j] & beaten)
        bits |= mine.astype(np.int32) << np.int32(k)
    return bits
