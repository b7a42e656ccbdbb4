"""The headline: what a comparison came to, in plain words and four numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smiler.report.inputs import Summary
from smiler.report.names import MEANINGS, arm_style, arm_title, in_order
from smiler.report.scorebook import Difference, Scorebook

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


def make_headline(summary: Summary, scores: Scorebook | None = None) -> Headline | None:
    """The headline of a comparison; None where no arm was scored.

    An arm that the page has scores of is told by them, so that headline and table round the same number.
    """
    scored = {arm: value for arm, value in scores.overall.items() if arm} if scores else {}
    dice = {arm: scored.get(arm, points) for arm, points in summary.dice.items()} or scored
    arms = in_order(dice)
    if not arms:
        return None
    bars = [Bar(arm_title(arm), arm_style(arm), dice[arm], MEANINGS.get(arm, "")) for arm in arms]
    overall = _overall(scores.differences if scores else ())
    paragraph = _paragraph(summary, {arm: dice[arm] for arm in arms}, bool(scores and scores.trained_on))
    return Headline(paragraph, [_sentence(row) for row in overall], bars, _made(summary))


def _paragraph(summary: Summary, dice: Mapping[str, float], trained_on: bool) -> str:
    points = [f"{value:.1f}" for value in dice.values()]
    share = summary.alpha
    missing = f"with {100 * share:.0f} % of the organ annotations missing, " if share is not None else ""
    subjects = [_SUBJECTS.get(arm, arm_title(arm)) for arm in dice]
    first = f"{missing}{subjects[0]} reaches a mean Dice of {points[0]} points{_on_whom(summary, trained_on)}"
    rest = [f"{subject} reaches {value}" for subject, value in zip(subjects[1:], points[1:], strict=True)]
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in (first, *rest))


def _on_whom(summary: Summary, trained_on: bool) -> str:
    if trained_on:
        return " on annotations that it was trained on"
    return f" on {_count(summary.n_test, 'held-out patient')}" if summary.n_test else ""


def _overall(differences: Sequence[Difference]) -> list[Difference]:
    """The differences over all organs together, or over the one organ there is."""
    together = [row for row in differences if not row.organ]
    return together or list(differences)


def _sentence(row: Difference) -> str:
    """A difference in words; an interval that holds 0 is called what it is."""
    mean, n = row.interval.mean, row.interval.n
    left, right = arm_title(row.left), _NAMES_IN_TEXT.get(row.right, arm_title(row.right))
    way = "above" if mean >= 0 else "below"
    return f"{left} is {abs(mean):.1f} points {way} {right} ({_sure(row.interval.bounds, _count(n, 'patient'))})."


def _sure(bounds: tuple[float, float] | None, patients: str) -> str:
    if bounds is None:
        return f"n = {patients}, so there is no interval"
    low, high = bounds
    interval = f"95 % interval {low:+.1f} to {high:+.1f}".replace("-", "−")
    unsure = "; the interval includes 0, so this cohort can't tell them apart" if low <= 0 <= high else ""
    return f"{interval}, n = {patients}{unsure}"


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
