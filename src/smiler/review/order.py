"""Which organ of which volume comes next, and why, in words: the one with the most to gain for a reviewer's minute.

    (1 - expected Dice) x organ weight / expected minutes        organ weight = 1 / trusted volumes of the organ

Every eighth place goes to a seeded random pick, so that the order can be checked against chance and the calibration
does not feed on itself alone. Where agreement is seen to tell nothing of Dice, an organ's usual Dice stands for it,
and places say so.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from smiler.domain.organs import OrganSet
from smiler.review.errors import Pair
from smiler.review.gain import Gain
from smiler.review.revisions import Revision
from smiler.review.states import OPEN, TRUSTED, State

RANDOM_SHARE = 0.125
SURE, UNSURE = 0.9, 0.5
"""Expected Dice from which a proposal is likely to be accepted as it is, and below which it is to be drawn anew."""
UNTOLD = 0.7
"""Expected Dice of a proposal that does not tell how far the model agrees with itself."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One organ in one volume with its head, None where nothing is there.

    asked: whether the review is about the organ; see `candidates`.
    """

    pair: Pair
    head: Revision | None
    asked: bool = True

    @property
    def state(self) -> State:
        """Its state."""
        return self.head.state if self.head else State.MISSING


@dataclass(frozen=True, slots=True)
class Place:
    """A candidate's place in the queue: lane (fast, correct, redo, other); trusted volumes of its organ.

    why: in place of the usual reason.
    """

    candidate: Candidate
    lane: str
    gain: Gain
    trusted: int
    expected_dice: float | None = None
    minutes: float | None = None
    why: str = ""

    @property
    def reason(self) -> str:
        """Why it stands where it stands, in words; of a long queue few are asked for it."""
        return self.why or _reason(self)


COMING = 2
"""So many CTs are read ahead."""
Order = Callable[[Sequence[Candidate], Mapping[str, int], int], list[Place]]
"""Candidates, trusted volumes of each organ, seed -> the queue."""


def candidates(cases: Iterable[str], organs: OrganSet, heads: Mapping[Pair, Revision]) -> list[Candidate]:
    """Every organ of every volume. The review is about those that were proposed or decided anywhere; else about all."""
    about = {pair.organ for pair, head in heads.items() if head.state not in (State.MISSING, State.EXPERT)}
    asked = about or set(organs.keys)
    pairs = [Pair(case, organ) for case in cases for organ in organs.keys]
    return [Candidate(pair, heads.get(pair), pair.organ in asked) for pair in pairs]


def trusted_volumes(found: Iterable[Candidate]) -> Mapping[str, int]:
    """How many volumes know each organ."""
    return Counter(candidate.pair.organ for candidate in found if candidate.state in TRUSTED)


def by_gain(gain: Gain) -> Order:
    """The order described above. Decided candidates come last, if they are among those that are asked for."""

    def order(found: Sequence[Candidate], trusted: Mapping[str, int], seed: int = 0) -> list[Place]:
        draws = {candidate.pair: _draw(seed, candidate.pair) for candidate in found}
        free = [candidate for candidate in found if candidate.state in OPEN]
        picks = sorted((c for c in free if c.asked and draws[c.pair] < RANDOM_SHARE), key=lambda c: draws[c.pair])
        chosen = {candidate.pair for candidate in picks}
        weighed = [_place(c, gain, trusted) for c in found if c.pair not in chosen]
        rest = [place for _, place in sorted(weighed, key=lambda row: (row[0], draws[row[1].candidate.pair]))]
        why = "random pick, to check the order against chance"
        random = [replace(_place(c, gain, trusted)[1], why=why) for c in picks]
        return _mixed(rest, random, sum(trusted.values()))

    return order


def coming(places: Sequence[Place]) -> list[str]:
    """The first cases of a queue: their CTs are worth reading before anybody asks for them."""
    return list(dict.fromkeys(place.candidate.pair.case for place in places))[:COMING]


def _place(candidate: Candidate, gain: Gain, trusted: Mapping[str, int]) -> tuple[tuple[int, float], Place]:
    """What it is sorted by, and its place."""
    head, state, organ = candidate.head, candidate.state, candidate.pair.organ
    count = trusted.get(organ, 0)
    if state not in OPEN:
        return (2, float(state is not State.FLAGGED)), Place(candidate, "other", gain, count)
    if head is None or state is State.MISSING:
        dice, minutes = gain.dice(organ, None), gain.redraw_minutes(organ)
        value = (1 - dice) / max(1, count) / minutes
        return (int(not candidate.asked), -value), Place(candidate, "redo", gain, count, dice, round(minutes, 2))
    if head.agreement is None:
        value = (1 - UNTOLD) / max(1, count) / gain.minutes(0, organ)
        return (0, -value), Place(candidate, "correct", gain, count)
    dice, minutes = gain.dice(organ, head.agreement), gain.minutes(head.unsure_cm2 or 0.0, organ)
    value = (1 - dice) / max(1, count) / minutes
    lane = "fast" if dice >= SURE else "correct" if dice >= UNSURE else "redo"
    return (0, -value), Place(candidate, lane, gain, count, dice if gain.curve else None, round(minutes, 2))


def _reason(place: Place) -> str:
    """A place in words."""
    candidate, head = place.candidate, place.candidate.head
    if head is not None and candidate.state is State.FLAGGED:
        by = f" by {head.reviewer}" if head.reviewer else ""
        return f"flagged{by}{f': {head.note}' if head.note else ''}"
    if candidate.state not in OPEN:
        return f"{candidate.state} already"
    known = f"{place.trusted or 'no'} trusted volume{'s' * (place.trusted != 1)} of this organ"
    if place.minutes is None:
        return f"{known}; the proposal does not tell how sure it is"
    return f"{_expected(place)}, about {place.minutes:.1f} min; {known}"


def _expected(place: Place) -> str:
    candidate, head, gain = place.candidate, place.candidate.head, place.gain
    if head is None or head.agreement is None:
        return "nothing is proposed here" if candidate.asked else "this organ is not proposed anywhere"
    if not gain.curve:
        return f"the model agrees with itself to {head.agreement:.2f}"
    expected = f"expected Dice {place.expected_dice:.2f}"
    if not gain.doubted:
        return expected
    told = "none" if gain.correlation is None else f"{gain.correlation:.2f}"
    return f"{expected}, the organ's usual one: agreement tells nothing here (rank correlation {told})"


def _mixed(places: list[Place], random: list[Place], before: int) -> list[Place]:
    """Every eighth place to a random pick, as long as there are any, counted on from those that were decided `before`.

    So a reviewer who always takes the first one, from a queue that is made anew, comes by them, too.
    """
    every, mixed = round(1 / RANDOM_SHARE), list[Place]()
    waiting = iter(random)
    for place in places:
        if (before + len(mixed)) % every == every - 1:
            mixed += [pick for pick in [next(waiting, None)] if pick]
        mixed.append(place)
    open_ones = [place for place in mixed if place.candidate.state in OPEN]
    return [*open_ones, *waiting, *(place for place in mixed if place.candidate.state not in OPEN)]


def _draw(seed: int, pair: Pair) -> float:
    """In [0, 1): the same for a pair whatever else is in the queue."""
    return zlib.crc32(f"{seed}\0{pair.case}\0{pair.organ}".encode()) / 2**32
