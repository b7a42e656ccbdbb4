"""Checkpoints: tensors as safetensors, everything else as JSON, both with hashes. Nothing is ever unpickled.

The JSON file is written last and names its tensor files by content, so that a checkpoint is there whole or not at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from smiler.domain.errors import BadInput
from smiler.domain.files import as_os_error, read_json, replacing, sha256, write_json
from smiler.domain.shaped import as_shape

FORMAT = 1
Tensors = Mapping[str, Tensor]
PICKLED = frozenset({".pt", ".pth", ".ckpt", ".bin", ".pkl"})


Name = Annotated[str, Field(max_length=200)]
Count = Annotated[int, Field(ge=0, lt=2**53)]


@dataclass(frozen=True)
class _Table:
    """What `save_checkpoint` writes."""

    format: Literal[1]
    step: Count
    steps: Count
    files: dict[str, tuple[Name, str]]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A trained (or half trained) network on disk. `facts` holds what is needed to use it: organs, options, scales."""

    path: Path
    step: int
    steps: int
    facts: Mapping[str, Any]
    files: Mapping[str, tuple[str, str]]

    @property
    def finished(self) -> bool:
        """Whether its training came to its end."""
        return self.step >= self.steps

    @property
    def stage(self) -> int:
        """The round whose training it is of; BadInput for what is no number of one."""
        return as_shape(self.facts.get("stage", 0), Count, f"{self.path}, facts.stage")

    @property
    def model_hash(self) -> str:
        """sha256 of the weights."""
        return self.files["model"][1]

    def tensors(self, part: str) -> dict[str, Tensor]:
        """The tensors of 'model', 'last' or 'optimizer'; BadInput unless file and hash agree."""
        if part not in self.files:
            raise BadInput(f"the checkpoint has no {part}", where=str(self.path), do="begin a new run")
        name, expected = self.files[part]
        path = self.path.parent / name
        if not path.is_file():
            raise BadInput("the checkpoint's tensors are missing", where=str(path))
        if sha256(path) != expected:
            raise BadInput(
                "the checkpoint's tensors are not those that were saved (wrong hash)",
                where=str(path),
                got=sha256(path)[:12],
                do="copy the run folder again",
            )
        try:
            return load_file(path)
        except (SafetensorError, ValueError, OSError) as error:
            raise BadInput("not a safetensors file", where=str(path), got=str(error)) from error


def save_checkpoint(
    folder: Path, step: int, steps: int, facts: Mapping[str, Any], parts: Mapping[str, Tensors]
) -> Path:
    """Save tensors and facts under `folder`; older checkpoints there go once the new one is safe."""
    files = {}
    for part, tensors in parts.items():
        name = f"step-{step:07d}.{part}.safetensors"
        with replacing(folder / name) as temporary, as_os_error(SafetensorError):
            save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, temporary)
        files[part] = (name, sha256(folder / name))
    path = folder / f"step-{step:07d}.json"
    write_json(path, {"format": FORMAT, "step": step, "steps": steps, "files": files, "facts": dict(facts)})
    for old in folder.glob("step-*"):
        if not old.name.startswith(f"step-{step:07d}."):
            old.unlink(missing_ok=True)
    return path


def find_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint in a folder of them, if any."""
    found = sorted(folder.glob("step-*.json"))
    return read_checkpoint(found[-1]) if found else None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint's JSON; its tensors are read, and their hashes checked, when asked for."""
    if path.suffix.lower() in PICKLED:
        raise BadInput(
            "a pickled checkpoint is never loaded: it could run any program",
            where=str(path),
            do="give the run folder, or the .json beside the .safetensors files",
        )
    value = read_json(path)
    try:
        table = as_shape(value, _Table, "in it")
        table.files["model"]
    except (BadInput, KeyError) as error:
        raise BadInput("not a checkpoint of smiler", where=str(path), got=str(error)) from error
    files = {part: (Path(name).name, digest) for part, (name, digest) in table.files.items()}
    return Checkpoint(path, table.step, table.steps, table.facts, files)


def load_weights(network: torch.nn.Module, checkpoint: Checkpoint, part: str = "model") -> None:
    """Put the checkpoint's weights into a network; keys, shapes and finiteness are checked before anything changes."""
    tensors = checkpoint.tensors(part)
    own = network.state_dict()
    where = str(checkpoint.path)
    wrong = sorted(set(own) ^ set(tensors))
    if wrong:
        raise BadInput("the weights belong to another network (keys differ)", where=where, got=", ".join(wrong[:3]))
    for key, value in tensors.items():
        if value.shape != own[key].shape:
            got = f"{tuple(value.shape)} instead of {tuple(own[key].shape)}"
            raise BadInput("the weights belong to another network (shapes differ)", where=f"{where}, {key}", got=got)
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise BadInput("the weights are not finite", where=f"{where}, {key}", do="take an earlier checkpoint")
    network.load_state_dict(tensors)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as flat tensors: 'parameter number.name'."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(value) for i, values in state.items() for name, value in values.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Put flat tensors back into an optimiser of the same parameters.

    Each lies in memory as its parameter does: a fused optimiser walks both as they lie and asks nothing.
    """
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        k = int(number) if name and number.isdecimal() else len(parameters)
        if k >= len(parameters) or (value.ndim and value.shape != parameters[k].shape):
            raise BadInput("the optimiser's state belongs to another network", where="checkpoint", got=key)
        state.setdefault(k, {})[name] = _laid_as(parameters[k], value) if value.ndim else value
    full = optimizer.state_dict()
    full["state"] = state
    optimizer.load_state_dict(full)


def _laid_as(like: Tensor, value: Tensor) -> Tensor:
    return torch.empty_like(like, dtype=value.dtype, device=value.device).copy_(value)
