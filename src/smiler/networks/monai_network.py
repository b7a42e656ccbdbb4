"""Any of MONAI's networks as the trunk, with our classifier in place of its own last convolution."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from smiler.networks.base import SegmentationNet
from smiler.networks.folded import put_layer
from smiler.networks.monai_designs import Design
from smiler.networks.options import NetworkOptions


class MonaiNetwork(SegmentationNet):
    """The network of a design; its features are what MONAI's own last 1x1 convolution would see."""

    def __init__(self, design: Design, axes: int, options: NetworkOptions, outputs: int) -> None:
        super().__init__(
            features=options.width, outputs=outputs, stride=options.stride, dropout=options.dropout, axes=axes
        )
        module, _, name = design.constructor.partition(".")
        constructor = getattr(import_module(f"monai.networks.nets.{module}"), name)
        whole: nn.Module = constructor(
            spatial_dims=axes, in_channels=options.in_channels, out_channels=1, **design.arguments(options, axes)
        )
        put_layer(whole, design.last, nn.Identity())
        self.body = whole.get_submodule(design.trunk)
        for place, layer in list(self.body.named_modules()):
            if isinstance(layer, _InstanceNorm) or (
                isinstance(layer, nn.GroupNorm) and layer.num_groups == layer.num_channels
            ):
                put_layer(self.body, place, InstanceNorm(layer))
            elif type(layer) is nn.Conv3d and layer.groups > 1:
                put_layer(self.body, place, GroupedConv3d.of(layer))

    def extract(self, image: Tensor) -> Tensor:
        """(B, C, *space) -> (B, width, *space)."""
        features: Tensor = self.body(image)
        return features


class InstanceNorm(nn.Module):
    """Each channel of each image normalised over space, with the parameters of PyTorch's layer for it.

    PyTorch's own layers refuse a channel of one pixel, which the lowest level of a small image has: here it becomes the
    bias. And as a group norm of one channel a group it keeps channels last, where PyTorch's instance norm copies: a
    DynUNet's step takes a sixth less time.
    """

    def __init__(self, plain: Any) -> None:
        super().__init__()
        channels = plain.num_channels if isinstance(plain, nn.GroupNorm) else plain.num_features
        self.channels, self.eps = int(channels), float(plain.eps)
        self.weight: nn.Parameter | None = plain.weight
        self.bias: nn.Parameter | None = plain.bias

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space), the same size."""
        return torch.group_norm(features, self.channels, self.weight, self.bias, self.eps)


class GroupedConv3d(nn.Conv3d):
    """A grouped 3-D convolution, on a CPU always in float32.

    In bf16 its weights' gradient is memory that nobody wrote where the image is small (torch 2.13, channels last,
    2x4x4 voxels): now and then it is huge, and the training ends.
    """

    @classmethod
    def of(cls, plain: nn.Conv3d) -> GroupedConv3d:
        """The same layer, with the same parameters."""
        made = cls.__new__(cls)
        made.__dict__.update(plain.__dict__)
        return made

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, D, H, W)."""
        if input.device.type != "cpu":
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())
