"""Which organ of which volume comes next, and why, in words.

A first, honest order: the organs with the fewest trusted volumes, within one organ the proposals on which the model
agrees least with itself, and every tenth place goes to a seeded random pick. Nothing here is calibrated: what a
calibrated order knows besides (expected Dice, minutes) is None. Another order is another function of the type `Order`.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from smiler.domain.organs import OrganSet
from smiler.review.errors import Pair
from smiler.review.revisions import Revision
from smiler.review.states import OPEN, TRUSTED, State

RANDOM_SHARE = 0.1
SURE, UNSURE = 0.9, 0.5
"""Agreement from which a proposal is likely to be accepted as it is, and below which it is likely to be drawn anew."""


@dataclass(frozen=True)
class Candidate:
    """One organ in one volume with its head, None where nothing is there."""

    pair: Pair
    head: Revision | None

    @property
    def state(self) -> State:
        """Its state."""
        return self.head.state if self.head else State.MISSING


@dataclass(frozen=True)
class Place:
    """A candidate's place in the queue: lane (fast, correct, redo, other) and reason in words."""

    candidate: Candidate
    lane: str
    reason: str
    expected_dice: float | None = None
    minutes: float | None = None


Order = Callable[[Sequence[Candidate], Mapping[str, int], int], list[Place]]
"""Candidates, trusted volumes of each organ, seed -> the queue."""


def candidates(cases: Iterable[str], organs: OrganSet, heads: Mapping[Pair, Revision]) -> list[Candidate]:
    """Every organ of every volume."""
    return [Candidate(Pair(case, organ), heads.get(Pair(case, organ))) for case in cases for organ in organs.keys]


def trusted_volumes(found: Iterable[Candidate]) -> Mapping[str, int]:
    """How many volumes know each organ."""
    return Counter(candidate.pair.organ for candidate in found if candidate.state in TRUSTED)


def fewest_trusted_first(found: Sequence[Candidate], trusted: Mapping[str, int], seed: int = 0) -> list[Place]:
    """The order described above. Decided candidates come last, if they are among those that are asked for."""
    draws = {candidate.pair: _draw(seed, candidate.pair) for candidate in found}
    free = [candidate for candidate in found if candidate.state in OPEN]
    picks = sorted((c for c in free if draws[c.pair] < RANDOM_SHARE), key=lambda c: draws[c.pair])
    chosen = {candidate.pair for candidate in picks}
    rest = sorted((c for c in found if c.pair not in chosen), key=lambda c: (_key(c, trusted), draws[c.pair]))
    random = [Place(c, lane(c), "random pick, to check the order against chance") for c in picks]
    return _mixed([Place(c, lane(c), _reason(c, trusted)) for c in rest], random)


def lane(candidate: Candidate) -> str:
    """Fast accept, correct, redo; other is for what is decided."""
    if candidate.state is State.MISSING:
        return "redo"
    if candidate.head is None or candidate.state is not State.PROPOSED:
        return "other"
    agreement = candidate.head.agreement
    if agreement is None:
        return "correct"
    return "fast" if agreement >= SURE else "correct" if agreement >= UNSURE else "redo"


def _key(candidate: Candidate, trusted: Mapping[str, int]) -> tuple[int, int, int, float]:
    decided = [State.PROPOSED, State.MISSING, State.FLAGGED].index(candidate.state) if candidate.state in _EARLY else 3
    agreement = candidate.head.agreement if candidate.head else None
    return int(decided >= 2), trusted.get(candidate.pair.organ, 0), decided, 2.0 if agreement is None else agreement


_EARLY = OPEN | {State.FLAGGED}


def _reason(candidate: Candidate, trusted: Mapping[str, int]) -> str:
    head, count = candidate.head, trusted.get(candidate.pair.organ, 0)
    if head is not None and candidate.state is State.FLAGGED:
        return f"flagged{f' by {head.reviewer}' if head.reviewer else ''}{f': {head.note}' if head.note else ''}"
    if candidate.state not in OPEN:
        return f"{candidate.state} already"
    known = f"{count or 'no'} trusted volume{'s' * (count != 1)} of this organ"
    if candidate.state is State.MISSING:
        return f"{known}; nothing is proposed here"
    agreement = head.agreement if head else None
    return known if agreement is None else f"{known}; the model agrees with itself to {agreement:.2f}"


def _mixed(places: list[Place], random: list[Place]) -> list[Place]:
    """Every tenth place to a random pick, as long as there are any."""
    every, mixed = round(1 / RANDOM_SHARE), list[Place]()
    waiting = iter(random)
    for place in places:
        if len(mixed) % every == every - 1:
            mixed += [pick for pick in [next(waiting, None)] if pick]
        mixed.append(place)
    open_ones = [place for place in mixed if place.candidate.state in OPEN]
    return [*open_ones, *waiting, *(place for place in mixed if place.candidate.state not in OPEN)]


def _draw(seed: int, pair: Pair) -> float:
    """In [0, 1): the same for a pair whatever else is in the queue."""
    return zlib.crc32(f"{seed}\0{pair.case}\0{pair.organ}".encode()) / 2**32
