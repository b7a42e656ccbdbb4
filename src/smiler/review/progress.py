"""How far a review is, and how fast it goes: by the reviewers' own active time, not by a clock on the wall."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from smiler.review.ledger import MADE_HERE
from smiler.review.order import Candidate
from smiler.review.states import OPEN, VERIFIED, State

RECENT, FEWEST = 50, 5
"""So many of the last decisions tell the speed, and no fewer."""


def progress_of(found: Iterable[Candidate], organs: Iterable[str], timed: Sequence[float]) -> dict[str, Any]:
    """Counts of what experts had not drawn before, verified per hour, hours left (None while nobody knows).

    timed: active seconds of the last decisions.
    """
    counted = [c for c in found if c.state in OPEN or (c.head is not None and c.head.source in MADE_HERE)]
    states = Counter(candidate.state for candidate in counted)
    total = Counter(candidate.pair.organ for candidate in counted)
    verified = Counter(candidate.pair.organ for candidate in counted if candidate.state in VERIFIED)
    left = sum(states[state] for state in OPEN)
    speed = 3600 * len(timed) / sum(timed) if len(timed) >= FEWEST else None
    return {
        "total": len(counted),
        "verified": sum(verified.values()),
        "rejected": states[State.REJECTED],
        "left": left,
        "flagged": states[State.FLAGGED],
        "per_hour": speed,
        "hours_left": left / speed if speed else None,
        "by_organ": {key: {"total": total[key], "verified": verified[key]} for key in organs},
    }
