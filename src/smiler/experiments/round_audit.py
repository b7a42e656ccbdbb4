"""Audit of a curriculum round against truth: how much of what was accepted is right. Never fed back."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from smiler.curriculum.rounds import Round
from smiler.domain.cells import Status
from smiler.store.store import Store


@dataclass(frozen=True)
class RoundAudit:
    """TP / (TP + FP) and recall of accepted voxels of one organ in one round, over cases in which it was hidden."""

    round: int
    organ: str
    gamma: float
    precision: float | None
    recall: float | None
    voxels: int

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; None where nothing was accepted, or nothing was there."""
        return asdict(self)


def audit_round(done: Round, hidden: Store, truth: Store) -> list[RoundAudit]:
    """Compare a round's proposals with the sealed truth on the same working grid; both stores list the same cases."""
    organs = hidden.organs
    right, accepted, there = (np.zeros(len(organs), dtype=np.int64) for _ in range(3))
    for seen, sealed in zip(hidden, truth, strict=True):
        missing = [k for k, key in enumerate(organs.keys) if seen.case.status(key) is Status.UNANNOTATED]
        drawn = sealed.drawn[:]
        proposed = done.proposals.bits(seen.case.id)[:] if seen.case.id in done.proposals.accepted else 0 * drawn
        for k in missing:
            mine, true = proposed >> k & 1, drawn >> k & 1
            right[k] += int((mine & true).sum())
            accepted[k] += int(mine.sum())
            there[k] += int(true.sum())
    return [
        RoundAudit(
            done.number, key, done.gamma, _share(right[k], accepted[k]), _share(right[k], there[k]), int(accepted[k])
        )
        for k, key in enumerate(organs.keys)
    ]


def _share(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None
