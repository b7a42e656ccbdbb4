"""The headline: what a comparison came to, in plain words and four numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smiler.report.inputs import Summary
from smiler.report.names import MEANINGS, arm_style, arm_title, in_order
from smiler.report.scorebook import Difference

_SUBJECTS: dict[str, str] = {
    "baseline": "the usual baseline, which reads a missing organ as background,",
    "smile": "SMILE, which leaves out what nobody knows,",
    "smiler": "SMILEr, which counts it with the background in one softmax and fills it in round by round,",
    "full": "the same network, trained on every annotation,",
}


_NAMES_IN_TEXT = {"baseline": "the baseline"}


@dataclass(frozen=True)
class Bar:
    """A bar of the headline figure, in Dice points."""

    title: str
    style: str
    points: float
    meaning: str


@dataclass(frozen=True)
class Headline:
    """The paragraph, what the paired differences add to it, the bars, and how it was made."""

    paragraph: str
    differences: Sequence[str]
    bars: Sequence[Bar]
    made: str


def make_headline(summary: Summary, differences: Sequence[Difference]) -> Headline | None:
    """The headline of a comparison; None where no arm was scored."""
    arms = in_order(summary.dice)
    if not arms:
        return None
    bars = [Bar(arm_title(arm), arm_style(arm), summary.dice[arm], MEANINGS.get(arm, "")) for arm in arms]
    overall = _overall(differences)
    return Headline(_paragraph(summary, arms), [_sentence(row) for row in overall], bars, _made(summary))


def _paragraph(summary: Summary, arms: Sequence[str]) -> str:
    dice = [f"{summary.dice[arm]:.1f}" for arm in arms]
    share = summary.alpha
    missing = f"with {100 * share:.0f} % of the organ annotations missing, " if share is not None else ""
    patients = f" on {_count(summary.n_test, 'held-out patient')}" if summary.n_test else ""
    subjects = [_SUBJECTS.get(arm, arm_title(arm)) for arm in arms]
    first = f"{missing}{subjects[0]} reaches a mean Dice of {dice[0]} points{patients}"
    rest = [f"{subject} reaches {points}" for subject, points in zip(subjects[1:], dice[1:], strict=True)]
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in (first, *rest))


def _overall(differences: Sequence[Difference]) -> list[Difference]:
    """The differences over all organs together, or over the one organ there is."""
    together = [row for row in differences if not row.organ]
    return together or list(differences)


def _sentence(row: Difference) -> str:
    """A difference in words; an interval that holds 0 is called what it is."""
    mean, low, high = row.interval.mean, row.interval.low, row.interval.high
    left, right = arm_title(row.left), _NAMES_IN_TEXT.get(row.right, arm_title(row.right))
    sure = "; the interval includes 0, so this cohort can't tell them apart" if low <= 0 <= high else ""
    way = "above" if mean >= 0 else "below"
    interval = f"95 % interval {low:+.1f} to {high:+.1f}".replace("-", "−")
    return f"{left} is {abs(mean):.1f} points {way} {right} ({interval}, n = {row.interval.n} patients{sure})."


def _made(summary: Summary) -> str:
    facts = [
        f"trained on {_count(summary.n_train, 'volume')}" if summary.n_train else "",
        f"{_count(summary.steps, 'step')} an arm" if summary.steps else "",
        duration(summary.seconds) if summary.seconds is not None else "",
        summary.machine or "",
        _versions(summary.versions),
    ]
    return " · ".join(fact for fact in facts if fact)


def duration(seconds: float) -> str:
    """A time span as a person says it."""
    if seconds < 100:
        return _count(round(seconds), "second")
    if seconds < 5400:
        return _count(round(seconds / 60), "minute")
    return f"{seconds / 3600:.1f} hours"


def _count(number: int | None, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
