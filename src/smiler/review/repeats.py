"""Proposals that a reviewer is shown a second time without being told: how far does he agree with himself?

About one in twenty of the proposals that he decided, with at least twenty decisions between the two. What he says the
second time is kept beside the first and changes nothing: neither the organ's state nor the cohort nor the calibration.
"""

import zlib
from collections.abc import Sequence

from smiler.review.revisions import REPEAT, Revision
from smiler.review.states import VERIFIED, State

SHARE, APART = 0.05, 20
"""Share of the decided proposals that come again, and decisions that lie between at least."""


def due(made: Sequence[Revision], share: float, seed: int) -> list[Revision]:
    """Decisions whose proposal may come again, oldest first. made: all that the reviewer decided, oldest first."""
    again = {one.pair for one in made if one.source == REPEAT}
    decided = [one for one in made if one.source != REPEAT]
    return [
        one for one in decided[: max(0, len(decided) - APART)] if one.pair not in again and _drawn(one, share, seed)
    ]


def _drawn(one: Revision, share: float, seed: int) -> bool:
    told = one.state in VERIFIED | {State.REJECTED} and one.parent is not None
    return told and zlib.crc32(f"again\0{seed}\0{one.reviewer}\0{one.pair}".encode()) < share * 2**32
