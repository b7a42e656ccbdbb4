"""A training step as a run takes it, against the network's own step on a batch that is already there."""

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.parts.timing import in_turn
from smiler.curriculum.rounds import fresh_network, make_objective
from smiler.domain.evidence import planes
from smiler.networks.compiled import trunk_compiled
from smiler.networks.device import make_fabric
from smiler.recipe.recipe import load_recipe
from smiler.sampling.augment import Batch
from smiler.sampling.batches import Batches
from smiler.sampling.draws import Plan as SlicePlan
from smiler.store.store import Store
from smiler.training.fit import Stage, _Trainer
from smiler.training.recorded import Recorded
from smiler.verbs.train import plan_of


@dataclass(frozen=True)
class Steps:
    """How steps are timed: `burst` of them together, so that a GPU, or a reader, can run ahead as it does in a run."""

    batch: int = 8
    precision: str = "32"
    burst: int = 1
    repeats: int = 9
    patch: int = 256
    compile: bool = False


USUAL = Steps()


def training_step(store: Store, method: str, network: str, how: Steps = USUAL) -> dict[str, float]:
    """Seconds of a step of slices of 256x256: the network alone, everything, and the pieces around the network."""
    sizes = [f"sampling.batch_size={how.batch}", f"sampling.patch_size={how.patch}", "training.steps=100000"]
    plan = plan_of(load_recipe(method, None, [*sizes, f"network.name={network}"]))
    fabric = make_fabric(precision=how.precision)
    objective = make_objective(plan, store)
    at_hand = store.in_memory(1 << 34) if fabric.device.type == "cuda" else store
    batches = Batches(at_hand, plan.sampling, 0, 0)
    stream = enumerate(batches.steps(0, 100_000, fabric.device))
    made = fresh_network(plan, store)
    compiling = trunk_compiled(made, fabric) if how.compile else nullcontext()
    with tempfile.TemporaryDirectory() as folder, compiling:
        stage = Stage(Path(folder), Path(folder), 0, plan.training.steps, plan.training)
        trainer = _Trainer(fabric, made, stage)
        trainer.network.train()
        _, batch = next(stream)
        image = batch.image.contiguous(memory_format=torch.channels_last)
        logits = trainer.network(image).detach()

        def bare() -> None:
            trainer.optimizer.zero_grad(set_to_none=True)
            fabric.backward(trainer.network(image).float().mean())
            trainer.optimizer.step()

        def bare_on(given: Batch) -> torch.Tensor:
            trainer.optimizer.zero_grad(set_to_none=True)
            loss = trainer.network(given.image).float().mean()
            fabric.backward(loss)
            trainer.optimizer.step()
            return loss.detach()

        floor = Recorded(trainer.plain, bare_on) if fabric.device.type == "cuda" else None
        laid = Batch(image, batch.fields)

        def whole() -> None:
            number, batch = next(stream)
            trainer.step(number, batch, objective)

        def targets_and_loss() -> None:
            targets = objective.reading.targets(planes(batch.fields, objective.relations))
            leaf = logits.requires_grad_()
            torch.autograd.grad(objective.loss.total(objective.loss.terms(leaf, targets)), leaf)

        slices = SlicePlan.of(at_hand)
        raw = batches._read(slices, 0)
        works: dict[str, Callable[[], object]] = {
            "bare_step": bare,
            "resident_step": lambda: trainer.step(0, batch, objective),
            "whole_step": whole,
            "targets_and_loss": targets_and_loss,
            "read": lambda: batches._read(slices, 1),
            "augment": lambda: batches._batch(raw, batches.normalisation(), fabric.device),
        }
        if floor:
            works["bare_recorded"] = lambda: floor(laid)
        if how.compile:
            works = {"whole_step": whole}
        seconds = in_turn({name: _often(work, how.burst) for name, work in works.items()}, how.repeats)
        return {name: value / how.burst for name, value in seconds.items()}


def _often(work: Callable[[], object], times: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(times):
            work()

    return run
