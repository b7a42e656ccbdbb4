"""Relabelling of a store: what the network proposes for organs that nobody annotated, kept case by case on disk."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from smiler.curriculum.options import CurriculumOptions
from smiler.domain.errors import BadInput
from smiler.domain.evidence import Code, Fields, Relations, derive
from smiler.domain.files import write_json
from smiler.domain.organs import OrganSet
from smiler.domain.progress import Progress, Silent
from smiler.domain.shaped import read_as
from smiler.prediction.compose import bounding_box, compose, patches
from smiler.prediction.model import Model
from smiler.prediction.scores import Opinions, Prediction, predict_working
from smiler.selection import RULES, need_of
from smiler.selection.propose import Selection, propose
from smiler.store.arrays import open_array, save_array
from smiler.store.store import Store, StoredCase


@dataclass(frozen=True)
class RelabelStep:
    """One relabelling: round, share accepted, options.

    Per organ, where they differ: the lowest score that may be accepted (else 0), and the share.
    """

    number: int
    gamma: float
    options: CurriculumOptions
    lowest: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)

    def share(self, organ: str) -> float:
        """The share that is accepted of an organ's predicted voxels."""
        return self.shares.get(organ, self.gamma)

    def at(self, gamma: float) -> "RelabelStep":
        """The same step with another share for all."""
        return replace(self, gamma=gamma, shares={})

    def facts(self) -> dict[str, Any]:
        """For the provenance of a proposal; an organ of which nothing may be accepted has no lowest score."""
        lowest = {key: round(value, 4) if np.isfinite(value) else None for key, value in self.lowest.items()}
        told = {"round": self.number, "gamma": self.gamma, "rule": self.options.rule, "lowest_score": lowest}
        return told | ({"shares": dict(self.shares)} if self.shares else {})


@dataclass(frozen=True)
class Proposals:
    """Accepted voxels of one round: case id -> organ -> voxels on the working grid; the masks lie in `folder`."""

    folder: Path
    accepted: Mapping[str, Mapping[str, int]]

    def bits(self, case_id: str) -> Any:
        """Bit field (z, y, x) on disk, read by the slice."""
        return open_array(self.folder / "proposals" / f"{case_id}.b2nd")

    def cleared(self, case_id: str) -> Any | None:
        """Bit field (z, y, x) on disk of what the round ruled out; None where it rules nothing out."""
        path, old = _cleared(self.folder, case_id), self.folder / "proposals" / f"{case_id}.cleared.b2nd"
        if not path.exists() and f"{case_id}.cleared" not in self.accepted:  # a run of an earlier version
            path = old
        return open_array(path) if path.exists() else None

    def planes(self, case_id: str) -> NDArray[np.int32]:
        """(z,), bit k where organ k is proposed somewhere in the slice."""
        return np.asarray(read_as(self.folder / "proposals" / f"{case_id}.json", _About).planes, dtype=np.int32)

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
    """Propose for every case in which an organ is unannotated; cases that are on disk already are not done again.

    Several processes share the cases.
    """
    fabric = model.fabric
    open_cases = [(index, case) for index, case in enumerate(store) if unannotated_channels(case, store.organs)]
    mine = open_cases[fabric.global_rank :: fabric.world_size]
    for index, case in (progress or Silent()).track(mine, f"relabelling, round {step.number}", len(mine)):
        about = folder / "proposals" / f"{case.case.id}.json"
        if not _is_proposed(about, case, model.made_by):
            _relabel_case(model, case, about, (index, step), earlier)
    fabric.barrier()
    ids = [case.case.id for _, case in open_cases]
    return Proposals(folder, {name: read_as(folder / "proposals" / f"{name}.json", _About).voxels for name in ids})


Bits = Annotated[int, Field(ge=-(2**31), lt=2**31)]


@dataclass(frozen=True)
class _About:
    """What lies beside the proposals of a case: by which weights, voxels by organ, organs by slice."""

    made_by: str
    voxels: Mapping[str, int]
    planes: tuple[Bits, ...]


def _is_proposed(about: Path, case: StoredCase, made_by: str) -> bool:
    """Whether this network's proposals for the case are there, and whole."""
    try:
        told = read_as(about, _About)
    except BadInput:
        return False
    return told.made_by == made_by and len(told.planes) == len(case.known)


def _relabel_case(model: Model, case: StoredCase, about: Path, at: tuple[int, RelabelStep], earlier: Proposals) -> None:
    """Propose for the case with that index in the store, and write it."""
    index, step = at
    prediction = predict_case(model, case, step.options)
    bits = accept_case(prediction, case, model.organs, step, index)
    if step.options.negatives is not None:
        cleared = rule_out(prediction, bits, case, model.organs, step.options.negatives)
        save_array(_cleared(about.parent.parent, case.case.id), cleared)
    if case.case.id in earlier.accepted:
        bits |= np.where(bits == 0, earlier.bits(case.case.id)[:], 0).astype(np.int32)
    _save(about, bits, model.organs, {"made_by": model.made_by, **step.facts()})


def _cleared(folder: Path, case_id: str) -> Path:
    """In a folder of its own: a case may be called `p1.cleared`."""
    return folder / "proposals" / "cleared" / f"{case_id}.b2nd"


def _save(about: Path, bits: NDArray[np.int32], organs: OrganSet, facts: Mapping[str, Any]) -> None:
    save_array(about.with_suffix(".b2nd"), bits)
    voxels = {key: int((bits >> k & 1).sum()) for k, key in enumerate(organs.keys)}
    planes = np.bitwise_or.reduce(bits, axis=(1, 2)).tolist()
    write_json(about, {**facts, "voxels": {key: count for key, count in voxels.items() if count}, "planes": planes})


def unannotated_channels(case: StoredCase, organs: OrganSet) -> tuple[int, ...]:
    """Organs about which experts leave some slice of the case open."""
    everywhere = int(np.bitwise_and.reduce(case.known))
    return tuple(k for k in range(len(organs)) if not everywhere >> k & 1)


def propose_case(model: Model, case: StoredCase, index: int, step: RelabelStep) -> NDArray[np.int32]:
    """Accepted proposals of one case as a bit field (z, y, x) on the working grid."""
    return accept_case(predict_case(model, case, step.options), case, model.organs, step, index)


def predict_case(model: Model, case: StoredCase, options: CurriculumOptions) -> Prediction:
    """What the network says of the organs that nobody annotated, with what the rule looks at."""
    opinions = opinions_for(options.rule, options.passes)
    channels = unannotated_channels(case, model.organs)
    return predict_working(model, case.image, case.geometry, channels, opinions=opinions)


def accept_case(
    prediction: Prediction, case: StoredCase, organs: OrganSet, step: RelabelStep, index: int
) -> NDArray[np.int32]:
    """The step's share of a prediction, as a bit field (z, y, x) on the working grid."""
    keys = [organs.keys[k] for k in prediction.channels]
    drawn = np.asarray(case.drawn[:])
    known = np.broadcast_to(case.known[:, None, None], drawn.shape)
    each = tuple(step.share(key) for key in keys)
    selection = Selection(step.gamma, step.options.scope, (step.number, index), each)
    fields = Fields(drawn, known, np.zeros_like(drawn))
    lowest = [step.lowest.get(key, 0.0) for key in keys]
    return accept(prediction, fields, organs, step.options.rule, selection, lowest)


def rule_out(
    prediction: Prediction, accepted: NDArray[np.int32], case: StoredCase, organs: OrganSet, below: float
) -> NDArray[np.int32]:
    """Bit field (z, y, x) of voxels at which an organ that was proposed in the volume is improbable.

    Where nothing of an organ was proposed, the network may have missed it, and nothing is ruled out.
    """
    drawn = np.asarray(case.drawn[:])
    known = np.broadcast_to(case.known[:, None, None], drawn.shape)
    codes = derive(Fields(drawn, known, accepted), Relations.of(organs), np)
    limit = np.float16(math.log(below / (1 - below)))
    bits = np.zeros_like(accepted)
    for score, k in zip(prediction.score, prediction.channels, strict=True):
        if (accepted >> k & 1).any():
            bits |= ((codes[k] == int(Code.UNKNOWN)) & (score < limit)).astype(np.int32) << np.int32(k)
    return bits


def opinions_for(rule: str, passes: int) -> Opinions | None:
    """What a rule needs to be predicted besides scores."""
    need = need_of(rule)
    return Opinions(need, passes) if need else None


def decided(prediction: Prediction, relations: Relations, lowest: Sequence[float] = ()) -> NDArray[np.bool_]:
    """(n, z, y, x): where an organ would become a mask: of those in the prediction that exclude each other, the best.

    A softmax's scores are odds against the background alone, so that several may be above 0. Below an organ's lowest
    acceptable score it is not proposed, and neither is a rival in its place. `relations`: of the prediction's organs.
    """
    score = prediction.score
    bits = compose(patches(score), score.shape[1:], relations)
    limits = [*lowest] or [0.0] * len(score)
    mine = [(bits >> i & 1 != 0) & (score[i] >= limit) for i, limit in enumerate(limits)]
    return np.array(mine, dtype=bool).reshape(score.shape)


def accept(
    prediction: Prediction,
    fields: Fields,
    organs: OrganSet,
    rule: str,
    selection: Selection,
    lowest: Sequence[float] = (),
) -> NDArray[np.int32]:
    """The safest share of a prediction that knowledge leaves open, as a bit field (z, y, x)."""
    box = bounding_box(np.asarray((prediction.score > 0).any(axis=0)))
    bits = np.zeros(prediction.score.shape[1:], dtype=np.int32)
    if box:  # nothing is predicted elsewhere
        inside = Fields(fields.drawn[box], fields.known[box], fields.pseudo[box])
        bits[box] = _accept(prediction.within(box), inside, organs, rule, selection, lowest)
    return bits


def _accept(
    prediction: Prediction,
    fields: Fields,
    organs: OrganSet,
    rule: str,
    selection: Selection,
    lowest: Sequence[float],
) -> NDArray[np.int32]:
    relations = _subset(Relations.of(organs), prediction.channels)
    codes = derive(fields, Relations.of(organs), np)[list(prediction.channels)]
    ranks = RULES[rule](prediction)
    local = propose(ranks, decided(prediction, relations, lowest), codes, relations, selection)
    bits = np.zeros_like(local)
    for i, k in enumerate(prediction.channels):
        bits |= (local >> i & 1) << np.int32(k)
    return bits


def _subset(relations: Relations, channels: tuple[int, ...]) -> Relations:
    """The relations among some channels, renumbered."""

    def pick(masks: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sum(1 << i for i, j in enumerate(channels) if masks[k] >> j & 1) for k in channels)

    return Relations(pick(relations.excluders), pick(relations.parts), pick(relations.wholes))
