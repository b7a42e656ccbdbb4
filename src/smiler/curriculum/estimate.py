"""What a run will cost, from a few steps on a network that is thrown away."""

import time
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric

from smiler.curriculum.rounds import Plan, fresh_network, make_objective
from smiler.networks.device import channels_last
from smiler.sampling.batches import Batches
from smiler.store.store import Store

WARM_UP, TIMED = 1, 3


@dataclass(frozen=True)
class Estimate:
    """Seconds a step, and GB for weights, optimiser state and what the backward pass keeps."""

    seconds_a_step: float
    memory_gb: float

    def steps_within(self, seconds: float) -> int:
        """How many steps fit."""
        return max(1, int(seconds / self.seconds_a_step))


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
