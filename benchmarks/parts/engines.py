"""What each engine makes of a network's trunk: seconds a slice of 512x512, in turn, and beside `eager`."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.parts.timing import in_turn
from smiler.domain.errors import BadInput
from smiler.networks import NetworkOptions, build
from smiler.networks.device import make_fabric
from smiler.networks.folded import folded
from smiler.prediction.engines import ENGINES, Trunk
from smiler.prediction.options import PredictionOptions

SIZE, BATCH = 512, PredictionOptions().batch_size
NETWORKS: Mapping[str, NetworkOptions] = {
    "deeplab34": NetworkOptions(name="deeplab", depth=34),
    "unet": NetworkOptions(name="unet"),
}
OUTPUTS = 9


@dataclass(frozen=True)
class Tried:
    """Engines that run, with the seconds of their first call; and why the others don't."""

    trunks: Mapping[str, Trunk]
    first_call: Mapping[str, float]
    missing: Mapping[str, str]


def engines(size: int = SIZE, batch: int = BATCH, repeats: int = 3) -> dict[str, dict[str, object]]:
    """network -> seconds a slice, the same as a share of eager's, seconds of each first call, what is missing."""
    return {name: _measured(options, torch.zeros(batch, 1, size, size), repeats) for name, options in NETWORKS.items()}


def _measured(options: NetworkOptions, images: Tensor, repeats: int) -> dict[str, object]:
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        tried = _tried(options, images)
        works: dict[str, Callable[[], Tensor]] = {name: partial(run, images) for name, run in tried.trunks.items()}
        spent = {name: seconds / len(images) for name, seconds in in_turn(works, repeats, warm=False).items()}
    return {
        "seconds_a_slice": {name: round(value, 4) for name, value in spent.items()},
        "over_eager": {name: round(value / spent["eager"], 3) for name, value in spent.items()},
        "first_call_s": {name: round(value, 1) for name, value in tried.first_call.items()},
        "missing": dict(tried.missing),
    }


def _tried(options: NetworkOptions, images: Tensor) -> Tried:
    torch.manual_seed(0)
    fabric = make_fabric("cpu", "32")
    network = folded(build(options, OUTPUTS)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trunks, first, missing = {}, {}, {}
    for name, make in ENGINES.items():
        begin = time.perf_counter()
        try:
            trunk = make(network, fabric)
            trunk(images)
        except BadInput as error:
            missing[name] = str(error)
        else:
            trunks[name], first[name] = trunk, time.perf_counter() - begin
    return Tried(trunks, first, missing)
