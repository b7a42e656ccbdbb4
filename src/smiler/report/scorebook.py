"""`scores.csv` as tables and panels: means with intervals over patients, and differences on the same patients."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from markupsafe import Markup

from smiler.domain.errors import BadInput
from smiler.evaluation.scores import Score
from smiler.evaluation.statistics import Interval, bootstrap_mean, holm, paired_difference, wilcoxon
from smiler.report.figures import Dot, DotPanel, draw_dots
from smiler.report.names import Organs, arm_style, arm_title, in_order

CONTRASTS = (("smile", "baseline"), ("smiler", "smile"), ("full", "smiler"))
FEW = 20
"""Below this many patients, bootstrap intervals are known to be too narrow, and the page says so."""

Arms = Mapping[str, Sequence[Score]]


@dataclass(frozen=True)
class Mean:
    """A row of the table of means. Dice and NSD in points, HD95 in mm."""

    organ: str
    arm: str
    style: str
    dice: Interval
    nsd: float
    hd95_mm: float


@dataclass(frozen=True)
class Difference:
    """A row of the table of differences: left - right in Dice points on the same patients."""

    left: str
    right: str
    organ: str
    interval: Interval
    p: float
    adjusted: float


@dataclass(frozen=True)
class Scorebook:
    """What the page shows of the scores. The row of all organs together has the organ ''."""

    panels: Sequence[Markup]
    means: Sequence[Mean]
    difference_panels: Sequence[Markup]
    differences: Sequence[Difference]
    named: bool
    few: bool


def read_scores(path: Path) -> Arms | None:
    """Scores by arm; a file without the column `arm` holds one arm, ''. None where there is no such file."""
    if not path.exists():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            _check_columns(path, reader.fieldnames or ())
            rows = [(row.get("arm") or "", _score(path, number, row)) for number, row in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput("the file is not a readable table", where=str(path), got=str(error)) from error
    arms = {arm: tuple(score for name, score in rows if name == arm) for arm in in_order(name for name, _ in rows)}
    return arms or None


def make_scorebook(arms: Arms, organs: Organs) -> Scorebook:
    """Tables and panels of these scores."""
    keys = organs.in_order(score.organ for scores in arms.values() for score in scores)
    shown = ["", *keys] if len(keys) > 1 else keys
    differences = compare(arms, shown)
    pairs = [(key, arm) for key in shown for arm in arms if per_patient(arms[arm], "dice", key)]
    means = [_mean(arm, key, arms[arm]) for key, arm in pairs]
    panels = [_panel(arms, key, organs) for key in shown]
    against = _difference_panels(arms, differences, organs)
    return Scorebook(
        [draw_dots(panel, f"dice{place}") for place, panel in enumerate(panels)],
        means,
        [draw_dots(panel, f"difference{place}") for place, panel in enumerate(against)],
        differences,
        named=list(arms) != [""],
        few=min(mean.dice.n for mean in means) < FEW,
    )


def per_patient(scores: Sequence[Score], metric: str, organ: str = "") -> dict[str, float]:
    """One value a patient: the mean over scans and, where no organ is given, over organs. Dice and NSD in points."""
    values: dict[str, list[float]] = {}
    for score in scores:
        if organ in ("", score.organ):
            values.setdefault(score.patient, []).append(getattr(score, metric))
    scale = 1 if metric == "hd95_mm" else 100
    return {patient: scale * float(np.mean(values[patient])) for patient in sorted(values)}


def compare(arms: Arms, keys: Sequence[str]) -> list[Difference]:
    """Every contrast whose arms are there, per organ, over the patients that both scored; Holm over all of them."""
    found = []
    for left, right in CONTRASTS:
        for key in keys if left in arms and right in arms else ():
            a, b = _paired(arms, (left, right), key)
            if a:
                found.append((left, right, key, paired_difference(a, b), wilcoxon(a, b)))
    adjusted = holm([row[-1] for row in found]) if found else []
    return [Difference(*row, p) for row, p in zip(found, adjusted, strict=True)]


def _paired(arms: Arms, names: tuple[str, str], organ: str) -> tuple[list[float], list[float]]:
    a, b = (per_patient(arms[name], "dice", organ) for name in names)
    both = [patient for patient in a if patient in b]
    return [a[patient] for patient in both], [b[patient] for patient in both]


def _mean(arm: str, organ: str, scores: Sequence[Score]) -> Mean:
    dice, nsd, hd95 = (list(per_patient(scores, metric, organ).values()) for metric in ("dice", "nsd", "hd95_mm"))
    return Mean(organ, arm, arm_style(arm), bootstrap_mean(dice), float(np.mean(nsd)), float(np.mean(hd95)))


def organ_title(key: str, organs: Organs) -> str:
    """The organ's title; '' is all organs together."""
    return organs.title(key) if key else "Mean of the organs"


def _panel(arms: Arms, organ: str, organs: Organs) -> DotPanel:
    rows = []
    for arm, scores in arms.items():
        values = list(per_patient(scores, "dice", organ).values())
        if values:
            rows.append(Dot(arm_title(arm) or "This run", arm_style(arm), bootstrap_mean(values), values))
    return DotPanel(organ_title(organ, organs), "Dice (points, 0 to 100)", rows, limits=(-2, 102))


def _difference_panels(arms: Arms, differences: Sequence[Difference], organs: Organs) -> list[DotPanel]:
    panels = []
    for left, right in CONTRASTS:
        rows = [row for row in differences if (row.left, row.right) == (left, right)]
        dots = []
        for row in rows:
            a, b = _paired(arms, (left, right), row.organ)
            patients = [one - other for one, other in zip(a, b, strict=True)]
            dots.append(Dot(organ_title(row.organ, organs), left, row.interval, patients))
        if dots:
            title = f"{arm_title(left)} − {arm_title(right)}"
            panels.append(DotPanel(title, "difference in Dice (points)", dots, signed=True))
    return panels


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    missing = [field.name for field in fields(Score) if field.name not in columns]
    if missing:
        raise BadInput(
            "columns are missing",
            where=str(path),
            got=", ".join(columns) or "an empty file",
            do=f"add {', '.join(missing)}",
        )


def _score(path: Path, number: int, row: Mapping[str, str]) -> Score:
    try:
        numbers = [float(row[name]) for name in ("dice", "nsd", "hd95_mm", "predicted_ml", "reference_ml")]
    except (TypeError, ValueError) as error:
        raise BadInput("not a number", where=f"{path}, line {number}", got=str(error)) from error
    if not (np.isfinite(numbers).all() and all(0 <= share <= 1 for share in numbers[:2])):
        where = f"{path}, line {number}"
        raise BadInput("Dice and NSD lie in [0, 1], the rest is finite", where=where, got=str(numbers))
    if None in row or None in row.values():
        raise BadInput("the row is longer or shorter than the header", where=f"{path}, line {number}")
    return Score(row["case"], row["patient"], row["organ"], row["status"], *numbers)
