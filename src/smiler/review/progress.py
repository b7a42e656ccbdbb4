"""How far a review is, and how fast it goes: by the reviewers' own active time, not by a clock on the wall."""

from collections import Counter
from typing import Any

from smiler.review.desk import Desk
from smiler.review.order import candidates
from smiler.review.states import OPEN, VERIFIED, State

RECENT, FEWEST = 50, 5
"""So many of the last decisions tell the speed, and no fewer."""


def progress_of(desk: Desk) -> dict[str, Any]:
    """Counts of what is not drawn by experts before, verified per hour, hours left (None while nobody knows)."""
    cohort = desk.cohort
    heads = desk.ledger.heads()
    all_of_them = candidates([case.id for case in cohort], cohort.organs, heads)
    counted = [c for c in all_of_them if c.state in OPEN or (c.head is not None and c.head.source == "review")]
    states = Counter(candidate.state for candidate in counted)
    total, verified = Counter(c.pair.organ for c in counted), Counter[str]()
    verified.update(candidate.pair.organ for candidate in counted if candidate.state in VERIFIED)
    left, speed = sum(states[state] for state in OPEN), _per_hour(desk)
    return {
        "total": len(counted),
        "verified": sum(verified.values()),
        "rejected": states[State.REJECTED],
        "left": left,
        "flagged": states[State.FLAGGED],
        "per_hour": speed,
        "hours_left": round(left / speed, 2) if speed else None,
        "by_organ": {key: {"total": total[key], "verified": verified[key]} for key in cohort.organs.keys},
    }


def _per_hour(desk: Desk) -> float | None:
    timed = desk.ledger.recent_seconds(RECENT)
    return round(3600 * len(timed) / sum(timed), 1) if len(timed) >= FEWEST else None
