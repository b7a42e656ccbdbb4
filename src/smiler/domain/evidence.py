"""Evidence: one small code per organ and voxel that says what is known, and how.

The rule (docs/science.md; Petit et al. 2018, section 2, with part_of added) works on bit fields, so that 31 organs
cost one integer a voxel: bit k of `drawn` is set where an expert drew organ k, bit k of `known` where an expert's word
about organ k counts (annotated or absent), bit k of `pseudo` where a curriculum round proposed it, bit k of `cleared`
where a round ruled it out.
"""

from collections.abc import Mapping
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


def derive(fields: Fields, relations: Relations, xp: ModuleType, *, pseudo_excludes: bool = False) -> Any:
    """Codes u8 (K, *space) from bit fields; `xp` is the library of the arrays (numpy or torch).

    PSEUDO and CLEARED never overwrite knowledge, nor CLEARED a PSEUDO. With `pseudo_excludes` a proposal also excludes
    its rivals.
    """
    known = fields.known & (((fields.drawn >> UNSEEN) & 1) - 1)
    drawn = fields.drawn & known
    negative = known & ~drawn
    rivals = drawn | fields.pseudo if pseudo_excludes else drawn
    return xp.stack(
        [
            _codes_of(k, Fields(drawn, negative, fields.pseudo, fields.cleared), rivals, relations, xp)
            for k in _all(relations)
        ]
    )


def _all(relations: Relations) -> range:
    return range(len(relations.excluders))


def _codes_of(k: int, fields: Fields, rivals: Any, relations: Relations, xp: ModuleType) -> Any:
    drawn, negative = fields.drawn, fields.known
    proposed = (fields.pseudo >> k) & 1
    code = proposed * int(Code.PSEUDO)
    if fields.cleared is not None:
        code = code + ((fields.cleared >> k) & 1 & (1 - proposed)) * int(Code.CLEARED)
    excluded = ((rivals & relations.excluders[k]) != 0) & (proposed == 0)
    excluded = excluded | ((drawn & relations.excluders[k]) != 0) | ((negative & relations.wholes[k]) != 0)
    code = xp.where(excluded, int(Code.EXCLUDED), code)
    code = xp.where((drawn & relations.parts[k]) != 0, int(Code.IMPLIED), code)
    code = xp.where(((negative >> k) & 1) == 1, int(Code.NEGATIVE), code)
    code = xp.where(((drawn >> k) & 1) == 1, int(Code.POSITIVE), code)
    return code.astype(np.uint8) if xp is np else code.to(xp.uint8)


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
