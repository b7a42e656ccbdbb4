"""Speed of training, prediction and what is around them, as shares of the network's own time in the same run.

    make bench       # results/bench/latest.json, and the same under results/bench/runs/

The network on a batch that is already there is the floor; everything else is overhead. Works that are compared run in
turn; medians of repeated runs on synthetic cohorts. Ratios travel between machines, seconds don't. Masks on disk are
compared with a float32 reference (agreement), and the engines of prediction with each other.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import about
from benchmarks.parts import predicting
from benchmarks.parts.agreement import agreement, told
from benchmarks.parts.engines import engines
from benchmarks.parts.painted import ORGANS, subject
from benchmarks.parts.peak import peak_of
from benchmarks.parts.pipelined import pipelined_ratios, pipelining
from benchmarks.parts.timing import in_turn
from benchmarks.parts.training import training_step
from benchmarks.runs import keep
from smiler.domain.cohort import Cohort
from smiler.evaluation.scores import Measured, score_case
from smiler.evaluation.truth import Truth
from smiler.experiments.hide import hide
from smiler.experiments.phantom_cohort import make_phantom_cohort
from smiler.recipe.recipe import load_recipe
from smiler.selection.propose import Selection, select
from smiler.store.store import Store, StoreOptions, build_store
from smiler.verbs.train import select_organs


def limits() -> dict[str, float]:
    """What this machine can do: GFLOP/s of a large convolution."""
    found = {}
    for name, kind in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        layer = torch.nn.Conv2d(128, 128, 3, padding=1, dtype=kind).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        image = torch.zeros(8, 128, 128, 128, dtype=kind).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            seconds = in_turn({"conv": lambda layer=layer, image=image: layer(image)}, 9)["conv"]
        found[f"conv_{name}_gflops"] = 2 * 9 * 128 * 128 * 8 * 128 * 128 / seconds / 1e9
    return found


def training_store(full: Cohort, folder: Path) -> Store:
    """Phantoms with half of their annotations hidden, eight organs."""
    keys = full.organs.keys[:ORGANS]
    chosen = select_organs(full, load_recipe("smile", None, [f"organs={list(keys)!r}".replace("'", '"')]))
    return build_store(hide(chosen, folder / "hidden", 0.5), folder / "cache", StoreOptions())


def trained(store: Store) -> dict[str, dict[str, float]]:
    """Steps of both networks; of the U-Net with the default method's loss, too."""
    cases = {"unet": ("smile", "unet"), "deeplab": ("smile", "deeplab"), "unet_smiler": ("smiler", "unet")}
    return {name: training_step(store, *case) for name, case in cases.items()}


def evaluation(cohort: Cohort) -> dict[str, float]:
    """Dice, NSD and HD95 of eight organs of one CT, the prediction moved by a slice and two voxels."""
    one = subject(cohort, "native", depth=18)
    bits = predicting.predict_bits(one.model, one.ct.hu, one.ct.geometry, predicting.PredictionOptions())
    moved = np.roll(bits, (1, 2), axis=(0, 2))
    measured = Measured(moved, one.model.organs, one.ct.geometry)
    truth = Truth(cohort)
    return in_turn({"evaluate_case": lambda: score_case(truth, cohort.cases[0], measured)}, 3)


def selection() -> dict[str, float]:
    """The safest half of a million candidates among thirteen million voxels; the limit is one pass over the ranks."""
    rng = np.random.default_rng(0)
    rank = rng.standard_normal((50, 512, 512)).astype(np.float32)
    candidate = rank > 1.4
    works = {"select": lambda: select(candidate, rank, Selection(0.5)), "one_pass": lambda: rank[candidate].sum()}
    return in_turn(works, 5)


def ratios(steps: dict[str, dict[str, float]], seconds: dict[str, dict[str, float]]) -> dict[str, float]:
    """What travels between machines."""
    found = {f"train_{name}": step["bare_step"] / step["whole_step"] for name, step in steps.items()}
    unet, mc, relabel = steps["unet"], seconds["monte_carlo"], seconds["relabel"]
    native, usual = seconds["predict_native"], seconds["predict_1.5mm"]
    return (
        found
        | pipelined_ratios(seconds["pipelined"])
        | {
            "target_share_of_step": unet["targets_and_loss"] / unet["whole_step"],
            "target_share_of_step_deeplab": steps["deeplab"]["targets_and_loss"] / steps["deeplab"]["whole_step"],
            "target_share_of_step_smiler": steps["unet_smiler"]["targets_and_loss"]
            / steps["unet_smiler"]["whole_step"],
            "predict_end_to_end": native["end_to_end"] / native["network"],
            "predict_end_to_end_1.5mm": usual["end_to_end"] / usual["network"],
            "mc_dropout_10": mc["mc_dropout_10"] / mc["single_pass"],
            "relabel_over_predict": relabel["relabel"] / relabel["predict"],
            "relabel_safest_half_over_predict": relabel["relabel_safest_half"] / relabel["predict"],
            "read_over_unpacking": seconds["files"]["read_ct"] / seconds["files"]["unpack_isal"],
        }
    )


def rounded(values: dict[str, float], digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in values.items()}


def measured(place: Path) -> dict[str, Any]:
    """Everything, in a folder that is thrown away."""
    large = make_phantom_cohort(place / "large", 1, (100, 512, 512))
    small = make_phantom_cohort(place / "small", 6, (32, 256, 256))
    peaks = {
        "predict_512x512x100": peak_of(large.folder, 1.5, 100),
        "predict_512x512x100_native": peak_of(large.folder, "native", 100),
        "predict_512x512x600": peak_of(large.folder, 1.5, 600),
    }
    steps = trained(training_store(small, place))
    seconds = around(large, place)
    return {
        "limits": rounded(limits(), 0),
        "ratios": rounded(ratios(steps, seconds), 3),
        "agreement": told(agreement(small, large, place / "agreement")),
        "engines": engines(),
        "seconds": {name: rounded(values, 4) for name, values in (steps | seconds).items()},
        "peak_mb": peaks,
    }


def around(large: Cohort, place: Path) -> dict[str, dict[str, float]]:
    """Prediction, relabelling and what else is done with a CT of 512x512x100."""
    native, usual = subject(large, "native"), subject(large, 1.5)
    return {
        "predict_native": predicting.prediction(native, place / "out", 2),
        "predict_1.5mm": predicting.prediction(usual, place / "out", 4),
        "relabel": predicting.relabelling(usual, place / "out", 3),
        "monte_carlo": predicting.monte_carlo(subject(large, 1.5, depth=18), 4),
        "files": predicting.files(usual, place, 5),
        "evaluate": evaluation(large),
        "select": selection(),
        "pipelined": pipelining(large, place, 2),
    }


def main() -> None:
    """Measure and keep."""
    begin = time.monotonic()
    head = about("make bench", ("smiler-seg", "torch", "monai", "numpy", "onnxruntime"))
    with tempfile.TemporaryDirectory() as folder:
        outcome = head | {"precision": "float32"} | measured(Path(folder))
    outcome["took_minutes"] = round((time.monotonic() - begin) / 60, 1)
    keep(outcome)
    print(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main()
