"""What every measurement shares: steps timed, a whole prediction timed, peak memory of the process."""

import re
import resource
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from benchmarks.peers.data import facts_of, recipe
from benchmarks.peers.settings import COARSE_MM, ORGANS, WINDOW_HU, Settings

from smiler.networks import build
from smiler.networks.base import SegmentationNet
from smiler.verbs.run import RunFolder


def peaks() -> dict[str, int]:
    """Peak memory in MB of this process, and of the largest process that it started and that has ended."""
    own = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"peak_mb": round(int(own[1]) / 1024) if own else 0, "largest_child_mb": round(children / 1024)}


def images_per_second(batches: Iterable[Any], step: Callable[[Any], object], settings: Settings) -> dict[str, float]:
    """Training as it goes, waiting for data included: from the end of the warm-up to the end of the last step."""
    ends = []
    for batch in batches:
        step(batch)
        ends.append(time.perf_counter())
        if len(ends) == settings.warm + settings.steps:
            break
    return rate(ends, settings)


def rate(ends: list[float], settings: Settings) -> dict[str, float]:
    """From the moments at which steps ended."""
    spent = ends[settings.warm + settings.steps - 1] - ends[settings.warm - 1]
    return {"images_per_s": settings.batch * settings.steps / spent}


def predicted(work: Path, peer: str, network: str, kind: str) -> Path:
    """Where a peer's label map goes."""
    return work / "predicted" / f"{peer}-{network}{'' if kind == 'predict' else f'-{kind}'}"


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Seconds of a whole piece of work."""
    begin = time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - begin}


def fresh_network(work: Path, network: str) -> SegmentationNet:
    """smiler's network for organs and background, channels last, the same for all."""
    torch.manual_seed(Settings.load(work).seed)
    made = build(recipe(work, network, 1).network, len(ORGANS) + 1)
    return made.to(memory_format=torch.channels_last)


def trained_network(work: Path, network: str) -> SegmentationNet:
    """It with the common weights."""
    made = fresh_network(work, network)
    made.load_state_dict(RunFolder(work / "runs" / network).newest().tensors("model"))
    return made.eval()


def autocast(work: Path) -> AbstractContextManager[object]:
    """The common precision."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=facts_of(work)["precision"] == "bf16")


def coarse_yx(work: Path) -> tuple[int, int]:
    """The predicted CT's slices on the coarse grid, in voxels."""
    _, height, width = Settings.load(work).volume_zyx
    factor = float(facts_of(work)["spacing_mm"]) / COARSE_MM
    return round(height * factor), round(width * factor)


def grey_range(work: Path) -> tuple[float, float]:
    """What the ends of the window become: (HU - mean) / sd, smiler's normalisation for all."""
    facts = facts_of(work)
    low, high = ((hu - float(facts["mean"])) / float(facts["sd"]) for hu in WINDOW_HU)
    return low, high
