"""From scores to masks: an organ is where its score is above 0 and the best among the organs that exclude it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smiler.domain.evidence import Relations

Box = tuple[slice, ...]


@dataclass(frozen=True)
class Patch:
    """Scores of one organ (a channel) in a box of an array (*space); outside of it none is above 0."""

    channel: int
    box: Box
    scores: NDArray[np.floating]

    def within(self, box: Box) -> NDArray[np.floating]:
        """The scores in a box that lies in this one."""
        return self.scores[inside(box, self.box)]


def inside(box: Box, outer: Box) -> Box:
    """A box of the array as a box of what another one cuts out."""
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, outer, strict=True))


def patches(scores: NDArray[np.floating]) -> list[Patch]:
    """Of scores (K, *space) each organ that is predicted somewhere, in its smallest box."""
    found = []
    for k, organ in enumerate(scores):
        box = bounding_box(organ > 0)
        if box:
            found.append(Patch(k, box, organ[box]))
    return found


def compose(found: Sequence[Patch], shape: Sequence[int], relations: Relations) -> NDArray[np.int32]:
    """Bit field (*space). Nested organs may overlap, exclusive ones never; first wins ties."""
    bits = np.zeros(shape, dtype=np.int32)
    for mine in found:
        mask = mine.scores > 0
        for other in found:
            common = _common(mine.box, other.box)
            if common and relations.excluders[mine.channel] >> other.channel & 1:
                own, rival = mine.within(common), other.within(common)
                mask[inside(common, mine.box)] &= own > rival if other.channel < mine.channel else own >= rival
        bits[mine.box] |= mask.astype(np.int32) << np.int32(mine.channel)
    return bits


def _common(one: Box, other: Box) -> Box:
    box = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return box if all(part.start < part.stop for part in box) else ()


def bounding_box(mask: NDArray[Any]) -> Box:
    """The smallest box (*space) around the true voxels of a mask; () where there is none."""
    spans, rest = [], mask
    for _ in range(mask.ndim):
        used = np.flatnonzero(rest.any(axis=tuple(range(1, rest.ndim))))
        if not len(used):
            return ()
        spans.append(slice(int(used[0]), int(used[-1]) + 1))
        rest = np.asarray(rest.any(axis=0))
    return tuple(spans)
