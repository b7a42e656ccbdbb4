"""Which predictions are safe enough to be learned from."""

from smiler.selection.rules import Need, Needing, Rule, confidence, entropy, least_spread, score

__all__ = ["RULES", "Need", "Rule", "need_of"]

RULES: dict[str, Rule] = {
    "score": score,
    "mc_dropout": Needing("dropout", least_spread),
    "entropy": Needing("dropout", entropy),
    "ensemble": Needing("members", least_spread),
    "confidence": Needing("confidence", confidence),
}


def need_of(rule: str) -> Need | None:
    """What a rule looks at besides the score."""
    need: Need | None = getattr(RULES[rule], "need", None)
    return need
