"""Algorithm 1 as a generator of rounds: the caller audits each, the loop never learns what the audit says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from smiler.curriculum.calibration import calibrate, hold_out
from smiler.curriculum.guard import Estimated, guarded, shares, summary
from smiler.curriculum.options import CurriculumOptions
from smiler.curriculum.relabel import Proposals, RelabelStep, relabel_store, unannotated_channels
from smiler.domain.evidence import Relations
from smiler.domain.progress import Progress
from smiler.losses import build_loss
from smiler.losses.options import LossOptions
from smiler.losses.targets import READINGS
from smiler.networks import build
from smiler.networks.base import SegmentationNet
from smiler.networks.checkpoint import Checkpoint
from smiler.networks.options import NetworkOptions
from smiler.prediction.model import ModelFacts, as_model
from smiler.sampling.batches import Batches
from smiler.sampling.options import SamplingOptions
from smiler.store.store import Store
from smiler.training.events import Events
from smiler.training.fit import Objective, Stage, fit
from smiler.training.options import TrainingOptions
from smiler.workers.memory import available_bytes

SHARE = 4
"""Of so many parts of the available memory one may hold voxels for a GPU, of all processes of a training."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a run computes, besides the data."""

    network: NetworkOptions
    loss: LossOptions
    sampling: SamplingOptions
    training: TrainingOptions
    curriculum: CurriculumOptions
    facts: Mapping[str, Any] = field(default_factory=dict)

    def stage_steps(self, number: int) -> int:
        """Steps of the first training (0) or of a round: together they are `training.steps`."""
        total, rounds = self.training.steps, self.curriculum.rounds
        if not rounds:
            return total
        first = max(1, round(total * self.curriculum.first_share))
        each = max(1, (total - first) // rounds)
        return first if number == 0 else each if number < rounds else max(1, total - first - each * (rounds - 1))

    def schedule(self, number: int) -> tuple[int, int]:
        """Steps before this stage and steps of the learning-rate schedule that it is a part of (0, 0: one of its own).

        Continued, SMILEr is SMILE bit for bit until proposals are accepted: the two differ in their evidence alone.
        """
        if not (self.curriculum.warm_start and self.curriculum.schedule == "continue"):
            return 0, 0
        steps = [self.stage_steps(stage) for stage in range(self.curriculum.rounds + 1)]
        return sum(steps[:number]), sum(steps)

    def gamma(self, number: int) -> float:
        """Share accepted in a round: t/T of gamma_max."""
        return self.curriculum.gamma_max * number / self.curriculum.rounds


@dataclass(frozen=True)
class Round:
    """One finished round (0: the first training). `estimated`: by organ, where expert pairs are held out."""

    number: int
    gamma: float
    checkpoint: Checkpoint
    proposals: Proposals
    estimated: Mapping[str, Estimated] = field(default_factory=dict)


def curriculum(
    fabric: Fabric, store: Store, plan: Plan, run: Path, progress: Progress | None = None
) -> Iterator[Round]:
    """Train m_0, then for t = 1..T relabel with m_(t-1) and train m_t. What is on disk already is not done again."""
    trainer = _Rounds(fabric, store, plan, run, progress)
    proposals = Proposals(run / "rounds" / "0", {})
    checkpoint = trainer.train(0, proposals)
    yield Round(0, 0.0, checkpoint, proposals)
    for number in range(1, plan.curriculum.rounds + 1):
        proposals, estimated = trainer.relabel(number, checkpoint, proposals)
        checkpoint = trainer.train(number, proposals, checkpoint)
        yield Round(number, plan.gamma(number), checkpoint, proposals, estimated)


class _Rounds:
    """The network that goes through the rounds."""

    def __init__(self, fabric: Fabric, store: Store, plan: Plan, run: Path, progress: Progress | None) -> None:
        self.fabric, self.plan, self.run, self.progress = fabric, plan, run, progress
        waits = fabric.device.type == "cuda"  # a GPU is faster than slices can be unpacked
        self.store = store.in_memory(available_bytes() // SHARE // fabric.world_size) if waits else store
        self.loss = build_loss(plan.loss, store.organs)
        self.network = self.fresh_network()
        self.held = hold_out(store, plan.curriculum.held_out, plan.training.seed)

    def fresh_network(self) -> SegmentationNet:
        """The untrained network; the same for every method with the same seed and outputs."""
        return fresh_network(self.plan, self.store)

    def batches(self, number: int, proposals: Proposals) -> Batches:
        """The batches of a stage."""
        opened = {case: proposals.bits(case) for case in proposals.accepted}
        plan = self.plan
        last = number == plan.curriculum.rounds
        store = self.held.without(self.store) if plan.curriculum.holds_out and not last else self.store
        proposed = {case: proposals.planes(case) for case in opened} if plan.sampling.from_proposals else {}
        cleared = {case: bits for case in opened if (bits := proposals.cleared(case)) is not None}
        before, cycle = plan.schedule(number)
        stage, first = (0, before) if cycle else (number, 0)
        return Batches(
            store,
            plan.sampling,
            plan.network.context,
            plan.training.seed,
            stage,
            opened,
            proposed,
            cleared,
            first,
            plan.network.axes,
            (self.fabric.global_rank, self.fabric.world_size),
        )

    def facts(self) -> ModelFacts:
        """What every checkpoint tells."""
        return model_facts(self.plan, self.store)

    def train(self, number: int, proposals: Proposals, previous: Checkpoint | None = None) -> Checkpoint:
        """Train m_t on the evidence with its proposals."""
        plan = self.plan
        if number and not plan.curriculum.warm_start:
            self.network = self.fresh_network()
        folder = self.run / "checkpoints" if number == 0 else self.run / "rounds" / str(number) / "checkpoints"
        facts = {**self.facts().to_json(), **plan.facts, "stage": number}
        steps, schedule = plan.stage_steps(number), plan.schedule(number)
        stage = Stage(self.run, folder, number, steps, plan.training, facts, *schedule, previous)
        objective = make_objective(plan, self.store)
        return fit(self.fabric, self.network, self.batches(number, proposals), objective, stage, self.progress)

    def relabel(
        self, number: int, checkpoint: Checkpoint, earlier: Proposals
    ) -> tuple[Proposals, Mapping[str, Estimated]]:
        """Proposals of round t, made by m_(t-1), and what held-out pairs say of them."""
        model = as_model(self.facts(), self.network, self.fabric, checkpoint.model_hash)
        folder = self.run / "rounds" / str(number)
        options = self.plan.curriculum
        kept = earlier if options.keep == "union" else Proposals(folder, {})
        incomplete = any(unannotated_channels(case, self.store.organs) for case in self.store)
        measured = options.precision if incomplete else None  # on a complete cohort nothing is proposed
        lowest = {} if measured is None else calibrate(model, self.store, self.held, measured)
        step = RelabelStep(number, self.plan.gamma(number), options, lowest)
        found: dict[str, Estimated] = {}
        if incomplete and options.floor is not None:
            found = guarded(model, self.store, self.held, step, options.floor, folder)
            step = replace(step, shares=shares(found))
        made = relabel_store(model, self.store, folder, step, kept, self.progress)
        if not self.fabric.is_global_zero:
            return made, found
        events = Events(self.run / "events.jsonl")
        events.add("relabelled", stage=number - 1, **step.facts(), **made.summary(), estimated=summary(found))
        return made, found


def fresh_network(plan: Plan, store: Store) -> SegmentationNet:
    """An untrained network for these organs, its weights drawn from the seed."""
    torch.manual_seed(plan.training.seed)
    loss = build_loss(plan.loss, store.organs)
    network = build(plan.network, loss.outputs)
    network.start_bias(loss.bias(plan.training.prior))
    return network


def model_facts(plan: Plan, store: Store) -> ModelFacts:
    """What whoever predicts with the network of a plan must know."""
    grey = Batches(store, plan.sampling, plan.network.context, plan.training.seed).normalisation()
    window = plan.sampling.box if plan.network.axes == 3 else None
    return ModelFacts(store.organs, plan.network, plan.loss, store.data, grey, window)


def make_objective(plan: Plan, store: Store) -> Objective:
    """The loss and reading of a plan."""
    loss = build_loss(plan.loss, store.organs)
    return Objective(loss, READINGS[plan.loss.reading], Relations.of(store.organs), plan.loss.pseudo_excludes)
