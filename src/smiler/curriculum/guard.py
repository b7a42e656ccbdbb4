"""The audit without truth: the precision of relabelling, estimated on expert pairs.

Each round relabels a few (case, organ) pairs as if nobody had annotated them, exactly as it relabels the others; the
experts' masks then say how much of it is right. Where that falls below a bound, the organ's share is lowered, or it is
not relabelled in this round; where there are too few pairs to tell, it is not relabelled at all. The pairs are kept
from training until the last round; or else the estimate is an upper bound, which still shows what was not learned.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smiler.curriculum.calibration import HeldOut
from smiler.curriculum.relabel import RelabelStep, accept_case, predict_case
from smiler.domain.errors import BadInput
from smiler.domain.files import read_json, write_json
from smiler.prediction.model import Model
from smiler.store.store import Store

FEWEST_PAIRS = 4
"""Below so many pairs an estimate says nothing, and nothing is accepted."""

LOWERED = (1.0, 0.5, 0.25)
"""Parts of a round's share that are tried, one after the other, until the estimate reaches the bound."""


@dataclass(frozen=True)
class Estimated:
    """What the held-out pairs say of one organ in one round.

    `share`: accepted of the predicted voxels, after lowering; `precision`: of the accepted voxels at that share (None:
    nothing was accepted, or nothing held out); `pairs`: held-out pairs behind it; `lowered`: not what was asked for.
    """

    organ: str
    share: float
    precision: float | None
    pairs: int
    lowered: bool


def guarded(
    model: Model, store: Store, held: HeldOut, step: RelabelStep, floor: float, folder: Path
) -> dict[str, Estimated]:
    """Estimate per organ, at the share that the floor allows; kept in `folder/estimate.json`."""
    path = folder / "estimate.json"
    asked = {"made_by": model.made_by, "floor": floor, **step.facts()}
    if path.exists():
        try:
            old = read_json(path)
            if all(old.get(key) == value for key, value in asked.items()):
                return {row["organ"]: Estimated(**row) for row in old["organs"]}
        except (BadInput, AttributeError, KeyError, TypeError):
            pass  # damaged: it is made again
    counts = _count(model, store, held, step)
    found = {organ: _decide(organ, rows, step.gamma, floor) for organ, rows in counts.items()}
    write_json(path, {**asked, "organs": [asdict(row) for row in found.values()]})
    return found


@dataclass
class _Counts:
    right: int = 0
    accepted: int = 0
    pairs: int = 0

    @property
    def precision(self) -> float | None:
        return self.right / self.accepted if self.accepted else None


def _count(model: Model, store: Store, held: HeldOut, step: RelabelStep) -> dict[str, list[_Counts]]:
    """Organ -> counts at each lowered share, over its held-out pairs."""
    keys = store.organs.keys
    found = {key: [_Counts() for _ in LOWERED] for key in keys}
    shown = held.without(store)
    for index, (case, bits) in enumerate(zip(shown.cases, held.bits, strict=True)):
        if not bits:
            continue
        prediction = predict_case(model, case, step.options)
        drawn = np.asarray(case.drawn[:])
        for place, part in enumerate(LOWERED):
            proposed = accept_case(prediction, case, store.organs, step.at(part * step.gamma), index)
            for k in (k for k in range(len(keys)) if bits >> k & 1):
                mine = proposed >> k & 1
                row = found[keys[k]][place]
                row.right += int((mine & (drawn >> k & 1)).sum())
                row.accepted += int(mine.sum())
                row.pairs += 1
    return found


def _decide(organ: str, rows: list[_Counts], gamma: float, floor: float) -> Estimated:
    """The largest share whose estimate reaches the floor. What nothing is known of never does, but for a floor of 0."""
    enough = rows[0].pairs >= FEWEST_PAIRS
    for part, row in zip(LOWERED, rows, strict=True):
        reached = enough and row.precision is not None and row.precision >= floor
        if reached or not floor:
            return Estimated(organ, part * gamma, row.precision, row.pairs, lowered=part < 1)
    return Estimated(organ, 0.0, rows[0].precision, rows[0].pairs, lowered=True)


def shares(found: Mapping[str, Estimated]) -> dict[str, float]:
    """Organ -> the share that may be accepted."""
    return {organ: row.share for organ, row in found.items()}


def summary(found: Mapping[str, Estimated]) -> list[dict[str, Any]]:
    """As plain JSON."""
    return [asdict(row) for row in found.values()]
