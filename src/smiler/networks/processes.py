"""One training in several processes: batch statistics, dropout and sums of losses as if all images were in one."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from smiler.networks.base import ChannelDropout


def join(network: nn.Module, fabric: Fabric) -> None:
    """Make the network's batch statistics and dropout those of the batch of all processes; in one, change nothing."""
    if fabric.world_size == 1:
        return
    for module in list(network.modules()):
        if isinstance(module, ChannelDropout):
            module.part = (fabric.global_rank, fabric.world_size)
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                setattr(module, name, SharedBatchNorm.of(child))


def summed(terms: Mapping[str, Tensor], fabric: Fabric | None) -> Mapping[str, Tensor]:
    """Sums of all processes.

    The gradient is this process's part times the number of processes, so that the mean over processes, which is what
    they exchange, is the gradient of the whole.
    """
    if fabric is None or fabric.world_size == 1:
        return terms
    own = torch.cat([value.double().flatten() for value in terms.values()])
    whole = cast(Tensor, fabric.all_reduce(own.detach().clone(), reduce_op="sum"))
    ends = list(accumulate(value.numel() for value in terms.values()))
    scaled = own * fabric.world_size
    pieces = (scaled + (whole - scaled).detach()).tensor_split(ends[:-1])
    return {name: piece.view(terms[name].shape) for name, piece in zip(terms, pieces, strict=True)}


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation whose statistics in training are those of all processes' images, on any device.

    (PyTorch's SyncBatchNorm needs a GPU.) Ioffe and Szegedy 2015, arXiv:1502.03167. Parameters and buffers keep their
    names.
    """

    @classmethod
    def of(cls, plain: _BatchNorm) -> "SharedBatchNorm":
        """The same layer, with the same parameters and buffers."""
        made = cls(plain.num_features, plain.eps, plain.momentum, plain.affine, plain.track_running_stats)
        made.__dict__.update(plain.__dict__)
        return made

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 3:
            raise ValueError(f"images (B, C, *space) are expected, got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, *space), normalised per channel."""
        if not self.training:
            return super().forward(input)
        values, axes = input.float(), [0, *range(2, input.ndim)]
        told = torch.cat([values.sum(axes), values.new_tensor([input.numel() / input.shape[1]])])
        told = _all(told)
        count = told[-1].detach()
        mean = told[:-1] / count
        centred = values - _spread(mean, input.ndim)
        variance = _all(centred.square().sum(axes)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = (variance + self.eps).rsqrt() * cast(Any, self.weight)
        return (centred * _spread(scale, input.ndim) + _spread(cast(Any, self.bias), input.ndim)).to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        with torch.no_grad():
            cast(Tensor, self.num_batches_tracked).add_(1)
            cast(Tensor, self.running_mean).lerp_(mean, cast(float, self.momentum))
            cast(Tensor, self.running_var).lerp_(variance, cast(float, self.momentum))


class _Sum(torch.autograd.Function):
    """The sum over processes; gradients are summed over them, too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ARG004
        whole = values.clone()
        torch.distributed.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        whole = gradients[0].clone()
        torch.distributed.all_reduce(whole)
        return whole


def _all(values: Tensor) -> Tensor:
    return cast(Tensor, _Sum.apply(values))  # type: ignore[no-untyped-call]


def _spread(values: Tensor, axes: int) -> Tensor:
    """(C,) as (1, C, 1, ...)."""
    return values.view(1, -1, *([1] * (axes - 2)))
