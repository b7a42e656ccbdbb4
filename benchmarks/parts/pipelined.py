"""Several CT predicted one after the other, and with the next one read and the last one written meanwhile.

python -m benchmarks.parts.pipelined COHORT     # of CT of 512x512 or so; prints its own seconds and ratios

Twice: with the network on the CPU, where reading and writing compete with it for the cores; and with a stand-in for a
GPU, which is a wait as long as the network took, and no more than that (see `make bench-gpu`). What the wait leaves of
the network is its last layer; all else is the real thing on the CPU. A ResNet-18: the ends weigh more than beside a 34.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor, channels_last, inference_mode, zeros

from benchmarks.parts.painted import Painted, Subject, subject
from benchmarks.parts.timing import in_turn
from smiler.domain.cohort import Cohort
from smiler.domain.geometry import Geometry
from smiler.formats.nifti import write_ct
from smiler.verbs.predict import PredictImage, PredictRequest, predict
from smiler.workers.base import InProcess, Workers
from smiler.workers.pipelined import Pipelined

COUNT, SLICES = 4, 30


class Waiting(Painted):
    """A painted network that waits instead of computing: `seconds` for each image of a batch, with the CPU free."""

    def __init__(self, painted: Painted, seconds: float, features: Tensor) -> None:
        super().__init__(painted.inner, painted.masks.numpy())
        self.seconds, self.features = seconds, features

    def extract(self, image: Tensor) -> Tensor:
        time.sleep(self.seconds * len(image))
        return self.features.expand(len(image), -1, -1, -1)


def waiting(one: Subject) -> Subject:
    """The same subject without the network's own work."""
    image = _batch(one)
    with inference_mode():
        batch = one.model.trunk(image)
        seconds = in_turn({"trunk": lambda: one.model.trunk(image)}, 3)["trunk"] / len(batch)
    return replace(one, model=replace(one.model, network=Waiting(one.model.network, seconds, batch[:1])))


def _batch(one: Subject) -> Tensor:
    shape = [-(-n // 16) * 16 for n in one.image.shape[1:]]
    return zeros(8, 1, *shape).contiguous(memory_format=channels_last)


def pipelining(cohort: Cohort, folder: Path, repeats: int) -> dict[str, float]:
    """Seconds of COUNT CT on the CPU (`cpu_*`) and with the stand-in (`wait_*`), and of both ends without a network."""
    computed = subject(cohort, 1.5, depth=18)
    images = [_ct(computed, folder / f"ct{number}.nii.gz", number) for number in range(COUNT)]
    waited = waiting(computed)
    works = {
        f"{name}_{kind}": _predicting(one, images, folder / "masks", workers)
        for name, one in {"cpu": computed, "wait": waited}.items()
        for kind, workers in {"serial": InProcess(), "pipelined": Pipelined()}.items()
    }
    return in_turn(works | _ends(waited, images, folder), repeats, warm=False)


def _ct(one: Subject, path: Path, number: int) -> Path:
    """SLICES of the subject's CT, each time others first."""
    hu = np.roll(one.ct.hu, 7 * number, axis=0)[:SLICES]
    write_ct(path, hu, Geometry.canonical(hu.shape, one.ct.geometry.spacing))
    return path


def _predicting(one: Subject, images: list[Path], out: Path, workers: Workers) -> Callable[[], None]:
    def run() -> None:
        shutil.rmtree(out, ignore_errors=True)
        one.model.network.at = 0
        predict(one.model, images, PredictRequest(out), workers=workers)

    return run


def _ends(one: Subject, images: list[Path], folder: Path) -> dict[str, Callable[[], object]]:
    """Reading alone, and writing alone, of what is not finished yet."""
    reading, writing = (PredictImage(one.model, PredictRequest(folder / name)) for name in ("never", "ends"))
    items = [(path.name, path) for path in images]
    made = [writing.compute(reading.read(item)) for item in items]
    return {
        "read": lambda: [reading.read(item) for item in items],
        "write": lambda: [writing.write(masks) for masks in made],
    }


def pipelined_ratios(seconds: dict[str, float]) -> dict[str, float]:
    """Below 1 it helps on this CPU; of reading and writing all but the first and the last could be hidden (1)."""
    could = (seconds["read"] + seconds["write"]) * (COUNT - 1) / COUNT
    return {
        "predict_pipelined_over_serial": seconds["cpu_pipelined"] / seconds["cpu_serial"],
        "predict_pipelined_hidden_share": (seconds["wait_serial"] - seconds["wait_pipelined"]) / could,
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        measured = pipelining(Cohort.open(Path(sys.argv[1])), Path(temporary), 2)
    print(json.dumps({"seconds": measured, "ratios": pipelined_ratios(measured)}, indent=1))
