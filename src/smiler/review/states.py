"""The states of one organ in one volume under review, and which decision may follow which state.

    missing -> proposed -> accepted | corrected | rejected | absent | flagged        expert: drawn before the review

A mask drawn by the reviewer makes `corrected` of any state. Reopening goes back to what the cohort said before.
"""

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """What is known of one organ in one volume, and by whom."""

    MISSING = "missing"
    PROPOSED = "proposed"
    EXPERT = "expert"
    ACCEPTED = "accepted"
    CORRECTED = "corrected"
    REJECTED = "rejected"
    ABSENT = "absent"
    FLAGGED = "flagged"


class Decision(StrEnum):
    """What a reviewer can say without drawing."""

    ACCEPT = "accept"
    REJECT = "reject"
    ABSENT = "absent"
    FLAG = "flag"
    REOPEN = "reopen"


VERIFIED = frozenset({State.ACCEPTED, State.CORRECTED, State.ABSENT})
"""A reviewer's knowledge."""
TRUSTED = VERIFIED | {State.EXPERT}
"""What a training may learn from."""
OPEN = frozenset({State.MISSING, State.PROPOSED})
"""Nobody has decided yet."""

OUTCOME: Mapping[Decision, State] = {
    Decision.ACCEPT: State.ACCEPTED,
    Decision.REJECT: State.REJECTED,
    Decision.ABSENT: State.ABSENT,
    Decision.FLAG: State.FLAGGED,
}
_DECIDED = VERIFIED | {State.REJECTED, State.FLAGGED}
ALLOWED: Mapping[Decision, frozenset[State]] = {
    Decision.ACCEPT: frozenset({State.PROPOSED, State.REJECTED, State.FLAGGED}),
    Decision.REJECT: frozenset({State.PROPOSED, State.ACCEPTED, State.CORRECTED, State.FLAGGED}),
    Decision.ABSENT: frozenset({*OPEN, *_DECIDED} - {State.ABSENT}),
    Decision.FLAG: frozenset(State) - {State.FLAGGED},
    Decision.REOPEN: _DECIDED,
}
