"""A training step as a run takes it, against the network's own step on a batch that is already there."""

import tempfile
from pathlib import Path

import torch
from benchmarks.parts.timing import in_turn

from smiler.curriculum.rounds import fresh_network, make_objective
from smiler.domain.evidence import planes
from smiler.networks.device import make_fabric
from smiler.recipe.recipe import load_recipe
from smiler.sampling.batches import Batches
from smiler.sampling.draws import Plan as SlicePlan
from smiler.store.store import Store
from smiler.training.fit import Stage, _Trainer
from smiler.verbs.train import plan_of

SIZE = ["sampling.batch_size=8", "sampling.patch_size=256", "training.steps=100000"]


def training_step(store: Store, method: str, network: str, repeats: int = 9) -> dict[str, float]:
    """Seconds of a step of 8 slices of 256x256: the network alone, everything, and the pieces around the network."""
    plan = plan_of(load_recipe(method, None, [*SIZE, f"network.name={network}"]))
    fabric = make_fabric(precision="32")
    objective = make_objective(plan, store)
    batches = Batches(store, plan.sampling, 0, 0)
    stream = enumerate(batches.steps(0, 10_000, fabric.device))
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), Path(folder), 0, plan.training.steps, plan.training)
        trainer = _Trainer(fabric, fresh_network(plan, store), stage)
        trainer.network.train()
        _, batch = next(stream)
        image = batch.image.contiguous(memory_format=torch.channels_last)
        logits = trainer.network(image).detach()

        def bare() -> None:
            trainer.optimizer.zero_grad(set_to_none=True)
            fabric.backward(trainer.network(image).float().mean())
            trainer.optimizer.step()

        def whole() -> None:
            number, batch = next(stream)
            trainer.step(number, batch, objective)

        def targets_and_loss() -> None:
            targets = objective.reading.targets(planes(batch.fields, objective.relations))
            leaf = logits.requires_grad_()
            objective.loss.total(objective.loss.terms(leaf, targets)).backward()

        slices = SlicePlan.of(store)
        raw = batches._read(slices, 0)
        works = {
            "bare_step": bare,
            "whole_step": whole,
            "targets_and_loss": targets_and_loss,
            "read": lambda: batches._read(slices, 1),
            "augment": lambda: batches._batch(raw, batches.normalisation(), fabric.device),
        }
        return in_turn(works, repeats)
