"""torch.compile for the trunk of a network that is being trained."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from torch import Tensor

from smiler.domain.errors import BadInput
from smiler.networks.base import SegmentationNet


@contextmanager
def trunk_compiled(network: SegmentationNet, fabric: Fabric) -> Iterator[None]:
    """Compile the trunk for as long as it is trained; afterwards the network is as it was, and so are its keys always.

    Dropout, head and loss stay as they are, so that every draw is the one of a training without. The first step waits
    for the compiler. Without the compiler's own CUDA graphs: the whole step is recorded as one (`training.recorded`).
    """
    if fabric.world_size > 1:
        got, do = f"{fabric.world_size} processes", "leave it false: shared batch statistics can't be compiled"
        raise BadInput("only a training in one process is compiled", where="training.compile", got=got, do=do)
    run = torch.compile(network.extract, dynamic=False)

    def extract(image: Tensor) -> Tensor:
        try:
            return run(image)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            do = "install g++ or clang, or leave it false"
            raise BadInput(
                "it needs a C++ compiler", where="training.compile", got=_first_line(error), do=do
            ) from error

    network.extract = extract  # type: ignore[method-assign]  # of this network, not of its class
    try:
        yield
    finally:
        del network.extract


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
