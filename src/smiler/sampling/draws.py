"""Which slices a batch is made of: a pure function of (seed, stage, step)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smiler.domain.errors import BadInput
from smiler.sampling.options import SamplingOptions
from smiler.store.store import Store, StoredCase


@dataclass(frozen=True)
class Draw:
    """One slice for a batch; `organ` is the channel for whose sake it was drawn, -1 for none."""

    case: int
    z: int
    organ: int


@dataclass(frozen=True)
class Plan:
    """Slices one may draw: `trainable` (n, 2) of (case, z), and for each organ those with a voxel an expert drew.

    A slice about which nothing is known is in neither. Where proposals are given, the slices with a proposed voxel of
    an organ are among its own, too.
    """

    trainable: NDArray[np.int64]
    positive: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, store: Store, proposed: Mapping[str, NDArray[np.int32]] | None = None) -> "Plan":
        """Every slice that teaches something. `proposed`: case id -> (z,), bit k where organ k is proposed."""
        proposed = proposed or {}
        trainable = _stack([_pairs(i, case.known != 0) for i, case in enumerate(store)])
        positive = tuple(
            _stack([_pairs(i, _shows(case, k, proposed)) for i, case in enumerate(store)])
            for k in range(len(store.organs))
        )
        if not len(trainable):
            raise BadInput("nothing is annotated in any slice: nothing to learn from", where="cohort")
        return cls(trainable, positive)

    def organs_without_positive(self) -> list[int]:
        """Channels that no slice teaches to be present."""
        return [k for k, slices in enumerate(self.positive) if not len(slices)]

    def draw(self, rng: np.random.Generator, options: SamplingOptions) -> list[Draw]:
        """The slices of one batch: a share of them from slices with a known positive, organs in turn equally likely."""
        foreground = round(options.batch_size * options.foreground)
        some = [k for k, slices in enumerate(self.positive) if len(slices)]
        draws = []
        for i in range(options.batch_size):
            organ = int(rng.choice(some)) if i < foreground and some else -1
            slices = self.trainable if organ < 0 else self.positive[organ]
            case, z = slices[rng.integers(len(slices))]
            draws.append(Draw(int(case), int(z), organ))
        return draws


def generator(*key: int) -> np.random.Generator:
    """The random numbers that belong to a key such as (seed, stage, step)."""
    return np.random.default_rng(np.random.SeedSequence(key))


def _shows(case: StoredCase, k: int, proposed: Mapping[str, NDArray[np.int32]]) -> NDArray[np.bool_]:
    """Whether each slice (z,) shows organ k by an expert's word, or else by a proposal."""
    shown: NDArray[np.bool_] = (case.voxels[:, k] > 0) & (case.known >> k & 1 != 0)
    return shown | (proposed[case.case.id] >> k & 1 != 0) if case.case.id in proposed else shown


def _pairs(case: int, wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    z = np.flatnonzero(wanted)
    return np.stack([np.full_like(z, case), z], axis=1)


def _stack(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(parts) if parts else np.zeros((0, 2), dtype=np.int64)
