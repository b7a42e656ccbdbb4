"""A training step recorded as a CUDA graph: replayed for each batch, without Python between the GPU's kernels.

A small network's kernels are shorter than the time that Python takes to start them. Recorded once, they follow each
other; what a step computes, and from which random numbers, stays the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from smiler.domain.evidence import Fields
from smiler.networks.base import ChannelDropout
from smiler.sampling.augment import Batch

WARM_UP = 3
"""Steps before the recording: libraries choose their kernels, and optimisers make their state, in the first ones."""

Work = Callable[[Batch], Tensor]
"""One optimiser step on a batch; its loss, a scalar."""


def recordable(device: torch.device, precision: str, processes: int) -> bool:
    """Whether a step can be recorded: on one GPU, and without a scale of gradients that Python looks at."""
    return device.type == "cuda" and processes == 1 and precision != "16"


@dataclass
class _Recording:
    graph: torch.cuda.CUDAGraph
    batch: Batch
    loss: Tensor


class Recorded:
    """A step that is recorded after WARM_UP plain ones. Batches must be of one shape.

    Where recording fails (a network or a loss that asks the GPU for values), steps stay plain; `why` tells.
    """

    def __init__(self, network: nn.Module, work: Work) -> None:
        self.work, self.steps = work, 0
        self.lane: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.dropouts = [each for each in network.modules() if isinstance(each, ChannelDropout) and each.p]
        self.recording: _Recording | None = None
        self.why = ""

    def __call__(self, batch: Batch) -> Tensor:
        """The loss of one step."""
        self.steps += 1
        if self.recording is None and not self.why and self.steps > WARM_UP:
            self._record(batch)
        if self.recording is None:
            return self._plain(batch)
        for mine, given in zip(self.recording.batch.tensors, batch.tensors, strict=True):
            mine.copy_(given)
        self._draw()
        self.recording.graph.replay()
        return self.recording.loss.clone()

    def _plain(self, batch: Batch) -> Tensor:
        """On a stream of its own, as the recording will be."""
        here = torch.cuda.current_stream()
        self.lane.wait_stream(here)
        with torch.cuda.stream(self.lane):
            loss = self.work(batch)
        here.wait_stream(self.lane)
        loss.record_stream(here)
        for tensor in batch.tensors:
            tensor.record_stream(self.lane)
        return loss

    def _record(self, batch: Batch) -> None:
        fields = batch.fields
        bits = [
            None if each is None else each.clone()
            for each in (fields.drawn, fields.known, fields.pseudo, fields.cleared)
        ]
        mine, graph = Batch(batch.image.clone(), Fields(*bits)), torch.cuda.CUDAGraph()
        for dropout in self.dropouts:
            dropout.held = torch.zeros(dropout.drawn, device=batch.image.device)
        torch.cuda.synchronize()
        try:
            with torch.cuda.graph(
                graph, stream=self.lane, capture_error_mode="thread_local"
            ):  # batches are made meanwhile
                loss = self.work(mine)
        except RuntimeError as error:
            self.why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            self.close()
            return
        self.recording = _Recording(graph, mine, loss)

    def _draw(self) -> None:
        """What each dropout drops, drawn in the order in which a plain step draws."""
        for dropout in self.dropouts:
            if dropout.held is not None:
                dropout.held.copy_(dropout.draw(*dropout.held.shape).pin_memory(), non_blocking=True)

    def close(self) -> None:
        """Dropout draws for itself again."""
        for dropout in self.dropouts:
            dropout.held = None
