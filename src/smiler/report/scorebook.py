"""`scores.csv` as tables and panels: means with intervals over patients, and differences on the same patients.

Scores of annotations that a network was trained on never share a table or a mean with others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from smiler.evaluation.metrics import SCALES, Scale, columns
from smiler.evaluation.score_table import read_scores as read_rows
from smiler.evaluation.scores import (
    HEADINGS,
    Absence,
    Learned,
    Score,
    absence,
    by_learned,
    columns_of,
    difference_of,
    mean_of,
)
from smiler.evaluation.scores import per_patient as values_by_patient
from smiler.evaluation.statistics import FEW, Interval, holm_of
from smiler.report.figures import Dot, DotPanel, draw_dots
from smiler.report.names import Organs, arm_style, arm_title, in_order

CONTRASTS = (("smile", "baseline"), ("smiler", "smile"), ("full", "smiler"))
POINTS = SCALES["dice"].factor

Arms = Mapping[str, Sequence[Score]]


@dataclass(frozen=True)
class Mean:
    """A row of the table of means, in the units that people read: over patients in whom the organ is present.

    `dice` and the numbers of `metrics` (by column) are None where the organ is present in nobody, or the table lacks
    the metric.
    """

    organ: str
    arm: str
    style: str
    dice: Interval | None
    metrics: Mapping[str, float | None]
    absence: Absence

    @property
    def n(self) -> int:
        """Patients in whom the organ is present."""
        return self.dice.n if self.dice else 0


@dataclass(frozen=True)
class Difference:
    """A row of the table of differences: left - right in Dice points on the same patients."""

    left: str
    right: str
    organ: str
    interval: Interval
    p: float | None
    adjusted: float | None


@dataclass(frozen=True)
class Scorebook:
    """What the page shows of the scores of one kind. The row of all organs together has the organ ''.

    `metrics`: the columns beside Dice, and how they are written; `overall`: mean Dice in points by arm.
    """

    learned: Learned
    panels: Sequence[Markup]
    metrics: Mapping[str, Scale]
    means: Sequence[Mean]
    difference_panels: Sequence[Markup]
    differences: Sequence[Difference]
    overall: Mapping[str, float]
    named: bool
    few: bool
    held_out: bool = False

    @property
    def heading(self) -> str:
        """What stands over them."""
        return f"{HEADINGS[self.learned]}{', held out by the training itself' if self.held_out else ''}"

    @property
    def trained_on(self) -> bool:
        """Whether they are scores of what the network was trained on."""
        return self.learned is Learned.YES


def anchor_of(learned: Learned, *, held_out: bool) -> str:
    """What ids of a scorebook's parts have of their own."""
    return f"{'held-' if held_out else ''}{learned.value}"


def read_scores(path: Path) -> Arms | None:
    """Scores by arm; a file without the column `arm` holds one arm, ''. None where there is no such file."""
    if not path.exists():
        return None
    rows = [(row.get("arm") or "", score) for row, score in read_rows(path)]
    arms = {arm: tuple(score for name, score in rows if name == arm) for arm in in_order(name for name, _ in rows)}
    return arms or None


def make_scorebooks(arms: Arms, organs: Organs, *, held_out: bool = False) -> list[Scorebook]:
    """One for each kind of scores: not trained on, unknown, trained on. `held_out`: of a run's own validation."""
    kinds = by_learned(score for scores in arms.values() for score in scores)
    of_kind = {kind: {arm: tuple(by_learned(scores).get(kind, ())) for arm, scores in arms.items()} for kind in kinds}
    return [
        make_scorebook(kind, {arm: scores for arm, scores in found.items() if scores}, organs, held_out=held_out)
        for kind, found in of_kind.items()
    ]


def make_scorebook(learned: Learned, arms: Arms, organs: Organs, *, held_out: bool = False) -> Scorebook:
    """Tables and panels of scores of one kind."""
    keys = organs.in_order(score.organ for scores in arms.values() for score in scores)
    shown = ["", *keys] if len(keys) > 1 else keys
    differences = compare(arms, shown)
    given = columns_of(score for scores in arms.values() for score in scores)
    metrics = {name: columns()[name] for name in given if name != "dice"}
    means = [_mean(arm, key, arms[arm], metrics) for key in shown for arm in arms if _scored(arms[arm], key)]
    panels = [panel for key in shown if (panel := _panel(arms, key, organs)).rows]
    against = _difference_panels(arms, differences, organs)
    overall = {arm: _dice(scores, "") for arm, scores in arms.items()}
    anchor = anchor_of(learned, held_out=held_out)
    return Scorebook(
        learned,
        [draw_dots(panel, f"dice-{anchor}{place}") for place, panel in enumerate(panels)],
        metrics,
        means,
        [draw_dots(panel, f"difference-{anchor}{place}") for place, panel in enumerate(against)],
        differences,
        {arm: interval.mean for arm, interval in overall.items() if interval},
        named=list(arms) != [""],
        few=min(mean.n for mean in means) < FEW,
        held_out=held_out,
    )


def per_patient(scores: Sequence[Score], metric: str, organ: str = "") -> dict[str, float]:
    """One value a patient in whom the organ is present, in the unit that people read: Dice and NSD in points."""
    factor = columns()[metric].factor
    return {patient: factor * value for patient, value in values_by_patient(scores, metric, organ).items()}


def compare(arms: Arms, keys: Sequence[str]) -> list[Difference]:
    """Every contrast whose arms are there, per organ, over the patients that both scored; Holm over all of them."""
    found = [
        (left, right, key, difference[0].scaled(POINTS), difference[1])
        for left, right in CONTRASTS
        if left in arms and right in arms
        for key in keys
        if (difference := difference_of(arms[left], arms[right], "dice", key))
    ]
    adjusted = holm_of([row[-1] for row in found])
    return [Difference(*row, p) for row, p in zip(found, adjusted, strict=True)]


def _scored(scores: Sequence[Score], organ: str) -> bool:
    return any(organ in ("", score.organ) for score in scores)


def _dice(scores: Sequence[Score], organ: str) -> Interval | None:
    shares = mean_of(scores, "dice", organ)
    return shares.scaled(POINTS) if shares else None


def _mean(arm: str, organ: str, scores: Sequence[Score], metrics: Mapping[str, Scale]) -> Mean:
    found = {name: list(values_by_patient(scores, name, organ).values()) for name in metrics}
    means = {
        name: scale.factor * float(np.mean(found[name])) if found[name] else None for name, scale in metrics.items()
    }
    return Mean(organ, arm, arm_style(arm), _dice(scores, organ), means, absence(scores, organ))


def organ_title(key: str, organs: Organs) -> str:
    """The organ's title; '' is all organs together."""
    return organs.title(key) if key else "Mean of the organs"


def _panel(arms: Arms, organ: str, organs: Organs) -> DotPanel:
    rows = []
    for arm, scores in arms.items():
        values, interval = list(per_patient(scores, "dice", organ).values()), _dice(scores, organ)
        if interval:
            rows.append(Dot(arm_title(arm) or "This run", arm_style(arm), interval, values))
    return DotPanel(organ_title(organ, organs), "Dice (points, 0 to 100)", rows, limits=(-2, 102))


def _difference_panels(arms: Arms, differences: Sequence[Difference], organs: Organs) -> list[DotPanel]:
    panels = []
    for left, right in CONTRASTS:
        rows = [row for row in differences if (row.left, row.right) == (left, right)]
        dots = []
        for row in rows:
            a, b = (per_patient(arms[arm], "dice", row.organ) for arm in (left, right))
            patients = [a[patient] - b[patient] for patient in a if patient in b]
            dots.append(Dot(organ_title(row.organ, organs), left, row.interval, patients))
        if dots:
            title = f"{arm_title(left)} − {arm_title(right)}"
            panels.append(DotPanel(title, "difference in Dice (points)", dots, signed=True))
    return panels
