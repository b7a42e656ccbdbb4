"""Relabelling of a store: what the network proposes for organs that nobody annotated, kept case by case on disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smiler.curriculum.options import CurriculumOptions
from smiler.domain.evidence import Fields, Relations, derive
from smiler.domain.files import read_json, write_json
from smiler.domain.organs import OrganSet
from smiler.domain.progress import Progress, Silent
from smiler.prediction.model import Model
from smiler.prediction.scores import Prediction, predict_working
from smiler.selection import NEEDS_SPREAD, RULES
from smiler.selection.propose import Selection, propose
from smiler.store.arrays import open_array, save_array
from smiler.store.store import Store, StoredCase


@dataclass(frozen=True)
class RelabelStep:
    """One relabelling: round, share accepted, options, and per organ the lowest score that may be accepted (else 0)."""

    number: int
    gamma: float
    options: CurriculumOptions
    lowest: Mapping[str, float] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """For the provenance of a proposal; an organ of which nothing may be accepted has no lowest score."""
        lowest = {key: round(value, 4) if np.isfinite(value) else None for key, value in self.lowest.items()}
        return {"round": self.number, "gamma": self.gamma, "rule": self.options.rule, "lowest_score": lowest}


@dataclass(frozen=True)
class Proposals:
    """Accepted voxels of one round: case id -> organ -> voxels on the working grid; the masks lie in `folder`."""

    folder: Path
    accepted: Mapping[str, Mapping[str, int]]

    def bits(self, case_id: str) -> Any:
        """Bit field (z, y, x) on disk, read by the slice."""
        return open_array(self.folder / "proposals" / f"{case_id}.b2nd")

    def summary(self) -> dict[str, Any]:
        """Accepted voxels per organ over all cases."""
        total: dict[str, int] = {}
        for organs in self.accepted.values():
            for organ, voxels in organs.items():
                total[organ] = total.get(organ, 0) + voxels
        return {"cases": len(self.accepted), "accepted": total}


def relabel_store(
    model: Model,
    store: Store,
    folder: Path,
    step: "RelabelStep",
    earlier: Proposals,
    progress: Progress | None = None,
) -> Proposals:
    """Propose for every case in which an organ is unannotated; cases that are on disk already are not done again."""
    accepted = {}
    cases = list(enumerate(store))
    for index, case in (progress or Silent()).track(cases, f"relabelling, round {step.number}", len(cases)):
        if not unannotated_channels(case, store.organs):
            continue
        about = folder / "proposals" / f"{case.case.id}.json"
        if not about.exists() or read_json(about)["made_by"] != model.made_by:
            bits = propose_case(model, case, index, step)
            if case.case.id in earlier.accepted:
                bits |= np.where(bits == 0, earlier.bits(case.case.id)[:], 0).astype(np.int32)
            _save(about, bits, store.organs, {"made_by": model.made_by, **step.facts()})
        accepted[case.case.id] = read_json(about)["voxels"]
    return Proposals(folder, accepted)


def _save(about: Path, bits: NDArray[np.int32], organs: OrganSet, facts: Mapping[str, Any]) -> None:
    save_array(about.with_suffix(".b2nd"), bits)
    voxels = {key: int((bits >> k & 1).sum()) for k, key in enumerate(organs.keys)}
    write_json(about, {**facts, "voxels": {key: count for key, count in voxels.items() if count}})


def unannotated_channels(case: StoredCase, organs: OrganSet) -> tuple[int, ...]:
    """Organs about which experts leave some slice of the case open."""
    everywhere = int(np.bitwise_and.reduce(case.known))
    return tuple(k for k in range(len(organs)) if not everywhere >> k & 1)


def propose_case(model: Model, case: StoredCase, index: int, step: RelabelStep) -> NDArray[np.int32]:
    """Accepted proposals of one case as a bit field (z, y, x) on the working grid."""
    options = step.options
    passes = options.passes if options.rule in NEEDS_SPREAD else 0
    channels = unannotated_channels(case, model.organs)
    prediction = predict_working(model, case.image, case.geometry, channels, passes=passes)
    prediction = above(prediction, [step.lowest.get(model.organs.keys[k], 0.0) for k in channels])
    drawn = np.asarray(case.drawn[:])
    known = np.broadcast_to(case.known[:, None, None], drawn.shape)
    selection = Selection(step.gamma, options.scope, (step.number, index))
    return accept(prediction, Fields(drawn, known, np.zeros_like(drawn)), model.organs, options.rule, selection)


def above(prediction: Prediction, lowest: Sequence[float]) -> Prediction:
    """The prediction with scores below each organ's lowest acceptable one turned into a no."""
    limits = np.asarray(lowest, dtype=np.float32)[:, None, None, None]
    if not limits.any():
        return prediction
    return replace(prediction, score=np.where(prediction.score >= limits, prediction.score, np.float16(-1)))


def accept(
    prediction: Prediction, fields: Fields, organs: OrganSet, rule: str, selection: Selection
) -> NDArray[np.int32]:
    """The safest share of a prediction that knowledge leaves open, as a bit field (z, y, x)."""
    relations = _subset(Relations.of(organs), prediction.channels)
    codes = derive(fields, Relations.of(organs), np)[list(prediction.channels)]
    ranks = RULES[rule](prediction.score, prediction.spread)
    local = propose(ranks, prediction.score > 0, codes, relations, selection)
    bits = np.zeros_like(local)
    for i, k in enumerate(prediction.channels):
        bits |= (local >> i & 1) << np.int32(k)
    return bits


def _subset(relations: Relations, channels: tuple[int, ...]) -> Relations:
    """The relations among some channels, renumbered."""

    def pick(masks: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sum(1 << i for i, j in enumerate(channels) if masks[k] >> j & 1) for k in channels)

    return Relations(pick(relations.excluders), pick(relations.parts), pick(relations.wholes))
