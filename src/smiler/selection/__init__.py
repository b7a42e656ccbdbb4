"""Which predictions are safe enough to be learned from."""

from collections.abc import Callable
from typing import Literal

from smiler.selection.rules import Ranks, Said, confidence, entropy, least_spread, score

Rule = Callable[[Said], Ranks]
Need = Literal["dropout", "members", "confidence"]

RULES: dict[str, Rule] = {
    "score": score,
    "mc_dropout": least_spread,
    "entropy": entropy,
    "ensemble": least_spread,
    "confidence": confidence,
}
NEEDS: dict[str, Need] = {
    "mc_dropout": "dropout",
    "entropy": "dropout",
    "ensemble": "members",
    "confidence": "confidence",
}
"""What a rule looks at besides the score: opinions of dropout, of an ensemble's members, or a learned confidence."""
