"""Speed of the pieces of a training step and of a prediction, as shares of the network's own time in the same run.

    make bench       # results/bench/latest.json

The network on a batch that is already there is the floor; everything else is overhead. Medians of repeated runs on a
synthetic cohort. Ratios travel between machines, seconds don't.
"""

import datetime
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smiler.curriculum.rounds import fresh_network, make_objective
from smiler.domain.evidence import derive
from smiler.experiments.hide import hide
from smiler.experiments.phantom_cohort import make_phantom_cohort
from smiler.networks.device import make_fabric
from smiler.prediction.model import ModelFacts, as_model
from smiler.prediction.options import PredictionOptions
from smiler.prediction.scores import Opinions, slice_scores
from smiler.prediction.volume import predict_bits, to_working
from smiler.recipe.recipe import load_recipe
from smiler.sampling.augment import apply
from smiler.sampling.batches import Batches
from smiler.sampling.draws import Plan as SlicePlan
from smiler.store.store import Store, StoreOptions, build_store
from smiler.verbs.train import plan_of

REPEATS = 7
RESULT = Path(__file__).parents[1] / "results" / "bench" / "latest.json"


def seconds(work: Callable[[], object]) -> float:
    """Median of repeated runs after one to warm up."""
    work()
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def training_step(store: Store) -> dict[str, float]:
    """Each part of one step of 8 slices of 256x256, U-Net of width 16."""
    recipe = load_recipe("smile", None, ["network.width=16", "sampling.batch_size=8", "sampling.patch_size=256"])
    plan, fabric = plan_of(recipe), make_fabric()
    objective = make_objective(plan, store)
    network = fresh_network(plan, store).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters())
    batches = Batches(store, plan.sampling, 0, 0)
    slices = SlicePlan.of(store)
    raw = batches._read(slices, 0)
    batch = apply(*raw, 256, batches.normalisation(), fabric.device)
    image = batch.image.contiguous(memory_format=torch.channels_last)

    def targets() -> Any:
        codes = derive(batch.fields, objective.relations, torch)
        return objective.reading.targets(codes.transpose(0, 1).contiguous(memory_format=torch.channels_last))

    told = targets()
    logits = network(image).detach().requires_grad_()

    def bare() -> None:
        with fabric.autocast():
            out = network(image)
        out.float().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    def whole() -> None:
        begun = apply(*raw, 256, batches.normalisation(), fabric.device)
        with fabric.autocast():
            loss = objective(network, begun)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return {
        "bare_step": seconds(bare),
        "whole_step": seconds(whole),
        "read": seconds(lambda: batches._read(slices, 1)),
        "augment": seconds(lambda: apply(*raw, 256, batches.normalisation(), fabric.device)),
        "targets": seconds(targets),
        "loss_and_gradient": seconds(lambda: objective.loss(logits, told).backward()),
    }


def prediction(store: Store) -> dict[str, float]:
    """A 512x512x32 CT from HU to masks, against the network alone on its working grid."""
    recipe = load_recipe("smile", None, ["network.width=16"])
    plan, fabric = plan_of(recipe), make_fabric()
    network = fresh_network(plan, store)
    grey = Batches(store, plan.sampling, 0, 0).normalisation()
    facts = ModelFacts(store.organs, plan.network, plan.loss, store.data, grey)
    model = as_model(facts, network, fabric, "benchmark")
    case = store.cases[0]
    hu = np.repeat(np.repeat(case.image[:], 2, axis=1), 2, axis=2)
    geometry = type(case.geometry).canonical(hu.shape, (5.0, 0.75, 0.75))
    working = to_working(model, hu, geometry)
    options = PredictionOptions()

    def alone() -> None:
        for _ in slice_scores(model, working.hu, 0, len(working.hu), options.batch_size):
            pass

    return {"network": seconds(alone), "end_to_end": seconds(lambda: predict_bits(model, hu, geometry, options))}


def monte_carlo(store: Store) -> dict[str, float]:
    """Ten Monte-Carlo passes over 32 slices of 256x256 against one pass, DeepLab with a ResNet-18."""
    recipe = load_recipe("smile", None, ["network.name=deeplab"])
    plan, fabric = plan_of(recipe), make_fabric()
    grey = Batches(store, plan.sampling, 0, 0).normalisation()
    facts = ModelFacts(store.organs, plan.network, plan.loss, store.data, grey)
    model = as_model(facts, fresh_network(plan, store), fabric, "benchmark")
    image = store.cases[0].image[:]

    def passes(opinions: Opinions | None) -> Callable[[], object]:
        return lambda: [None for _ in slice_scores(model, image, 0, len(image), 8, opinions)]

    return {"single_pass": seconds(passes(None)), "mc_dropout_10": seconds(passes(Opinions("dropout", 10)))}


def main() -> None:
    """Measure and write."""
    with tempfile.TemporaryDirectory() as folder:
        full = make_phantom_cohort(Path(folder) / "all", 6, (32, 256, 256))
        hidden = hide(full, Path(folder) / "hidden", 0.5)
        store = build_store(hidden, Path(folder) / "cache", StoreOptions())
        step, predict, mc = training_step(store), prediction(store), monte_carlo(store)
    ratios = {
        "train_unet": step["bare_step"] / step["whole_step"],
        "target_share_of_step": (step["targets"] + step["loss_and_gradient"]) / step["whole_step"],
        "predict_end_to_end": predict["end_to_end"] / predict["network"],
        "mc_dropout_10": mc["mc_dropout_10"] / mc["single_pass"],
    }
    outcome = {
        "command": "make bench",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "versions": {name: version(name) for name in ("smiler-seg", "torch", "monai", "numpy")},
        "ratios": {name: round(value, 3) for name, value in ratios.items()},
        "seconds": {name: round(value, 4) for name, value in (step | predict | mc).items()},
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(outcome, indent=1) + "\n")
    print(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main()
