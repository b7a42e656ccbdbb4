"""Device, precision and memory format of a run, through Lightning Fabric."""

import atexit
import os
import time
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from smiler.domain.errors import BadInput
from smiler.networks.memory import keep_freed_memory

PATIENCE = timedelta(hours=4)
"""Processes wait so long for each other: one may have the slowest cases of a relabelling.

Lightning's own half an hour would end a training of a large cohort. A process that hangs is noticed after this time.
"""

_NAMES = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def make_fabric(device: str = "auto", precision: str = "auto", axes: int = 2) -> Fabric:
    """Fabric for a device (auto, cpu, cuda, mps); `auto` takes a GPU if there is one. `axes`: of the convolutions."""
    return _launched(device, precision, axes, {"devices": 1})


def make_training_fabric(device: str, precision: str, devices: int, axes: int = 2) -> Fabric:
    """Fabric for a training: with one process for each that torchrun or SLURM has started, else `devices` of them."""
    each, nodes = _started_by_launcher()
    if each * nodes == 1 and devices == 1:
        return make_fabric(device, precision, axes)
    timed = precision == "auto" and _accelerator(device) == "cpu"  # processes might not agree on what is faster
    strategy = DDPStrategy(timeout=PATIENCE)
    processes = {"devices": each if each * nodes > 1 else devices, "num_nodes": nodes, "strategy": strategy}
    fabric = _launched(device, "32" if timed else precision, axes, processes)
    atexit.register(_leave)
    return fabric


def _leave() -> None:
    """Leave the group while Python is still whole.

    On a CPU nobody else does: a thread of the group that drops its last tensor too late ends the process with an abort,
    and a training that is done is reported as failed (https://github.com/pytorch/pytorch/issues/190489).
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", ""),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "", "SLURM_STEP_NUM_NODES"),
)
"""Variables of torchrun and of srun: this process, all processes, processes on this node, nodes. Those of srun's step,
not of the SLURM job: within a job, without srun, there is one process, however many tasks the job may have."""


def _launched(device: str, precision: str, axes: int, processes: dict[str, Any]) -> Fabric:
    accelerator = _accelerator(device)
    if accelerator == "cpu":
        keep_freed_memory()
    try:
        chosen: Any = _NAMES[precision_of(precision, accelerator, axes)]
        fabric = Fabric(accelerator=accelerator, precision=chosen, **processes)
        fabric.launch()
    except (ValueError, RuntimeError) as error:
        raise BadInput("the device can't be used", where="device", got=f"{device}: {error}", do="take auto") from error
    return fabric


def is_first_process() -> bool:
    """Whether this is the process that speaks and writes for a training in several."""
    started_by_the_first = os.environ.get("LOCAL_RANK", "0") != "0"  # as with training.devices=2 and no launcher
    return _launcher()[0] == 0 and not started_by_the_first


def _started_by_launcher() -> tuple[int, int]:
    """(processes on this node, nodes) that torchrun or srun has started; (1, 1) without either."""
    return _launcher()[1:]


def _launcher() -> tuple[int, int, int]:
    """This process's number among all, processes on a node, nodes."""
    for rank, every, here, nodes in _LAUNCHERS:
        if rank in os.environ and every in os.environ:
            total = int(os.environ[every])
            count = int(os.environ.get(nodes, 1)) if nodes else max(1, total // int(os.environ.get(here, total)))
            return int(os.environ[rank]), total // count, count
    return 0, 1, 1


def channels_last(axes: int) -> torch.memory_format:
    """The fast order of an image in memory, (B, C, *space) with C innermost, for 2 or 3 axes of space."""
    return torch.channels_last if axes == 2 else torch.channels_last_3d


def in_precision(fabric: Fabric, layers: Callable[[], Tensor]) -> Tensor:
    """What some layers of a network give, computed in the fabric's precision, as float32.

    Autocast ends here: losses, probabilities and NumPy, which has no bf16, get float32 alone.
    """
    with fabric.autocast():
        return layers().float()


def precision_used(fabric: Fabric) -> str:
    """The precision that a fabric computes in, as recipes name it."""
    names = {lightning: ours for ours, lightning in _NAMES.items()}
    return names[str(fabric._precision.precision)]  # Lightning has no public name for it


def settled(precision: str, device: str = "auto", axes: int = 2) -> str:
    """The precision that is used on a device: settled once, it is the same for all runs of a comparison."""
    return precision_of(precision, _accelerator(device), axes)


def as_trained(precision: str, device: str) -> str:
    """The precision in which a run's network is used: on a CPU that in which it was trained, if the CPU has it.

    Timed anew for each command, two of them could differ by it, and so could their masks.
    """
    if _accelerator(device) != "cpu" or precision not in {"32", "bf16"}:
        return "auto"
    return precision if precision == "32" or _multiplies_bf16() else "32"


def _multiplies_bf16() -> bool:
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _accelerator(device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def precision_of(wanted: str, accelerator: str, axes: int = 2) -> str:
    """The precision that `auto` stands for: on a GPU bf16 where it has it, on a CPU whichever convolves faster."""
    if wanted == "16" and accelerator == "cpu":
        raise BadInput("a CPU can't train in float16", where="training.precision", got="16", do="take bf16, 32 or auto")
    if wanted != "auto":
        return wanted
    if accelerator == "cpu":
        return _faster_on_cpu(axes)
    if accelerator == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "16"
    return "32"


@cache
def _faster_on_cpu(axes: int) -> str:
    """Some CPUs multiply bf16 several times faster than float32, some list it and are slower: so it is timed."""
    if not _multiplies_bf16():
        return "32"
    seconds = {name: _time_convolution(kind, axes) for name, kind in (("32", torch.float32), ("bf16", torch.bfloat16))}
    return min(seconds, key=lambda name: seconds[name])


def _time_convolution(kind: torch.dtype, axes: int) -> float:
    order, convolution = channels_last(axes), torch.nn.Conv2d if axes == 2 else torch.nn.Conv3d
    width, size = (32, (64, 64)) if axes == 2 else (16, (16, 32, 32))
    layer = convolution(width, width, 3, padding=1, device="cpu", dtype=kind).to(memory_format=order)  # type: ignore[call-overload]
    image = torch.zeros(4, width, *size, dtype=kind).contiguous(memory_format=order)
    times = []
    with torch.inference_mode():
        for _ in range(6):
            begin = time.perf_counter()
            layer(image)
            times.append(time.perf_counter() - begin)
    return min(times[1:])
