"""MONAI's networks that can be chosen: how each is built, where its features are, what it asks for. Loads no MONAI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import gcd
from typing import TYPE_CHECKING, Any

from smiler.domain.errors import BadInput

if TYPE_CHECKING:
    from smiler.networks.base import SegmentationNet
    from smiler.networks.options import NetworkOptions

    Arguments = Callable[[NetworkOptions, int], Mapping[str, Any]]


@dataclass(frozen=True)
class Design:
    """A network of MONAI's whose last layer is a 1x1 convolution of `width` features at the image's resolution.

    Attributes:
        constructor: its module and class below `monai.networks.nets`.
        last: the name of that convolution, in the network's tree of modules; it is left out.
        arguments: of the constructor, from the options and the axes, beside axes and channels.
        trunk: the name of the module that computes the features; empty: the whole network without `last`.
        halvings: how often it halves the image; None: `levels` - 1 times.
        width_step: `width` is a multiple of it.
        package: what it needs beside MONAI, and the extra of this package that brings it.
    """

    title: str
    constructor: str
    last: str
    arguments: Arguments
    trunk: str = ""
    halvings: int | None = None
    width_step: int = 1
    package: tuple[str, str] | None = None


@dataclass(frozen=True)
class FromMonai:
    """The builder of a design, for slices or for volumes."""

    design: Design
    axes: int = 2

    @property
    def title(self) -> str:
        """What the network is."""
        return f"{self.design.title}, of {'slices' if self.axes == 2 else 'volumes'}"

    @property
    def width_step(self) -> int:
        """`width` is a multiple of it."""
        return self.design.width_step

    def stride(self, options: NetworkOptions) -> int:
        """Pixels (voxels): every side of the image is a multiple of it."""
        halvings = options.levels - 1 if self.design.halvings is None else self.design.halvings
        return int(2**halvings)

    def check_installed(self) -> None:
        """BadInput where a package is missing that the network needs."""
        if self.design.package and not find_spec(self.design.package[0]):
            package, extra = self.design.package
            raise BadInput(
                f"the network needs {package}",
                where="network.name",
                got=self.title,
                do=f"pip install 'smiler-seg[{extra}]', or choose another network",
            )

    def __call__(self, options: NetworkOptions, outputs: int) -> SegmentationNet:
        """The network."""
        from smiler.networks.monai_network import MonaiNetwork

        self.check_installed()
        return MonaiNetwork(self.design, self.axes, options, outputs)


def _segresnet(options: NetworkOptions, _axes: int) -> Mapping[str, Any]:
    blocks = (1, 2, 2, 4, 4, 4, 4)[: options.levels]
    groups = {"num_groups": gcd(8, options.width)}
    return {
        "init_filters": options.width,
        "norm": ("group", groups),
        "blocks_down": blocks,
        "blocks_up": (1,) * (len(blocks) - 1),
    }


def _dynunet(options: NetworkOptions, axes: int) -> Mapping[str, Any]:
    strides = [1] + [2] * (options.levels - 1)
    most = 512 if axes == 2 else 320
    return {
        "kernel_size": [3] * options.levels,
        "strides": strides,
        "upsample_kernel_size": strides[1:],
        "filters": [min(options.width * 2**level, most) for level in range(options.levels)],
        "res_block": options.residual,
    }


def _mednext(options: NetworkOptions, _axes: int) -> Mapping[str, Any]:
    blocks = (2,) * (options.levels - 1)
    return {
        "init_filters": options.width,
        "blocks_down": blocks,
        "blocks_up": blocks,
        "kernel_size": 3,
        "use_residual_connection": True,
    }


SEGRESNET = Design(
    "SegResNet (Myronenko 2018): residual blocks, small decoder", "segresnet.SegResNet", "conv_final.2", _segresnet
)
DYNUNET = Design(
    "DynUNet: the U-Net of nnU-Net (Isensee et al. 2021), plain or residual",
    "dynunet.DynUNet",
    "output_block",
    _dynunet,
    trunk="skip_layers",
)
SWINUNETR = Design(
    "Swin UNETR (Hatamizadeh et al. 2022): windowed attention",
    "swin_unetr.SwinUNETR",
    "out",
    lambda options, _axes: {"feature_size": options.width},
    halvings=5,
    width_step=12,
    package=("einops", "swin"),
)
MEDNEXT = Design(
    "MedNeXt (Roy et al. 2023), the small one: depthwise convolutions", "mednext.MedNeXt", "out_0", _mednext
)
