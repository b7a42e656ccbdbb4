"""Calibration and risk-coverage of a trained network on test patients, for every uncertainty that it can give."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smiler.curriculum.relabel import opinions_for
from smiler.domain.cells import Status
from smiler.evaluation.uncertainty import Reliability, RiskCoverage
from smiler.losses.confidence import WithConfidence
from smiler.networks.several import Ensemble
from smiler.prediction.model import Model
from smiler.prediction.scores import Opinions, Prediction, predict_working
from smiler.selection import RULES, need_of
from smiler.store.store import Store, StoredCase

SHIFTED = "tta"


def measure_uncertainty(model: Model, store: Store, passes: int = 10) -> dict[str, Any]:
    """Per organ: reliability of the probability, and risk-coverage by each rule that the network can serve."""
    reliability: dict[str, Reliability] = {}
    risks: dict[str, dict[str, RiskCoverage]] = {}
    for case in store:
        scored = tuple(k for k, key in enumerate(store.organs.keys) if case.case.status(key) is not Status.UNANNOTATED)
        drawn = np.asarray(case.drawn[:])
        said = {name: _say(model, case, scored, opinions) for name, opinions in _asked(model, passes).items()}
        for place, k in enumerate(scored):
            organ, truth = store.organs.keys[k], (drawn >> k & 1).astype(bool)
            score = said["score"].score[place].astype(np.float32)
            reliability.setdefault(organ, Reliability()).add(1 / (1 + np.exp(-score.clip(-30, 30))), truth)
            found = score > 0
            for name, prediction in said.items():
                rank = _rank(name, prediction)[place]
                risks.setdefault(organ, {}).setdefault(name, RiskCoverage()).add(rank[found], truth[found])
    return {
        organ: {
            "reliability": reliability[organ].to_json(),
            "risk": {name: risk.to_json() for name, risk in risks[organ].items()},
        }
        for organ in reliability
    }


def _asked(model: Model, passes: int) -> dict[str, Opinions | None]:
    """Rule -> what it needs, for all that this network can answer."""
    able = {None, "dropout"}
    able |= {"members"} if isinstance(model.network, Ensemble) else set()
    able |= {"confidence"} if isinstance(model.loss, WithConfidence) else set()
    asked = {rule: opinions_for(rule, passes) for rule in RULES if need_of(rule) in able}
    return asked | {SHIFTED: Opinions("shifts")}


def _say(model: Model, case: StoredCase, channels: tuple[int, ...], opinions: Opinions | None) -> Prediction:
    return predict_working(model, case.image, case.geometry, channels, opinions=opinions)


def _rank(name: str, prediction: Prediction) -> NDArray[np.float32]:
    return RULES["ensemble" if name == SHIFTED else name](prediction)


def pooled(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several such outcomes of one organ as one: bins pooled by voxels, risks averaged."""
    bins: list[list[Any]] = []
    for parts in zip(*(row["reliability"]["bins"] for row in rows), strict=True):
        count = sum(part[0] for part in parts)
        told, true = (sum(part[0] * (part[i] or 0.0) for part in parts) for i in (1, 2))
        bins.append([count, told / count, true / count] if count else [0, None, None])
    total = sum(int(row[0]) for row in bins)
    error = sum(row[0] * abs(row[1] - row[2]) for row in bins if row[0]) / total if total else None
    rules = dict.fromkeys(name for row in rows for name in row["risk"])
    risk = {name: _mean_risk([row["risk"][name] for row in rows if name in row["risk"]]) for name in rules}
    return {"bins": bins, "ece": error, "risk": risk}


def _mean_risk(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    columns = zip(*(row["risk"] for row in rows), strict=True)
    risks = [_mean([value for value in column if value is not None]) for column in columns]
    return {"risk": risks, "area": _mean([row["area"] for row in rows if row["area"] is not None])}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
