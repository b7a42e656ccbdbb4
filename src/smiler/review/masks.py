"""A mask as the review holds it: the box around its voxels on the page's RAS+ grid, so that small organs stay small."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smiler.review.errors import Refused
from smiler.review.orientation import Shape
from smiler.review.revisions import Change

NOWHERE = (0, 0, 0)


@dataclass(frozen=True)
class Box:
    """Half-open: voxels start <= index < stop along (i, j, k)."""

    start: Shape
    stop: Shape

    @property
    def shape(self) -> Shape:
        """Its extent in voxels."""
        i, j, k = (int(b - a) for a, b in zip(self.start, self.stop, strict=True))
        return i, j, k

    @property
    def voxels(self) -> int:
        """How many voxels it has."""
        i, j, k = self.shape
        return i * j * k

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """To cut it out of an array (i, j, k)."""
        i, j, k = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return i, j, k

    def __str__(self) -> str:
        return ",".join(map(str, (*self.start, *self.stop)))

    def grown(self, by: Sequence[int], shape: Shape) -> "Box":
        """Larger on each side, within the grid."""
        start = [max(0, a - n) for a, n in zip(self.start, by, strict=True)]
        stop = [min(size, b + n) for b, n, size in zip(self.stop, by, shape, strict=True)]
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def around(self, other: "Box") -> "Box":
        """The smallest one that holds both."""
        i, j, k = (min(a, b) for a, b in zip(self.start, other.start, strict=True))
        x, y, z = (max(a, b) for a, b in zip(self.stop, other.stop, strict=True))
        return Box((i, j, k), (x, y, z))

    def shared(self, other: "Box") -> "Box | None":
        """Where both are."""
        start = [max(a, b) for a, b in zip(self.start, other.start, strict=True)]
        stop = [min(a, b) for a, b in zip(self.stop, other.stop, strict=True)]
        if any(a >= b for a, b in zip(start, stop, strict=True)):
            return None
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def within(self, outer: "Box") -> tuple[slice, slice, slice]:
        """To cut it out of an array that covers `outer`."""
        i, j, k = (slice(a - o, b - o) for a, b, o in zip(self.start, self.stop, outer.start, strict=True))
        return i, j, k


def parse_box(text: str | None, shape: Shape) -> Box:
    """'i0,j0,k0,i1,j1,k1' within a grid; None is the whole grid."""
    if text is None:
        return Box(NOWHERE, shape)
    parts = text.split(",")
    if len(parts) == 6 and all(part.isascii() and part.isdecimal() and len(part) < 7 for part in parts):
        a, b, c, d, e, f = map(int, parts)
        if a < d <= shape[0] and b < e <= shape[1] and c < f <= shape[2]:
            return Box((a, b, c), (d, e, f))
    do = f"write i0,j0,k0,i1,j1,k1, half-open, within {shape[0]},{shape[1]},{shape[2]}"
    raise Refused(422, "not a box of this volume", where="box", got=ascii(text[:80]), do=do)


@dataclass(frozen=True)
class Mask:
    """A binary mask on a grid of `shape` (i, j, k), RAS+. inside: uint8 0/1 of the box; outside of it everything is 0.

    box is the smallest one around the mask's voxels, or one voxel where there is none.
    """

    shape: Shape
    box: Box
    inside: NDArray[np.uint8]

    @classmethod
    def of(cls, array: NDArray[np.generic], shape: Shape, start: Shape = NOWHERE) -> "Mask":
        """From an array (i, j, k), anything but 0 counts, whose first voxel lies at `start`."""
        found = array != 0
        spans = []
        for axis in range(3):
            line = np.flatnonzero(found.any(axis=tuple(a for a in range(3) if a != axis)))
            spans.append((int(line[0]), int(line[-1]) + 1) if len(line) else (0, 1))
        inside = np.asfortranarray(found[tuple(slice(a, b) for a, b in spans)]).view(np.uint8)
        low = [a + s for (a, _), s in zip(spans, start, strict=True)]
        high = [b + s for (_, b), s in zip(spans, start, strict=True)]
        return cls(shape, Box((low[0], low[1], low[2]), (high[0], high[1], high[2])), inside)

    @classmethod
    def empty(cls, shape: Shape) -> "Mask":
        """No voxel."""
        return cls(shape, Box(NOWHERE, (1, 1, 1)), np.zeros((1, 1, 1), dtype=np.uint8, order="F"))

    @property
    def voxels(self) -> int:
        """How many voxels it has."""
        return int(np.count_nonzero(self.inside))

    @property
    def digest(self) -> str:
        """The same for equal masks, another for others."""
        return f"{self.box} {hashlib.sha256(self.inside.tobytes(order='F')).hexdigest()}"

    @property
    def array(self) -> NDArray[np.uint8]:
        """The whole grid, (i, j, k) in Fortran order."""
        whole = np.zeros(self.shape, dtype=np.uint8, order="F")
        whole[self.box.slices] = self.inside
        return whole

    def among(self, box: Box) -> NDArray[np.uint8]:
        """The mask within a box, Fortran order."""
        part = np.zeros(box.shape, dtype=np.uint8, order="F")
        shared = self.box.shared(box)
        if shared:
            part[shared.within(box)] = self.inside[shared.within(self.box)]
        return part

    def shared_voxels(self, other: "Mask") -> int:
        """How many voxels both have."""
        shared = self.box.shared(other.box)
        if shared is None:
            return 0
        mine, others = self.inside[shared.within(self.box)], other.inside[shared.within(other.box)]
        return int(np.count_nonzero(mine & others))

    def change_from(self, parent: "Mask") -> Change:
        """What was added to the parent and taken away, and the Dice of the two."""
        mine, was, both = self.voxels, parent.voxels, self.shared_voxels(parent)
        dice = 2 * both / (mine + was) if mine + was else None
        return Change(mine, mine - both, was - both, dice)
