"""What a sweep comes to: means with intervals, differences, areas, relabelling, uncertainty; as CSV, Markdown, JSON."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from smiler.domain.files import write_json, write_text
from smiler.domain.locks import writing
from smiler.domain.names import share_name
from smiler.domain.provenance import tool_version
from smiler.evaluation.scores import Score, scores_table
from smiler.evaluation.statistics import Interval, bootstrap_mean, holm, paired_difference, wilcoxon
from smiler.experiments.sweep import Key, Sweep
from smiler.experiments.tables import to_csv, to_markdown
from smiler.experiments.trial import TrialFolder
from smiler.experiments.uncertainty import pooled
from smiler.report.scorebook import per_patient

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


@dataclass(frozen=True)
class Point:
    """Mean over patients of one arm at one share; organ '': mean over organs. Dice and NSD in points, HD95 in mm."""

    arm: str
    alpha: float
    organ: str
    dice: float
    low: float
    high: float
    nsd: float
    hd95_mm: float
    n: int


@dataclass(frozen=True)
class Contrast:
    """left - right in Dice points on the same patients; p: two-sided Wilcoxon; Holm: over the contrast's rows."""

    left: str
    right: str
    alpha: float
    organ: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    n: int


@dataclass(frozen=True)
class Area:
    """Mean Dice over the tested range of alpha (trapezoids), with its interval over patients.

    `falls_at`: the share at which the mean is 2 points below full annotation, linearly between tested shares; None: not
    within them.
    """

    arm: str
    area: float
    low: float
    high: float
    n: int
    falls_at: float | None


@dataclass(frozen=True)
class Relabelled:
    """Accepted voxels of all folds and seeds; `estimated`: what held-out pairs said, where the arm audits itself."""

    arm: str
    alpha: float
    round: int
    organ: str
    gamma: float
    precision: float | None
    recall: float | None
    voxels: int
    estimated: float | None
    estimated_share: float | None
    pairs: int


Values = Mapping[tuple[str, float], Sequence[Score]]


def write_results(sweep: Sweep) -> dict[str, Any]:
    """Write scores, tables, figures, summary and report into the sweep's folder; returns the summary."""
    with writing(sweep.out):
        return _write(sweep)


def _write(sweep: Sweep) -> dict[str, Any]:
    from smiler.experiments.pictures import save_pictures
    from smiler.report.report import write_report

    done = dict(sweep.done())
    values = _values(done)
    groups = [
        (
            {"arm": key.arm, "alpha": share_name(key.alpha), "fold": str(key.fold), "seed": str(key.seed)},
            folder.scores(),
        )
        for key, folder in done.items()
    ]
    if groups:
        write_text(sweep.out / "scores_by_alpha.csv", scores_table(groups))
    tables: dict[str, Sequence[Any]] = {
        "points": points(values),
        "contrasts": contrasts(values),
        "areas": areas(values),
        "relabelling": relabelling(done),
    }
    for name, rows in tables.items():
        write_text(sweep.out / "tables" / f"{name}.csv", to_csv(rows))
        write_text(sweep.out / "tables" / f"{name}.md", to_markdown(rows))
    summary = _summary(sweep, done, tables)
    write_json(sweep.out / "summary.json", summary)
    write_json(sweep.out / "uncertainty.json", _uncertainty(done))
    save_pictures(sweep, done)
    write_report(sweep.out)
    return summary


def _values(done: Mapping[Key, TrialFolder]) -> Values:
    """(arm, alpha) -> scores of all folds and seeds; a patient's seeds are averaged later, as scans are."""
    found: dict[tuple[str, float], list[Score]] = {}
    for key, folder in done.items():
        found.setdefault((key.arm, key.alpha), []).extend(folder.scores())
    return found


def points(values: Values) -> list[Point]:
    """Every arm at every share, over all organs and by organ."""
    return [_point(arm, alpha, organ, scores) for (arm, alpha), scores in values.items() for organ in _organs(scores)]


def _organs(scores: Sequence[Score]) -> list[str]:
    return ["", *dict.fromkeys(score.organ for score in scores)]


def _point(arm: str, alpha: float, organ: str, scores: Sequence[Score]) -> Point:
    dice = bootstrap_mean(list(per_patient(scores, "dice", organ).values()))
    nsd, hd95 = (float(np.mean(list(per_patient(scores, name, organ).values()))) for name in ("nsd", "hd95_mm"))
    return Point(arm, alpha, organ, *_rounded(dice), round(nsd, 3), round(hd95, 3), dice.n)


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
            if (pair := _paired(scores, values[right, alpha], organ))
        ]
        if found:
            adjusted = holm([p for *_, p in found])
            rows += [
                Contrast(left, right, alpha, organ, *_rounded(interval), round(p, 6), round(corrected, 6), interval.n)
                for (alpha, organ, interval, p), corrected in zip(found, adjusted, strict=True)
            ]
    return rows


def _paired(left: Sequence[Score], right: Sequence[Score], organ: str) -> tuple[Interval, float] | None:
    a, b = (per_patient(scores, "dice", organ) for scores in (left, right))
    both = [patient for patient in a if patient in b]
    if not both:
        return None
    x, y = [a[patient] for patient in both], [b[patient] for patient in both]
    return paired_difference(x, y), wilcoxon(x, y)


def _rounded(interval: Interval) -> tuple[float, float, float]:
    return round(interval.mean, 3), round(interval.low, 3), round(interval.high, 3)


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
        table = np.array([[curve[patient] for curve in curves] for patient in patients])
        interval = bootstrap_mean(_under(table, np.array(alphas)))
        rows.append(Area(arm, *_rounded(interval), interval.n, falls_at(values, arm)))
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
        if ("full", alpha) in values:
            means = [np.mean(list(per_patient(values[name, alpha], "dice").values())) for name in ("full", arm)]
            gaps.append((alpha, float(means[0] - means[1])))
    for place, (alpha, gap) in enumerate(gaps):
        if gap >= LOSS_POINTS:
            if place == 0:
                return alpha
            before, less = gaps[place - 1]
            return round(before + (alpha - before) * (LOSS_POINTS - less) / (gap - less), 4)
    return None


def relabelling(done: Mapping[Key, TrialFolder]) -> list[Relabelled]:
    """Precision and recall of accepted voxels, pooled over folds and seeds."""
    proposed: dict[tuple[str, float, int, str], list[dict[str, Any]]] = {}
    guesses: dict[tuple[str, float, int, str], list[dict[str, Any]]] = {}
    for key, folder in done.items():
        outcome = folder.outcome()
        unbiased = folder.trial().recipe.curriculum.audit_on == "held_out"
        for name, table in (("relabel", proposed), *([("estimated", guesses)] if unbiased else [])):
            for row in outcome[name]:
                table.setdefault((key.arm, key.alpha, row["round"], row["organ"]), []).append(row)
    return [_pool(name, rows, guesses.get(name, [])) for name, rows in proposed.items()]


def _pool(
    name: tuple[str, float, int, str], rows: Sequence[Mapping[str, Any]], guesses: Sequence[Mapping[str, Any]]
) -> Relabelled:
    voxels = sum(row["voxels"] for row in rows)
    right = sum(row["voxels"] * (row["precision"] or 0.0) for row in rows)
    there = sum(row["voxels"] * row["precision"] / row["recall"] for row in rows if row["recall"])
    told = [(row["precision"], row["pairs"]) for row in guesses if row["precision"] is not None and row["share"]]
    pairs = sum(n for _, n in told)
    return Relabelled(
        *name,
        gamma=round(rows[0]["gamma"], 4),
        precision=round(right / voxels, 5) if voxels else None,
        recall=round(right / there, 5) if there else None,
        voxels=voxels,
        estimated=round(sum(value * n for value, n in told) / pairs, 5) if pairs else None,
        estimated_share=round(float(np.mean([row["share"] for row in guesses])), 4) if guesses else None,
        pairs=pairs,
    )


def _uncertainty(done: Mapping[Key, TrialFolder]) -> dict[str, Any]:
    """Arm -> alpha -> organ -> what its folds and seeds say together."""
    found: dict[str, dict[str, dict[str, list[Any]]]] = {}
    for key, folder in done.items():
        for organ, row in folder.outcome().get("uncertainty", {}).items():
            found.setdefault(key.arm, {}).setdefault(share_name(key.alpha), {}).setdefault(organ, []).append(row)
    return {
        arm: {alpha: {organ: pooled(rows) for organ, rows in organs.items()} for alpha, organs in by_alpha.items()}
        for arm, by_alpha in found.items()
    }


def estimate_error(rows: Iterable[Relabelled]) -> float | None:
    """Mean absolute difference of estimated and true precision, over arms, shares, rounds and organs."""
    gaps = [
        abs(row.estimated - row.precision) for row in rows if row.estimated is not None and row.precision is not None
    ]
    return round(float(np.mean(gaps)), 4) if gaps else None


def _summary(sweep: Sweep, done: Mapping[Key, TrialFolder], tables: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    arms: dict[str, dict[str, Any]] = {}
    for row in tables["points"]:
        if not row.organ:
            arms.setdefault(row.arm, {})[share_name(row.alpha)] = {
                "dice": row.dice, "low": row.low, "high": row.high, "n": row.n,
            }  # fmt: skip
    trials = {folder.path: folder.outcome() for folder in done.values()}
    seconds = {
        str(path.relative_to(sweep.out)): round(told["train_seconds"] + told["measure_seconds"], 1)
        for path, told in trials.items()
    }
    return {
        "arms": arms,
        "areas": {row.arm: {"area": row.area, "low": row.low, "high": row.high} for row in tables["areas"]},
        "falls_2_points_at": {row.arm: row.falls_at for row in tables["areas"]},
        "estimate_error": estimate_error(tables["relabelling"]),
        "organs": {organ.key: organ.title for organ in sweep.cohort.organs},
        "steps": next((told["steps"] for told in trials.values()), None),
        "trials": len(trials),
        "failed": [str(path.relative_to(sweep.out)) for path in sweep.failed],
        "seconds": round(sum(seconds.values()), 1),
        "seconds_by_trial": seconds,
        "machine": f"{platform.system()} {platform.machine()}, {platform.processor() or 'CPU'}",
        "versions": {
            "smiler": tool_version(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "monai", "numpy")},
        },
    }
