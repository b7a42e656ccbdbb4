"""What scores come to, by arm and share: means with intervals, differences on the same patients, areas, absence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smiler.domain.files import write_text
from smiler.domain.names import share_name
from smiler.evaluation.metrics import SCALES, columns
from smiler.evaluation.scores import Score, absence, columns_of, difference_of, mean_of, per_patient
from smiler.evaluation.statistics import Interval, bootstrap_mean, holm_of
from smiler.experiments.tables import to_csv, to_markdown

CONTRASTS = (
    ("smile", "baseline"),
    ("baseline-rethreshold", "baseline"),
    ("smile", "baseline-rethreshold"),
    ("smile", "naive"),
    ("smile", "ignore-volume"),
    ("smile", "per-organ"),
    ("smile", "marginal"),
    ("marginal-dice", "smile"),
    ("smiler", "smile"),
    ("smiler", "marginal-dice"),
    ("smiler-faithful", "smile"),
    ("full", "smile"),
    ("full", "smiler"),
    *((arm, "smiler") for arm in ("smiler-faithful", "smiler-guarded", "smiler-mc", "smiler-entropy")),
    *((arm, "smiler") for arm in ("smiler-ensemble", "smiler-confidence")),
)
LOSS_POINTS = 2.0
POINTS = SCALES["dice"].factor


@dataclass(frozen=True)
class Point:
    """Mean over the n patients in whom the organ is present, of one arm at one share; organ '': mean over organs.

    Dice and NSD in points, HD95 in mm; None where the organ is present in nobody. `metrics`: all but Dice, by column.
    Of `absent` scores of an organ that is not there `absence_right` found nothing of it; the others are false alarms.
    """

    arm: str
    alpha: float
    organ: str
    dice: float | None
    low: float | None
    high: float | None
    metrics: Mapping[str, float | None]
    n: int
    absent: int
    absence_right: int
    false_alarms: int


@dataclass(frozen=True)
class Contrast:
    """left - right in Dice points on the same patients; p: two-sided Wilcoxon; Holm: over the contrast's rows.

    With n = 1 there is neither an interval nor a p value.
    """

    left: str
    right: str
    alpha: float
    organ: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    n: int


@dataclass(frozen=True)
class Area:
    """Mean Dice over the tested range of alpha (trapezoids), with its interval over patients.

    `falls_at`: the share at which the mean is 2 points below full annotation, linearly between tested shares; None: not
    within them.
    """

    arm: str
    area: float
    low: float | None
    high: float | None
    n: int
    falls_at: float | None


Values = Mapping[tuple[str, float], Sequence[Score]]


def tables_of(values: Values) -> dict[str, Sequence[Any]]:
    """The tables that follow from the scores alone."""
    return {"points": points(values), "contrasts": contrasts(values), "areas": areas(values)}


def write_tables(out: Path, tables: Mapping[str, Sequence[Any]]) -> None:
    """Each as CSV and Markdown, in OUT/tables."""
    for name, rows in tables.items():
        write_text(out / "tables" / f"{name}.csv", to_csv(rows))
        write_text(out / "tables" / f"{name}.md", to_markdown(rows))


def summary_of(tables: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The part of `summary.json` that follows from the scores alone."""
    arms: dict[str, dict[str, Any]] = {}
    for row in tables["points"]:
        if not row.organ:
            names = ("dice", "low", "high", "n", "absent", "absence_right", "false_alarms")
            arms.setdefault(row.arm, {})[share_name(row.alpha)] = {name: getattr(row, name) for name in names}
    return {
        "arms": arms,
        "areas": {row.arm: {"area": row.area, "low": row.low, "high": row.high} for row in tables["areas"]},
        "falls_2_points_at": {row.arm: row.falls_at for row in tables["areas"]},
    }


def points(values: Values) -> list[Point]:
    """Every arm at every share, over all organs and by organ."""
    return [_point(arm, alpha, organ, scores) for (arm, alpha), scores in values.items() for organ in _organs(scores)]


def _organs(scores: Sequence[Score]) -> list[str]:
    return ["", *dict.fromkeys(score.organ for score in scores)]


def _point(arm: str, alpha: float, organ: str, scores: Sequence[Score]) -> Point:
    dice = mean_of(scores, "dice", organ)
    rest = [name for name in columns_of(scores) if name != "dice"]
    found = {name: list(per_patient(scores, name, organ).values()) for name in rest}
    means = {
        name: columns()[name].factor * float(np.mean(values)) if values else None for name, values in found.items()
    }
    absent = absence(scores, organ)
    mean, low, high = _points(dice) if dice else (None, None, None)
    counts = (dice.n if dice else 0, absent.cases, absent.right, absent.false_alarms)
    return Point(arm, alpha, organ, mean, low, high, means, *counts)


def _points(shares: Interval) -> tuple[float, float | None, float | None]:
    interval = shares.scaled(POINTS)
    return interval.mean, interval.low, interval.high


def contrasts(values: Values) -> list[Contrast]:
    """Each contrast at every share and organ, over the patients that both arms scored."""
    rows = []
    by_alpha = sorted(values.items(), key=lambda item: item[0][1])
    for left, right in CONTRASTS:
        found = [
            (alpha, organ, *pair)
            for (arm, alpha), scores in by_alpha
            if arm == left and alpha > 0 and (right, alpha) in values
            for organ in _organs(scores)
            if (pair := difference_of(scores, values[right, alpha], "dice", organ))
        ]
        adjusted = holm_of([p for *_, p in found])
        rows += [
            Contrast(left, right, alpha, organ, *_points(interval), p, corrected, interval.n)
            for (alpha, organ, interval, p), corrected in zip(found, adjusted, strict=True)
        ]
    return rows


def areas(values: Values) -> list[Area]:
    """The area under each arm's curve over the shares above 0, and where it falls 2 points below full annotation."""
    arms = list(dict.fromkeys(arm for arm, _ in values))
    rows = []
    for arm in arms:
        alphas = sorted(alpha for name, alpha in values if name == arm and alpha > 0)
        if not alphas:
            continue
        curves = [per_patient(values[arm, alpha], "dice") for alpha in alphas]
        patients = [patient for patient in curves[0] if all(patient in curve for curve in curves)]
        if not patients:
            continue
        table = np.array([[curve[patient] for curve in curves] for patient in patients])
        interval = bootstrap_mean(_under(table, np.array(alphas)))
        rows.append(Area(arm, *_points(interval), interval.n, falls_at(values, arm)))
    return rows


def _under(table: np.ndarray[Any, Any], alphas: np.ndarray[Any, Any]) -> list[float]:
    if len(alphas) == 1:
        return [float(value) for value in table[:, 0]]
    widths = np.diff(alphas)
    middle = (table[:, 1:] + table[:, :-1]) / 2
    return [float(value) for value in (middle * widths).sum(axis=1) / widths.sum()]


def falls_at(values: Values, arm: str) -> float | None:
    """The share at which an arm's mean Dice first is 2 points below full annotation's at the same share."""
    gaps = []
    for alpha in sorted(alpha for name, alpha in values if name == arm):
        full, mine = (list(per_patient(values.get((name, alpha), ()), "dice").values()) for name in ("full", arm))
        if full and mine:
            gaps.append((alpha, POINTS * float(np.mean(full) - np.mean(mine))))
    for place, (alpha, gap) in enumerate(gaps):
        if gap >= LOSS_POINTS:
            if place == 0:
                return alpha
            before, less = gaps[place - 1]
            return before + (alpha - before) * (LOSS_POINTS - less) / (gap - less)
    return None
