"""The U-Net of volumes: MONAI's BasicUNet in three dimensions as the trunk."""

from __future__ import annotations

from torch import Tensor

from smiler.networks.base import SegmentationNet
from smiler.networks.options import NetworkOptions
from smiler.networks.unet import basic_unet


class UNet3d(SegmentationNet):
    """The U-Net of slices with kernels of 3x3x3 (Cicek et al. 2016, arXiv:1606.06650), features at full resolution."""

    def __init__(self, options: NetworkOptions, outputs: int) -> None:
        super().__init__(features=options.width, outputs=outputs, stride=16, dropout=options.dropout, axes=3)
        self.body = basic_unet(3, options.in_channels, options.width)

    def extract(self, image: Tensor) -> Tensor:
        """(B, 1, D, H, W) -> (B, width, D, H, W)."""
        features: Tensor = self.body(image)
        return features
