"""A loss over a batch, block by block: what is in between stays in the processor's cache, and processes add up.

A loss is a small function of sums over voxels. The first pass sums, over blocks and processes; the slope of the loss in
each sum is then known, and the second pass takes the gradient of each block with it. Two passes in the cache are faster
than one through memory: targets and everything between logits and loss exist for one block at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from smiler.losses.targets import Loss, TargetBits, Targets, Terms

BLOCK_VOXELS = 1 << 15
"""Voxels a block on a CPU: with eight organs a megabyte for each array in between."""

Gather = Callable[[Tensor], Tensor]
"""Sums a vector over the processes of a training."""


def by_blocks(
    loss: Loss, logits: Tensor, targets: TargetBits, gather: Gather | None = None, processes: int = 1
) -> Tensor:
    """Scalar loss of logits (B, outputs, *space): loss.total(loss.terms(...)), up to the order of sums.

    With `gather`, of the batch of all processes; the gradient is then `processes` times this process's part, so that
    its mean over processes is the gradient of the whole.
    """
    value: Tensor = _Blocks.apply(logits, loss, targets, gather, processes)
    return value


class _Blocks(torch.autograd.Function):
    """The gradient is taken beside the value: both need the same slopes."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        logits, loss, targets, gather, processes = given
        blocks = list(_blocks(targets.shape, logits.device))
        with torch.no_grad():
            sums = _added([loss.terms(logits[_channels(block)], targets.dense(block)) for block in blocks], gather)
        with torch.enable_grad():
            leaves = {name: value.requires_grad_() for name, value in sums.items()}
            value = loss.total(leaves)
            slopes = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        gradient = torch.empty_like(logits)
        weights = {n: s.float() * processes for n, s in zip(leaves, slopes, strict=True) if s is not None}
        for block in blocks:
            gradient[_channels(block)] = _slope(loss, logits[_channels(block)], targets.dense(block), weights)
        ctx.save_for_backward(gradient)
        return value.detach().float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return gradient * grads[0].to(gradient), None, None, None, None


def _slope(loss: Loss, logits: Tensor, targets: Targets, weights: Terms) -> Tensor:
    """The gradient (B, outputs, *space) of a block's weighted sums."""
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        terms = loss.terms(leaf, targets)
        moving = [name for name in weights if terms[name].requires_grad]
        (gradient,) = torch.autograd.grad([terms[name] for name in moving], leaf, [weights[name] for name in moving])
    return gradient


def _added(parts: Sequence[Terms], gather: Gather | None) -> dict[str, Tensor]:
    """The sums of all blocks, and of all processes, in double precision: their order hardly matters then."""
    sums = {name: torch.stack([part[name] for part in parts]).double().sum(dim=0) for name in parts[0]}
    if gather is None:
        return sums
    flat = gather(torch.cat([value.flatten() for value in sums.values()]))
    pieces = flat.split([value.numel() for value in sums.values()])
    return {name: piece.view(sums[name].shape) for name, piece in zip(sums, pieces, strict=True)}


def _blocks(shape: tuple[int, ...], device: torch.device) -> Iterator[tuple[slice, ...]]:
    """(images, rows) that together are the batch (B, *space); everything at once where there is no cache to fit."""
    if device.type != "cpu":
        yield (slice(0, shape[0]), slice(0, shape[1]))
        return
    row = 1
    for length in shape[2:]:
        row *= length
    rows = max(1, BLOCK_VOXELS // row)
    for image in range(shape[0]):
        for start in range(0, shape[1], rows):
            yield (slice(image, image + 1), slice(start, min(start + rows, shape[1])))


def _channels(block: tuple[slice, ...]) -> tuple[slice, ...]:
    return (block[0], slice(None), block[1])
