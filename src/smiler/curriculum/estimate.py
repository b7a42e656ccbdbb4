"""What a run will cost, from a few steps on a network that is thrown away."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from lightning_fabric import Fabric

from smiler.curriculum.calibration import hold_out
from smiler.curriculum.guard import LOWERED
from smiler.curriculum.relabel import RelabelStep, accept_case, predict_case, unannotated_channels
from smiler.curriculum.rounds import Plan, fresh_network, make_objective, model_facts
from smiler.networks.device import channels_last, in_precision
from smiler.prediction.model import as_model
from smiler.prediction.scores import slice_scores
from smiler.sampling.batches import Batches
from smiler.store.store import Store, StoredCase

WARM_UP, TIMED = 1, 3
WARM_UP_SLICES = 8


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
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = objective(lambda image: in_precision(fabric, lambda: network(image)), batch)
        loss.backward()  # type: ignore[no-untyped-call]
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
        begin = time.perf_counter()
    weights = sum(value.numel() * value.element_size() for value in network.parameters())
    return Estimate(sorted(times[WARM_UP:])[TIMED // 2], (4 * weights + sum(kept.values())) / 1e9)


@dataclass(frozen=True)
class Rates:
    """Seconds for each voxel of a working image: to predict it, and to accept a share of what is predicted."""

    predict: float
    accept: float


def seconds_relabelling(fabric: Fabric, plan: Plan, store: Store, rates: Rates | None = None) -> float:
    """Of all rounds together: what is relabelled, and the held-out pairs that measure it; timed unless `rates` tell.

    Several processes share all but the calibration of `curriculum.precision`.
    """
    options = plan.curriculum
    asked = [case for case in store if unannotated_channels(case, store.organs)]
    held = hold_out(store, options.held_out, plan.training.seed)
    apart = [case for case, bits in zip(store.cases, held.bits, strict=True) if bits]
    if not options.rounds or not asked:
        return 0.0
    rates = rates or _timed(fabric, plan, store, min(asked, key=_voxels))
    shared = _total(asked) * (rates.predict + rates.accept)
    if options.floor is not None:
        shared += _total(apart) * (rates.predict + len(LOWERED) * rates.accept)
    alone = _total(apart) * rates.predict if options.precision is not None else 0.0
    return options.rounds * (shared / fabric.world_size + alone)


def _voxels(case: StoredCase) -> int:
    return int(np.prod(case.geometry.shape))


def _total(cases: Sequence[StoredCase]) -> int:
    return sum(_voxels(case) for case in cases)


def _timed(fabric: Fabric, plan: Plan, store: Store, case: StoredCase) -> Rates:
    """On one case, by the untrained network; each organ is taken to fill a thirtieth of the image when it is ranked."""
    model = as_model(model_facts(plan, store), fresh_network(plan, store), fabric, "")
    for _ in slice_scores(model, case.image, 0, min(WARM_UP_SLICES, len(case.image)), WARM_UP_SLICES):
        pass
    begin = time.perf_counter()
    prediction = predict_case(model, case, plan.curriculum)
    predicted = time.perf_counter()
    middle = np.quantile(prediction.score[:, ::4, ::4, ::4].astype(np.float32), 29 / 30, axis=(1, 2, 3), keepdims=True)
    likely = replace(prediction, score=prediction.score - middle.astype(np.float16))
    step = RelabelStep(1, plan.gamma(1), plan.curriculum)
    ready = time.perf_counter()
    accept_case(likely, case, model.organs, step, 0)
    return Rates((predicted - begin) / _voxels(case), (time.perf_counter() - ready) / _voxels(case))
