"""What a run will cost, from a few steps on a network that is thrown away."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric

from smiler.curriculum.calibration import hold_out
from smiler.curriculum.relabel import opinions_for, unannotated_channels
from smiler.curriculum.rounds import Plan, fresh_network, make_objective, model_facts
from smiler.networks.device import channels_last
from smiler.prediction.model import as_model
from smiler.prediction.scores import slice_scores
from smiler.sampling.batches import Batches
from smiler.store.store import Store, StoredCase

WARM_UP, TIMED = 1, 3
SLICES = 16
"""So many slices are predicted to know how long relabelling takes."""


@dataclass(frozen=True)
class Estimate:
    """Seconds a step, and GB for weights, optimiser state and what the backward pass keeps."""

    seconds_a_step: float
    memory_gb: float

    def steps_within(self, seconds: float) -> int:
        """How many steps fit; 0 if none does."""
        return max(0, int(seconds / self.seconds_a_step))


def estimate(fabric: Fabric, plan: Plan, store: Store) -> Estimate:
    """Time a few training steps of one process's part of the batch, and count the bytes that they keep."""
    network = fresh_network(plan, store)
    network.to(fabric.device, memory_format=channels_last(network.axes))  # type: ignore[call-overload]
    network.train()
    objective = make_objective(plan, store)
    part = (fabric.global_rank, fabric.world_size)
    batches = Batches(store, plan.sampling, plan.network.context, plan.training.seed, axes=network.axes, part=part)
    kept: dict[int, int] = {}
    times = []

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    begin = time.perf_counter()
    for batch in batches.steps(0, WARM_UP + TIMED, fabric.device):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor), fabric.autocast():
            loss = objective(network, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
        begin = time.perf_counter()
    weights = sum(value.numel() * value.element_size() for value in network.parameters())
    return Estimate(sorted(times[WARM_UP:])[TIMED // 2], (4 * weights + sum(kept.values())) / 1e9)


def seconds_relabelling(fabric: Fabric, plan: Plan, store: Store) -> float:
    """Of all rounds together: the network over what is relabelled, and over the held-out pairs that measure it.

    Timed on a few slices, and a process's share of them all. Ranking, which takes a tenth of that, is left out.
    """
    options = plan.curriculum
    asked = [case for case in store if unannotated_channels(case, store.organs)]
    measured = (options.precision is not None) + (options.floor is not None)
    if measured:
        held = hold_out(store, options.held_out, plan.training.seed)
        asked += measured * [case for case, bits in zip(store.cases, held.bits, strict=True) if bits]
    if not options.rounds or not asked:
        return 0.0
    pixels = sum(_pixels(case) for case in asked)
    return options.rounds * pixels * _seconds_a_pixel(fabric, plan, store, asked[0]) / fabric.world_size


def _pixels(case: StoredCase) -> int:
    return int(np.prod(case.geometry.shape))


def _seconds_a_pixel(fabric: Fabric, plan: Plan, store: Store, case: StoredCase) -> float:
    """Of a case's image, by the untrained network, on the second pass over a few slices."""
    options = plan.curriculum
    window = plan.sampling.box[0] if plan.network.axes == 3 else 0
    depth = min(len(case.image), max(SLICES, window))
    model = as_model(model_facts(plan, store), fresh_network(plan, store), fabric, "")
    image = np.asarray(case.image[:depth])
    seconds = 0.0
    for _ in range(2):
        begin = time.perf_counter()
        for _said in slice_scores(model, image, 0, depth, 8, opinions_for(options.rule, options.passes)):
            pass
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
    return seconds / image.size
