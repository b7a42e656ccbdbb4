"""Speed of the 3-D network in training and prediction, as shares of the bare network's time in the same run.

    make bench-volumes       # results/bench/volumes.json

Patches a second on a synthetic cohort; medians of repeated runs. Ratios travel between machines, seconds don't.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from benchmarks.machine import about
from smiler.curriculum.rounds import Plan, fresh_network, make_objective
from smiler.experiments.phantom_cohort import make_phantom_cohort
from smiler.networks.device import channels_last, make_fabric
from smiler.prediction.model import Model, ModelFacts, as_model
from smiler.prediction.options import PredictionOptions
from smiler.prediction.scores import Opinions, slice_scores
from smiler.prediction.sliding import Axis
from smiler.prediction.volume import predict_bits
from smiler.recipe.recipe import load_recipe
from smiler.sampling.batches import Batches
from smiler.store.store import Store, StoreOptions, build_store
from smiler.verbs.train import plan_of

REPEATS = 3
RESULT = Path(__file__).parents[1] / "results" / "bench" / "volumes.json"


def seconds(work: Callable[[], object]) -> float:
    """Median of repeated runs after one to warm up."""
    work()
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def training(store: Store, plan: Plan, fabric: Fabric) -> dict[str, float]:
    """A step with everything around the network, and the network on a batch that is already there."""
    network, objective = fresh_network(plan, store).train(), make_objective(plan, store)
    network.to(memory_format=channels_last(network.axes))
    optimizer = torch.optim.AdamW(network.parameters())
    batches = Batches(store, plan.sampling, 0, 0, axes=network.axes)
    ready = list(batches.steps(0, REPEATS + 1, fabric.device))
    image = ready[0].image.contiguous(memory_format=channels_last(network.axes))

    def learn(loss: torch.Tensor) -> None:
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def bare() -> None:
        with fabric.autocast():
            out = network(image)
        learn(out.float().mean())

    def losing() -> None:
        with fabric.autocast():
            loss = objective(network, ready[0])
        learn(loss)

    stream = batches.steps(0, 10**6, fabric.device)

    def whole() -> None:
        with fabric.autocast():
            loss = objective(network, next(stream))
        learn(loss)

    told = {"bare_step": seconds(bare), "step_without_sampling": seconds(losing), "whole_step": seconds(whole)}
    stream.close()
    return told | {"sampling": seconds(lambda: list(batches.steps(3, 4, fabric.device)))}


def model_of(store: Store, plan: Plan, fabric: Fabric) -> Model:
    """An untrained model; what it says takes as long as what a trained one says."""
    grey = Batches(store, plan.sampling, 0, 0).normalisation()
    facts = ModelFacts(store.organs, plan.network, plan.loss, store.data, grey, plan.sampling.box)
    network = fresh_network(plan, store)
    network.to(memory_format=channels_last(network.axes))
    return as_model(facts, network, fabric, "benchmark")


def prediction(store: Store, model: Model, batch: int) -> dict[str, float]:
    """A volume of the working grid through windows, one on the CT's grid, and the bare network on as many windows."""
    case = store.cases[0]
    image, window = case.image[:], model.facts.window
    assert window
    count = int(np.prod([len(Axis.over(n, size).starts) for n, size in zip(image.shape, window, strict=True)]))
    inputs = torch.randn(batch, 1, *window).contiguous(memory_format=torch.channels_last_3d)

    def bare() -> None:
        with torch.inference_mode(), model.fabric.autocast():
            for _ in range(0, count, batch):
                model.network(inputs)

    def slid(opinions: Opinions | None = None) -> None:
        for _ in slice_scores(model, image, 0, len(image), batch, opinions):
            pass

    hu = np.repeat(np.repeat(image, 2, axis=1), 2, axis=2)
    native = type(case.geometry).canonical(hu.shape, (5.0, 0.75, 0.75))
    model.network.eval()
    times = {"bare_windows": seconds(bare), "windows": seconds(slid)}
    times["windows_mc_dropout_10"] = seconds(lambda: slid(Opinions("dropout", 10)))
    times["to_masks"] = seconds(lambda: predict_bits(model, hu, native, PredictionOptions(batch_size=batch)))
    return times | {"windows_in_the_volume": count}


def main() -> None:
    """Measure and write."""
    recipe = load_recipe("marginal-dice", None, ["network.name=unet3d"])
    plan, fabric = plan_of(recipe), make_fabric(precision=os.environ.get("PRECISION", "auto"))
    with tempfile.TemporaryDirectory() as folder:
        cohort = make_phantom_cohort(Path(folder) / "all", 4, (40, 128, 128))
        store = build_store(cohort, Path(folder) / "cache", StoreOptions())
        times = training(store, plan, fabric)
        times |= prediction(store, model_of(store, plan, fabric), recipe.prediction.batch_size)
    patches = {name: recipe.sampling.batch_size / times[name] for name in ("bare_step", "whole_step")}
    patches |= {name: times["windows_in_the_volume"] / times[name] for name in ("bare_windows", "windows", "to_masks")}
    ratios = {
        "train_unet3d": times["bare_step"] / times["whole_step"],
        "predict_unet3d": times["bare_windows"] / times["windows"],
        "mc_dropout_10": times["windows_mc_dropout_10"] / times["windows"],
    }
    outcome = about("make bench-volumes", ("smiler-seg", "torch", "monai", "numpy")) | {
        "threads": torch.get_num_threads(),
        "patch": list(recipe.sampling.box),
        "precision": fabric._precision.precision,
        "patches_per_second": {name: round(value, 2) for name, value in patches.items()},
        "ratios": {name: round(value, 3) for name, value in ratios.items()},
        "seconds": {name: round(value, 4) for name, value in times.items()},
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(outcome, indent=1) + "\n")
    print(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main()
