"""Device, precision and memory format of a run, through Lightning Fabric."""

import os
import time
from functools import cache
from typing import Any

import torch
from lightning_fabric import Fabric

from smiler.domain.errors import BadInput

_NAMES = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def make_fabric(device: str = "auto", precision: str = "auto", devices: int = 1) -> Fabric:
    """Fabric for a device (auto, cpu, cuda, mps); `auto` takes a GPU if there is one."""
    return _launched(device, precision, {"devices": devices} if devices == 1 else {"devices": devices, **_DDP})


def make_training_fabric(device: str, precision: str, devices: int) -> Fabric:
    """Fabric for a training: with one process for each that torchrun or SLURM has started, else `devices` of them."""
    each, nodes = _started_by_launcher()
    if each * nodes == 1 and devices == 1:
        return make_fabric(device, precision)
    wanted = (
        "32" if precision == "auto" and _accelerator(device) == "cpu" else precision
    )  # timings may differ by process
    return _launched(device, wanted, {"devices": each if each * nodes > 1 else devices, "num_nodes": nodes, **_DDP})


_DDP = {"strategy": "ddp"}
_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"),
)


def _launched(device: str, precision: str, processes: dict[str, Any]) -> Fabric:
    accelerator = _accelerator(device)
    try:
        chosen: Any = _NAMES[precision_of(precision, accelerator)]
        fabric = Fabric(accelerator=accelerator, precision=chosen, **processes)
        fabric.launch()
    except (ValueError, RuntimeError) as error:
        raise BadInput("the device can't be used", where="device", got=f"{device}: {error}", do="take auto") from error
    return fabric


def is_first_process() -> bool:
    """Whether this is the process that speaks and writes for a training in several."""
    return all(os.environ.get(rank, "0") == "0" for rank, _, _ in _LAUNCHERS)


def _started_by_launcher() -> tuple[int, int]:
    """(processes on this node, nodes) that torchrun, or srun in a SLURM job, has started; (1, 1) without either."""
    for rank, every, here in _LAUNCHERS:
        if rank in os.environ and every in os.environ:
            total = int(os.environ[every])
            each = int(os.environ.get(here, "") or total)
            return each, max(1, total // each)
    return 1, 1


def settled(precision: str, device: str = "auto") -> str:
    """The precision that is used on a device: settled once, it is the same for all runs of a comparison."""
    return precision_of(precision, _accelerator(device))


def _accelerator(device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def precision_of(wanted: str, accelerator: str) -> str:
    """The precision that `auto` stands for: on a GPU bf16 where it has it, on a CPU whichever convolves faster."""
    if wanted != "auto":
        return wanted
    if accelerator == "cpu":
        return _faster_on_cpu()
    if accelerator == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "16"
    return "32"


@cache
def _faster_on_cpu() -> str:
    """Some CPUs multiply bf16 several times faster than float32, some list it and are slower: so it is timed."""
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if not (able.get("avx512_bf16") or able.get("amx_bf16")):
        return "32"
    seconds = {name: _time_convolution(kind) for name, kind in (("32", torch.float32), ("bf16", torch.bfloat16))}
    return min(seconds, key=lambda name: seconds[name])


def _time_convolution(kind: torch.dtype) -> float:
    layer = torch.nn.Conv2d(32, 32, 3, padding=1, device="cpu", dtype=kind).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.zeros(4, 32, 64, 64, dtype=kind).contiguous(memory_format=torch.channels_last)
    times = []
    with torch.inference_mode():
        for _ in range(6):
            begin = time.perf_counter()
            layer(image)
            times.append(time.perf_counter() - begin)
    return min(times[1:])
