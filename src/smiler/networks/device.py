"""Device, precision and memory format of a run, through Lightning Fabric."""

from typing import Any

import torch
from lightning_fabric import Fabric

from smiler.domain.errors import BadInput

_NAMES = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def make_fabric(device: str = "auto", precision: str = "auto", devices: int = 1) -> Fabric:
    """Fabric for a device (auto, cpu, cuda, mps); `auto` takes a GPU if there is one."""
    accelerator = device
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen: Any = _NAMES[precision_of(precision, accelerator)]
        fabric = Fabric(accelerator=accelerator, devices=devices, precision=chosen)
        fabric.launch()
    except (ValueError, RuntimeError) as error:
        raise BadInput("the device can't be used", where="device", got=f"{device}: {error}", do="take auto") from error
    return fabric


def precision_of(wanted: str, accelerator: str) -> str:
    """The precision that `auto` stands for: bf16 wherever the hardware multiplies it."""
    if wanted != "auto":
        return wanted
    if accelerator == "cpu":
        able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "32"
    if accelerator == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "16"
    return "32"
