"""What a sweep comes to: means with intervals, differences, areas, relabelling, uncertainty; as CSV, Markdown, JSON."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from smiler.domain.files import write_json, write_text
from smiler.domain.locks import claiming
from smiler.domain.names import share_name
from smiler.domain.provenance import tool_version
from smiler.evaluation.score_table import scores_table
from smiler.evaluation.scores import Score
from smiler.experiments.score_tables import Values, summary_of, tables_of, write_tables
from smiler.experiments.sweep import Key, Sweep
from smiler.experiments.trial import TrialFolder
from smiler.experiments.uncertainty import pooled


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


def write_results(sweep: Sweep) -> dict[str, Any]:
    """Write scores, tables, figures, summary and report into the sweep's folder; returns the summary."""
    with claiming(sweep.out):
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
    tables = tables_of(values) | {"relabelling": relabelling(done)}
    write_tables(sweep.out, tables)
    summary = summary_of(tables) | _summary(sweep, done, tables)
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
        gamma=rows[0]["gamma"],
        precision=right / voxels if voxels else None,
        recall=right / there if there else None,
        voxels=voxels,
        estimated=sum(value * n for value, n in told) / pairs if pairs else None,
        estimated_share=float(np.mean([row["share"] for row in guesses])) if guesses else None,
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
    return float(np.mean(gaps)) if gaps else None


def _summary(sweep: Sweep, done: Mapping[Key, TrialFolder], tables: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    trials = {folder.path: folder.outcome() for folder in done.values()}
    seconds = {
        str(path.relative_to(sweep.out)): round(told["train_seconds"] + told["measure_seconds"], 1)
        for path, told in trials.items()
    }
    return {
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
