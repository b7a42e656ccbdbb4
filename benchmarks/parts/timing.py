"""Times of several works, run in turn: what disturbs the machine disturbs all of them alike."""

import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


def in_turn(works: Mapping[str, Callable[[], object]], repeats: int, warm: bool = True) -> dict[str, float]:
    """Median seconds of each work, by name. What a GPU still has to do when a work returns belongs to it."""
    if warm:
        for work in works.values():
            work()
    finish()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            finish()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def finish() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_mb() -> int:
    """The largest memory that this process has had, in MB (Linux)."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) // 1000
