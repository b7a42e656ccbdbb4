"""What a person reads and sees for an organ or an arm: titles, colours, order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from smiler.formats.anatomy import ANATOMY, SPARE_COLOURS

ARMS: dict[str, str] = {
    "baseline": "Baseline",
    "smile": "SMILE",
    "smiler": "SMILEr",
    "full": "Full annotation",
    "baseline-rethreshold": "Baseline, low threshold",
    "naive": "Naive reading",
    "per-organ": "A network an organ",
    "ignore-volume": "Ignore volume",
    "marginal": "Marginal softmax",
    "marginal-dice": "Marginal softmax + Dice",
    "smiler-faithful": "SMILEr, faithful",
    "smiler-guarded": "SMILEr, guarded",
    "smiler-mc": "SMILEr, MC dropout",
    "smiler-entropy": "SMILEr, entropy",
    "smiler-ensemble": "SMILEr, ensemble",
    "smiler-confidence": "SMILEr, confidence",
}
"""The usual arms in the order of the story, then their rivals. Other arms follow, under their own names."""

_OWN_COLOURS = ("baseline", "smile", "smiler", "full")

MEANINGS: dict[str, str] = {
    "baseline": "the usual way: an organ that nobody annotated counts as background",
    "smile": "what nobody knows is left out of the loss",
    "smiler": "what nobody knows counts with the background in one softmax; rounds of safe predictions fill it in",
    "full": "the same network trained with nothing missing: the level to reach",
}


def arm_title(arm: str) -> str:
    """What a person reads for an arm."""
    return ARMS.get(arm, arm)


def arm_style(arm: str) -> str:
    """The name of the arm's colour in report.css."""
    return arm if arm in _OWN_COLOURS else "other"


def in_order(arms: Iterable[str]) -> list[str]:
    """Known arms in the order of the story, then the others by name."""
    given = set(arms)
    return [arm for arm in ARMS if arm in given] + sorted(given - set(ARMS))


@dataclass(frozen=True)
class Organs:
    """Organ keys in channel order with the titles that the cohort gives them; another key is its own title."""

    keys: Sequence[str] = ()
    titles: Mapping[str, str] = field(default_factory=dict)

    def title(self, key: str) -> str:
        """What a person reads."""
        known = ANATOMY.get(key)
        return self.titles.get(key) or (known.title if known else key)

    def colour(self, key: str) -> str:
        """The organ's colour as #rrggbb, the same in every figure."""
        known = ANATOMY.get(key)
        place = self.keys.index(key) if key in self.keys else sum(key.encode())
        return known.colour if known else SPARE_COLOURS[place % len(SPARE_COLOURS)]

    def in_order(self, keys: Iterable[str]) -> list[str]:
        """Keys in channel order, then unknown ones as they come, each once."""
        given = list(dict.fromkeys(keys))
        return [key for key in self.keys if key in given] + [key for key in given if key not in self.keys]
