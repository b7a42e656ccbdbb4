"""Voxels that two organs claim although the organs exclude each other: counted, and settled by declared order."""

from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from smiler.domain.organs import OrganSet


@dataclass(frozen=True)
class Clashes:
    """Voxels counted: pairs (declared first, declared later) -> shared; lost: organ -> taken by organs before it."""

    pairs: dict[tuple[str, str], int]
    lost: dict[str, int]


def settle(drawn: NDArray[np.uint32], organs: OrganSet, *, change: bool) -> Clashes:
    """Count the voxels that exclusive organs share in `drawn` (z, y, x); with `change` clear the later organ's bit."""
    found: Counter[int] = Counter()
    kept: dict[int, int] = {}
    for part in drawn:
        many = (part & (part - np.uint32(1))) != 0
        if not many.any():
            continue
        values, inverse, counts = np.unique(part[many], return_inverse=True, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            found[value] += count
            kept.setdefault(value, _first(value, organs))
        if change:
            part[many] = np.array([kept[value] for value in values.tolist()], dtype=np.uint32)[inverse]
    return _count(found, kept, organs)


def _first(bits: int, organs: OrganSet) -> int:
    """The bits of the organs that stay when each yields to the exclusive organs declared before it."""
    kept: list[str] = []
    for organ in _organs(bits, organs):
        if not any(organs.exclusive(organ, other) for other in kept):
            kept.append(organ)
    return organs.bits(kept)


def _count(found: Counter[int], kept: dict[int, int], organs: OrganSet) -> Clashes:
    pairs: Counter[tuple[str, str]] = Counter()
    lost: Counter[str] = Counter()
    for bits, count in found.items():
        pairs.update({pair: count for pair in combinations(_organs(bits, organs), 2) if organs.exclusive(*pair)})
        lost.update(dict.fromkeys(_organs(bits & ~kept[bits], organs), count))
    return Clashes(dict(sorted(pairs.items())), dict(sorted(lost.items())))


def _organs(bits: int, organs: OrganSet) -> list[str]:
    return [key for k, key in enumerate(organs.keys) if bits >> k & 1]
