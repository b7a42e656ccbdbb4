"""Evidence: one small code per organ and voxel that says what is known, and how.

The rule (docs/science.md; Petit et al. 2018, section 2, with part_of added) works on bit fields, so that 31 organs
cost one integer a voxel: bit k of `drawn` is set where an expert drew organ k, bit k of `known` where an expert's word
about organ k counts (annotated or absent), bit k of `pseudo` where a curriculum round proposed it, bit k of `cleared`
where a round ruled it out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smiler.domain.cells import Status
from smiler.domain.errors import BadInput
from smiler.domain.organs import OrganSet

UNSEEN = 31
"""Bit of `drawn`: nobody looked here (the ignore label of nnU-Net). Organs have the bits below."""


class Code(IntEnum):
    """What is known of an organ at a voxel."""

    UNKNOWN = 0
    NEGATIVE = 1
    EXCLUDED = 2
    POSITIVE = 3
    IMPLIED = 4
    PSEUDO = 5
    CLEARED = 6


@dataclass(frozen=True)
class Relations:
    """An organ set as bit fields, one entry per organ: who excludes it, what is part of it, what it is part of."""

    excluders: tuple[int, ...]
    parts: tuple[int, ...]
    wholes: tuple[int, ...]

    @classmethod
    def of(cls, organs: OrganSet) -> "Relations":
        """Bit fields of every organ's relations."""
        return cls(
            tuple(organs.bits(organs.excluders(key)) for key in organs.keys),
            tuple(organs.bits(organs.parts(key)) for key in organs.keys),
            tuple(organs.bits(organs.wholes(key)) for key in organs.keys),
        )


@dataclass(frozen=True)
class Fields:
    """Bit fields of one shape (*space), integer arrays or tensors of one library; `cleared` may be left out.

    A set bit of `drawn` counts only where the same bit of `known` is set. Its bit 31 (the sign) marks voxels where
    nobody looked for any organ, whatever `known` says. Padding has known = pseudo = 0, so that it is
    UNKNOWN for every organ.
    """

    drawn: Any
    known: Any
    pseudo: Any
    cleared: Any = None


@dataclass(frozen=True)
class Planes:
    """Evidence as bit fields of one shape (*space): bit k of the field of a code is set where organ k has that code.

    Every organ has one code at a voxel, UNKNOWN where it has none of the fields.
    """

    fields: Mapping[Code, Any]
    organs: int

    def among(self, codes: Iterable[Code]) -> Any:
        """Bit field (*space): bit k is set where organ k has one of the codes."""
        wanted = set(codes)
        field = next(iter(self.fields.values()))
        bits = field & 0
        for code in Code:
            if code in wanted:
                bits = bits | (self.fields[code] if code is not Code.UNKNOWN else self._unknown())
        return bits

    def _unknown(self) -> Any:
        first, *others = self.fields.values()
        for field in others:
            first = first | field
        return ~first & ((1 << self.organs) - 1)


def planes(fields: Fields, relations: Relations, *, pseudo_excludes: bool = False) -> Planes:
    """Evidence from bit fields of integer arrays or tensors: one integer a voxel, whatever the number of organs.

    PSEUDO and CLEARED never overwrite knowledge, nor CLEARED a PSEUDO. With `pseudo_excludes` a proposal also excludes
    its rivals.
    """
    organs = len(relations.excluders)
    everything = (1 << organs) - 1
    known = fields.known & (((fields.drawn >> UNSEEN) & 1) - 1) & everything
    drawn = fields.drawn & known
    negative = known & ~drawn
    implied = _where_any(drawn, relations.parts) & ~known
    excluded = _where_any(drawn, relations.excluders) | _where_any(negative, relations.wholes)
    if pseudo_excludes:
        excluded = excluded | (_where_any(fields.pseudo & everything, relations.excluders) & ~fields.pseudo)
    excluded = excluded & ~(known | implied)
    open_still = ~(known | implied | excluded) & everything
    pseudo = fields.pseudo & open_still
    found = {
        Code.NEGATIVE: negative,
        Code.EXCLUDED: excluded,
        Code.POSITIVE: drawn,
        Code.IMPLIED: implied,
        Code.PSEUDO: pseudo,
    }
    cleared = pseudo & 0 if fields.cleared is None else fields.cleared & open_still & ~pseudo
    return Planes(found | {Code.CLEARED: cleared}, organs)


def _where_any(bits: Any, masks: tuple[int, ...]) -> Any:
    """Bit k is set where `bits` has one of the bits of masks[k]; where it has bit k itself, either way.

    Organs that differ in nothing but their own bit are found together. -x is negative unless x, of 31 bits, is 0.
    """
    groups: dict[int, int] = {}
    for k, mask in enumerate(masks):
        if mask:
            groups[mask | 1 << k] = groups.get(mask | 1 << k, 0) | 1 << k
    found = bits & 0
    for mask, organs in groups.items():
        found = found | ((-(bits & mask) >> UNSEEN) & organs)
    return found


def derive(fields: Fields, relations: Relations, xp: ModuleType, *, pseudo_excludes: bool = False) -> Any:
    """Codes u8 (K, *space) from bit fields; `xp` is the library of the arrays (numpy or torch)."""
    found = planes(fields, relations, pseudo_excludes=pseudo_excludes)
    codes = [sum(((field >> k) & 1) * int(code) for code, field in found.fields.items()) for k in range(found.organs)]
    return xp.stack([code.astype(np.uint8) if xp is np else code.to(xp.uint8) for code in codes])


def from_masks(
    masks: Mapping[str, NDArray[np.bool_]], statuses: Mapping[str, Status], organs: OrganSet
) -> NDArray[np.uint8]:
    """The SMILE rule on one volume: codes (K, *space) from boolean masks (*space) of the annotated organs."""
    for key, mask in masks.items():
        if statuses.get(key, Status.UNANNOTATED) is not Status.ANNOTATED and mask.any():
            raise BadInput("the mask has voxels of an organ that isn't annotated", where=f"organ {key}")
    space = next(iter(masks.values())).shape if masks else ()
    drawn = pack(masks, organs, space)
    known = organs.bits(key for key, status in statuses.items() if status is not Status.UNANNOTATED)
    fields = Fields(drawn, np.full(space, known, dtype=np.int64), np.zeros(space, dtype=np.int64))
    codes: NDArray[np.uint8] = derive(fields, Relations.of(organs), np)
    return codes


def pack(masks: Mapping[str, NDArray[np.bool_]], organs: OrganSet, space: tuple[int, ...]) -> NDArray[np.int64]:
    """Boolean masks (*space) of some organs as one bit field (*space)."""
    bits = np.zeros(space, dtype=np.int64)
    for key, mask in masks.items():
        bits |= mask.astype(np.int64) << organs.index(key)
    return bits
