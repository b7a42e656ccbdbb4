"""The U-Net of slices: MONAI's BasicUNet as the trunk, with our classifier in place of its own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from smiler.networks.base import SegmentationNet
from smiler.networks.options import NetworkOptions


class UNet(SegmentationNet):
    """Five-level U-Net after Falk et al. 2019 (doi:10.1038/s41592-018-0261-2), features at full resolution.

    BatchNorm rather than MONAI's default InstanceNorm: about twice as fast with channels_last. Convolutions carry no
    bias, since the BatchNorm behind each of them would cancel it.
    """

    def __init__(self, options: NetworkOptions, outputs: int) -> None:
        super().__init__(features=options.width, outputs=outputs, stride=16, dropout=options.dropout)
        self.body = basic_unet(2, options.in_channels, options.width)

    def extract(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, H, W)."""
        features: Tensor = self.body(image)
        return features


def basic_unet(axes: int, in_channels: int, width: int) -> Any:
    """MONAI's BasicUNet up to its features (B, width, *space), for images of 2 or 3 axes of space."""
    from monai.networks.nets.basic_unet import BasicUNet  # takes 2 s, so not before a U-Net is wanted

    features = (width, width, 2 * width, 4 * width, 8 * width, width)
    body = BasicUNet(axes, in_channels, features=features, norm="batch", bias=False, dropout=0.0)
    body.final_conv = nn.Identity()
    for level in (body.upcat_4, body.upcat_3, body.upcat_2, body.upcat_1):
        level.is_pad = False  # only multiples of 16 come in, and padding by nothing costs a tenth of the time
    return body
