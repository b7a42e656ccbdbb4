"""The networks by name, and the one function that builds them.

Importing this package loads neither torch nor MONAI: each builder imports its own network when it is called, so that
a command line can show and check `NetworkOptions` at once. The base class is `smiler.networks.base.SegmentationNet`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smiler.networks.monai_designs import DYNUNET, MEDNEXT, SEGRESNET, SWINUNETR, FromMonai
from smiler.networks.options import NetworkOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from smiler.networks.base import SegmentationNet

    Builder = Callable[[NetworkOptions, int], SegmentationNet]

__all__ = ["NETWORKS", "NetworkOptions", "Volumetric", "build", "check_installed"]


@dataclass(frozen=True)
class Volumetric:
    """The builder of a network that convolves over volumes, not over slices."""

    build: Builder
    axes: int = 3

    @property
    def title(self) -> str:
        """What the network is."""
        return self.build.__doc__ or ""

    def __call__(self, options: NetworkOptions, outputs: int) -> SegmentationNet:
        """The network."""
        return self.build(options, outputs)


def _deeplab(options: NetworkOptions, outputs: int) -> SegmentationNet:
    """DeepLab v3+ of slices, with a ResNet backbone."""
    from smiler.networks.deeplab import DeepLab

    return DeepLab(options, outputs)


def _unet(options: NetworkOptions, outputs: int) -> SegmentationNet:
    """U-Net of slices."""
    from smiler.networks.unet import UNet

    return UNet(options, outputs)


def _unet3d(options: NetworkOptions, outputs: int) -> SegmentationNet:
    """U-Net of volumes."""
    from smiler.networks.unet3d import UNet3d

    return UNet3d(options, outputs)


NETWORKS: dict[str, Builder] = {
    "deeplab": _deeplab,
    "unet": _unet,
    "unet3d": Volumetric(_unet3d),
    "segresnet": FromMonai(SEGRESNET),
    "segresnet3d": FromMonai(SEGRESNET, axes=3),
    "dynunet": FromMonai(DYNUNET),
    "dynunet3d": FromMonai(DYNUNET, axes=3),
    "swinunetr": FromMonai(SWINUNETR),
    "swinunetr3d": FromMonai(SWINUNETR, axes=3),
    "mednext": FromMonai(MEDNEXT),
    "mednext3d": FromMonai(MEDNEXT, axes=3),
}


def check_installed(options: NetworkOptions) -> None:
    """BadInput if the network needs a package that is not installed: before data are prepared for it."""
    made = NETWORKS[options.name]
    if isinstance(made, FromMonai):
        made.check_installed()


def build(options: NetworkOptions, outputs: int) -> SegmentationNet:
    """Build the network (or networks) that `options` name, with one logit channel for each of `outputs` classes.

    Initial weights come from torch's global generator: seed it (`torch.manual_seed`) before the call.

    Raises:
        BadInput: `outputs` is below 1, or the file of pretrained weights is unreadable or does not fit.
    """
    make = NETWORKS[options.name]
    if options.separate:
        from smiler.networks.several import Separate

        return Separate([make(options, 1) for _ in range(outputs)])
    if options.members > 1:
        from smiler.networks.several import Ensemble

        return Ensemble([make(options, outputs) for _ in range(options.members)])
    return make(options, outputs)
