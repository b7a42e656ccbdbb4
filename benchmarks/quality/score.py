"""One scorer for all: smiler's Dice and NSD on each CT's own grid, of masks in OUT/CASE/ORGAN.nii.gz."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smiler.evaluation.scores import Score, mean_of
from smiler.evaluation.truth import Truth
from smiler.verbs.evaluate import evaluate

METRICS = ("dice", "nsd")


def scored(masks: Path, test: Path) -> dict[str, Any]:
    """Means in per cent over patients in whom an organ is present, and every value by case and organ."""
    scores = evaluate(masks, Truth.open(test))
    return {
        "cases": len({score.case for score in scores}),
        "mean": {metric: _mean(scores, metric) for metric in METRICS},
        "organs": {organ: _organ(scores, organ) for organ in sorted({score.organ for score in scores})},
        "values": values(scores),
    }


def values(scores: list[Score]) -> dict[str, dict[str, list[float]]]:
    """case -> organ -> Dice and NSD in per cent; an absent organ has none."""
    table: dict[str, dict[str, list[float]]] = {}
    for score in scores:
        if score.present:
            table.setdefault(score.case, {})[score.organ] = [round(100 * score.metrics[name], 3) for name in METRICS]
    return table


def _organ(scores: list[Score], organ: str) -> dict[str, float | None]:
    return {metric: _mean(scores, metric, organ) for metric in METRICS}


def _mean(scores: list[Score], metric: str, organ: str = "") -> float | None:
    found = mean_of(scores, metric, organ)
    return None if found is None else round(100 * found.mean, 3)
