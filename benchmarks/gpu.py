"""Speed on a GPU: training and prediction as shares of the network's own time there, in bf16.

    make bench-gpu       # results/bench/gpu.json

`train_*`: the network's step as PyTorch runs it, over a training's; `*_recorded`: the same network's step recorded as
a CUDA graph, which is the GPU's own time. Prediction can't be faster than unpacking the file. Steps are timed in
bursts, and the GPU is waited for at the end of each: a run, too, queues work ahead of it. Works that are compared run
in turn; medians. The CPU's figures are `make bench`.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.bench import rounded, training_store
from benchmarks.machine import about
from benchmarks.parts import predicting
from benchmarks.parts.painted import Subject, subject
from benchmarks.parts.pipelined import _ct
from benchmarks.parts.timing import in_turn
from benchmarks.parts.training import Steps, training_step
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.files import write_text
from smiler.experiments.phantom_cohort import make_phantom_cohort
from smiler.formats.volumes import content
from smiler.store.store import Store
from smiler.verbs.predict import PredictImage, PredictRequest, predict
from smiler.workers.base import InProcess
from smiler.workers.pipelined import Pipelined

OUT = Path(__file__).parents[1] / "results" / "bench" / "gpu.json"
BURST, REPEATS, BATCHES, COUNT = 30, 5, (8, 32), 4


def limits() -> dict[str, float]:
    """What this GPU can do: TFLOP/s of a large convolution in bf16."""
    layer = torch.nn.Conv2d(512, 512, 3, padding=1, dtype=torch.bfloat16).cuda().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.randn(32, 512, 64, 64, dtype=torch.bfloat16, device="cuda").contiguous(
        memory_format=torch.channels_last
    )
    with torch.inference_mode():
        seconds = in_turn({"conv": lambda: [layer(image) for _ in range(20)]}, 5)["conv"] / 20
    return {"conv_bf16_tflops": 2 * 9 * 512 * 512 * 32 * 64 * 64 / seconds / 1e12}


def training(store: Store) -> dict[str, dict[str, float]]:
    """Steps of both networks, of small and of large batches; `compiled_step`: with `training.compile`."""
    found = {}
    for network in ("unet", "deeplab"):
        for batch in BATCHES:
            how = Steps(batch=batch, precision="auto", burst=BURST, repeats=REPEATS)
            found[f"train_{network}_{batch}"] = training_step(store, "smile", network, how)
        compiled = training_step(store, "smile", network, replace(how, compile=True))
        found[f"train_{network}_{batch}"]["compiled_step"] = compiled["whole_step"]
    return found


def stages(one: Subject, place: Path) -> dict[str, float]:
    """Where the time of one CT goes: reading, the network and what is made of its scores, writing."""
    path = one.cohort.image_path(one.cohort.cases[0])
    work, item = PredictImage(one.model, PredictRequest(place)), ("ct", path)
    read = work.read(item)
    made = work.compute(read)
    works = {
        "hash": lambda: content(path),
        "read": lambda: work.read(item),
        "compute": lambda: work.compute(read),
        "write": lambda: work.write(made),
    }
    return in_turn(works, 5)


def several(one: Subject, place: Path) -> dict[str, float]:
    """Four CT, one after the other, and with reading and writing beside the network."""
    images = [_ct(one, place / f"ct{number}.nii.gz", number) for number in range(COUNT)]

    def run(workers: InProcess | Pipelined) -> Callable[[], None]:
        def work() -> None:
            shutil.rmtree(place / "several", ignore_errors=True)
            one.model.network.at = 0
            predict(one.model, images, PredictRequest(place / "several"), workers=workers)

        return work

    return in_turn({"serial": run(InProcess()), "pipelined": run(Pipelined())}, 3)


def predicted(large: Cohort, place: Path) -> dict[str, dict[str, float]]:
    """A CT of 512x512x100 on its own grid and over 1.5 mm."""
    native, usual = (subject(large, grid, precision="auto") for grid in ("native", 1.5))
    return {
        "predict_native": predicting.prediction(native, place / "out", 3),
        "predict_1.5mm": predicting.prediction(usual, place / "out", 3),
        "relabel": predicting.relabelling(usual, place / "out", 3),
        "monte_carlo": predicting.monte_carlo(usual, 5),
        "several": several(usual, place),
        "stages_native": stages(native, place / "native"),
        "stages_1.5mm": stages(usual, place / "usual"),
        "files": predicting.files(usual, place, 3),
    }


def ratios(seconds: dict[str, dict[str, float]]) -> dict[str, float]:
    """What is compared with what is asked of the CPU."""
    found = {
        name: step["bare_step"] / step["whole_step"] for name, step in seconds.items() if name.startswith("train_")
    }
    recorded = {
        f"{name}_recorded": step["bare_recorded"] / step["whole_step"]
        for name, step in seconds.items()
        if name.startswith("train_")
    }
    compiled = {
        f"{name}_compiled": step["bare_step"] / step["compiled_step"]
        for name, step in seconds.items()
        if "compiled_step" in step
    }
    native, usual, mc = seconds["predict_native"], seconds["predict_1.5mm"], seconds["monte_carlo"]
    return (
        found
        | recorded
        | compiled
        | {
            "predict_over_unpacking_and_network": native["end_to_end"]
            / (native["network"] + seconds["files"]["unpack_isal"]),
            "predict_over_unpacking_and_network_1.5mm": usual["end_to_end"]
            / (usual["network"] + seconds["files"]["unpack_isal"]),
            "predict_end_to_end": native["end_to_end"] / native["network"],
            "predict_end_to_end_1.5mm": usual["end_to_end"] / usual["network"],
            "mc_dropout_10": mc["mc_dropout_10"] / mc["single_pass"],
            "relabel_over_predict": seconds["relabel"]["relabel"] / seconds["relabel"]["predict"],
            "pipelined_over_serial": seconds["several"]["pipelined"] / seconds["several"]["serial"],
        }
    )


def measured(place: Path) -> dict[str, Any]:
    """Everything, in a folder that is thrown away."""
    large = make_phantom_cohort(place / "large", 1, (100, 512, 512))
    small = make_phantom_cohort(place / "small", 6, (32, 256, 256))
    told: dict[str, Any] = {"limits": rounded(limits(), 0)}
    print(json.dumps(told), flush=True)
    seconds = training(training_store(small, place))
    print(json.dumps(seconds), flush=True)
    seconds |= predicted(large, place)
    return told | {
        "ratios": rounded(ratios(seconds), 3),
        "seconds": {name: rounded(values, 5) for name, values in seconds.items()},
        "peak_gpu_mb": round(torch.cuda.max_memory_allocated() / 1e6),
    }


def main(out: Path = OUT) -> None:
    """Measure and keep."""
    if not torch.cuda.is_available():
        raise BadInput("there is no GPU that PyTorch can use", where="make bench-gpu", do="make bench, on the CPU")
    begin = time.monotonic()
    outcome = about("make bench-gpu", ("smiler-seg", "torch", "monai", "numpy")) | {"precision": "auto"}
    with tempfile.TemporaryDirectory() as folder:
        outcome |= measured(Path(folder))
    outcome["took_minutes"] = round((time.monotonic() - begin) / 60, 1)
    text = json.dumps(outcome, indent=1)
    write_text(out, text + "\n")
    print(text)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
