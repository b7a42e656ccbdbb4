"""The audit without truth: the precision of relabelling, estimated on expert pairs.

Each round relabels a few (case, organ) pairs as if nobody had annotated them, by the rule of the others; the experts'
masks then say how much of it is right. Where that, less its standard error over the pairs, falls below a bound, the
organ's share is lowered, or it is not relabelled in this round; where there are too few pairs to tell, it is not
relabelled at all. The pairs are kept from training until the last round; or else the estimate is an upper bound, which
still shows what was not learned.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from smiler.curriculum.calibration import HeldOut
from smiler.curriculum.relabel import RelabelStep, accept_case, predict_case
from smiler.domain.errors import BadInput
from smiler.domain.files import write_json
from smiler.domain.shaped import as_shape, read_as
from smiler.prediction.model import Model
from smiler.store.store import Store

FEWEST_PAIRS = 4
"""With something accepted in fewer pairs than this an estimate says nothing, and nothing is accepted."""

LOWERED = (1.0, 0.5, 0.25)
"""Parts of a round's share that are tried, one after the other, until the estimate reaches the bound."""


@dataclass(frozen=True)
class Estimated:
    """What the held-out pairs say of one organ in one round.

    `share`: accepted of the predicted voxels, after lowering; `precision`: of the accepted voxels at that share (None:
    nothing was accepted, or nothing held out); `error`: its standard error over pairs; `pairs`: held-out pairs behind
    it; `lowered`: not what was asked for.
    """

    organ: str
    share: float
    precision: float | None
    error: float | None
    pairs: int
    lowered: bool


def guarded(
    model: Model, store: Store, held: HeldOut, step: RelabelStep, floor: float, folder: Path
) -> dict[str, Estimated]:
    """Estimate per organ, at the share that the floor allows; kept in `folder/estimate.json`.

    Several processes share the cases, and the first one's word about the file counts.
    """
    fabric, path = model.fabric, folder / "estimate.json"
    asked = {"made_by": model.made_by, "floor": floor, **step.facts()}
    old = fabric.broadcast(_estimated(path, asked) if fabric.is_global_zero else None)
    if old is not None:
        return old
    counts = _count(model, store, held, step)
    found = {organ: decide(organ, rows, step.gamma, floor) for organ, rows in counts.items()}
    if fabric.is_global_zero:
        write_json(path, {**asked, "organs": [asdict(row) for row in found.values()]})
    return found


def _estimated(path: Path, asked: Mapping[str, Any]) -> dict[str, Estimated] | None:
    """What was estimated for the same before; None where there is nothing, or it is damaged."""
    try:
        old = read_as(path, dict[str, Any])
        rows = as_shape(old.get("organs"), list[Estimated], str(path))
    except BadInput:
        return None
    return {row.organ: row for row in rows} if all(old.get(key) == value for key, value in asked.items()) else None


@dataclass
class Counts:
    """Per pair: accepted voxels that are right, and all that were accepted."""

    right: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)

    @property
    def precision(self) -> float | None:
        """Of all accepted voxels together."""
        return sum(self.right) / sum(self.accepted) if any(self.accepted) else None

    @property
    def error(self) -> float | None:
        """Standard error of the precision, a ratio of sums over pairs (Cochran 1977, Sampling Techniques, 6.4)."""
        precision, n = self.precision, len(self.right)
        if precision is None or n < 2:
            return None
        residuals = np.array(self.right) - precision * np.array(self.accepted)
        return float(np.sqrt(n / (n - 1) * (residuals**2).sum()) / sum(self.accepted))

    def reaches(self, floor: float) -> bool:
        """Whether the precision is at least the floor by more than its standard error, on enough pairs to tell.

        A pair in which nothing was accepted tells nothing.
        """
        telling = sum(accepted > 0 for accepted in self.accepted)
        if telling < FEWEST_PAIRS or self.precision is None or self.error is None:
            return False
        return self.precision - self.error >= floor


def _count(model: Model, store: Store, held: HeldOut, step: RelabelStep) -> dict[str, list[Counts]]:
    """Organ -> counts at each lowered share, over its held-out pairs."""
    fabric, keys, shown = model.fabric, store.organs.keys, held.without(store)
    asked = [index for index, bits in enumerate(held.bits) if bits]
    counted = torch.zeros(len(asked), len(keys), len(LOWERED), 2, dtype=torch.float64)  # whole numbers, all of them
    for row in range(fabric.global_rank, len(asked), fabric.world_size):
        index = asked[row]
        case, bits = shown.cases[index], held.bits[index]
        prediction = predict_case(model, case, step.options)
        drawn = np.asarray(case.drawn[:])
        for place, part in enumerate(LOWERED):
            proposed = accept_case(prediction, case, store.organs, step.at(part * step.gamma), index)
            for k in (k for k in range(len(keys)) if bits >> k & 1):
                mine = proposed >> k & (drawn >= 0)
                counted[row, k, place, 0] = int((mine & (drawn >> k & 1)).sum())
                counted[row, k, place, 1] = int(mine.sum())
    if fabric.world_size > 1:
        counted = cast(torch.Tensor, fabric.all_reduce(counted.to(fabric.device), reduce_op="sum")).cpu()
    whole = counted.long().numpy()
    found = {key: [Counts() for _ in LOWERED] for key in keys}
    for row, index in enumerate(asked):
        for k in (k for k in range(len(keys)) if held.bits[index] >> k & 1):
            for place, counts in enumerate(found[keys[k]]):
                counts.right.append(int(whole[row, k, place, 0]))
                counts.accepted.append(int(whole[row, k, place, 1]))
    return found


def decide(organ: str, rows: list[Counts], gamma: float, floor: float) -> Estimated:
    """The largest share whose estimate reaches the floor. What nothing is known of never does, but for a floor of 0."""
    for part, row in zip(LOWERED, rows, strict=True):
        if row.reaches(floor) or not floor:
            return Estimated(organ, part * gamma, row.precision, row.error, len(row.right), lowered=part < 1)
    return Estimated(organ, 0.0, rows[0].precision, rows[0].error, len(rows[0].right), lowered=True)


def shares(found: Mapping[str, Estimated]) -> dict[str, float]:
    """Organ -> the share that may be accepted."""
    return {organ: row.share for organ, row in found.items()}


def summary(found: Mapping[str, Estimated]) -> list[dict[str, Any]]:
    """As plain JSON."""
    return [asdict(row) for row in found.values()]
