"""Pretrained ImageNet weights: read from a local file, checked against the backbone, then loaded.

Nothing in the file is ever executed: safetensors holds tensors only, and a torch file is read with weights_only, which
refuses any pickle that names something else than tensors and plain containers.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from smiler.domain.errors import BadInput

FIRST = "conv1.weight"
SHOWN = 3


def load_backbone(backbone: nn.Module, path: Path) -> None:
    """Fill `backbone` (a ResNet) with the ImageNet weights at `path`, the first convolution adapted to its channels.

    The classifier `fc.*` is ignored, and a BatchNorm's step counter may be missing, as it is in old checkpoints.

    Raises:
        BadInput: the file is missing, unreadable, not tensors alone, or does not fit the backbone.
    """
    own = backbone.state_dict()
    given = {name: tensor for name, tensor in read_tensors(path).items() if not name.startswith("fc.")}
    if FIRST in given and given[FIRST].ndim == 4:
        given[FIRST] = adapt_channels(given[FIRST], own[FIRST].shape[1])
    counters = {name: tensor for name, tensor in own.items() if name.endswith(".num_batches_tracked")}
    given = counters | given
    if faults := list_faults(own, given):
        raise BadInput(
            "the weights do not fit the ResNet backbone",
            where=str(path),
            got="; ".join(faults),
            do="give ImageNet weights of the same depth, with the usual names (conv1.weight, layer1.0.conv1.weight)",
        )
    backbone.load_state_dict(given)


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """(O, RGB, k, k) -> (O, channels, k, k): the sum over the colours, shared equally among the channels.

    An image whose channels are all the same then gets the response that a grey RGB image gets.
    """
    grey = weight.sum(dim=1, keepdim=True) / channels
    return grey.expand(-1, channels, -1, -1)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every named tensor in a .safetensors, .pt or .pth file.

    Raises:
        BadInput: no such file, another suffix, damaged, or holding something else than named tensors.
    """
    if path.suffix not in {".safetensors", ".pt", ".pth"}:
        raise BadInput(
            "weights are read from .safetensors, .pt and .pth files only",
            where=str(path),
            got=path.suffix or "no suffix",
            do="save the state dict with safetensors.torch.save_file",
        )
    try:
        if path.suffix == ".safetensors":
            content: object = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # on damaged bytes torch raises anything, from struct.error to AssertionError
        raise unreadable(path, f"{type(fault).__name__}: {first_line(fault)}") from fault
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise unreadable(path, f"a {type(content).__name__} that is not a dict of tensors alone")
    return {str(name): tensor for name, tensor in content.items()}


def unreadable(path: Path, got: str) -> BadInput:
    """The one error for a file that cannot be read as named tensors."""
    return BadInput(
        "the file of weights cannot be read as named tensors",
        where=str(path),
        got=got,
        do="give a local state dict that holds tensors only; anything else is never unpickled",
    )


def first_line(fault: Exception) -> str:
    """The first line of an error's text; torch adds a page of advice about unpickling files we would not trust."""
    return (str(fault).splitlines() or ["no details"])[0]


def list_faults(own: dict[str, Tensor], given: dict[str, Tensor]) -> list[str]:
    """What keeps `given` from being loaded into `own`, at most one line for each kind, with the first names."""
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    misshapen = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in given and given[name].shape != own[name].shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "wrong shape": misshapen}
    return [f"{len(names)} {kind}: {', '.join(names[:SHOWN])}" for kind, names in kinds.items() if names]
