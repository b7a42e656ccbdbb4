"""The U-Net: MONAI's 2-D BasicUNet as the trunk, with our classifier in place of its own."""

from __future__ import annotations

from torch import Tensor, nn

from smiler.networks.base import SegmentationNet
from smiler.networks.options import NetworkOptions


class UNet(SegmentationNet):
    """Five-level U-Net after Falk et al. 2019 (doi:10.1038/s41592-018-0261-2), features at full resolution.

    BatchNorm rather than MONAI's default InstanceNorm: about twice as fast with channels_last. Convolutions carry no
    bias, since the BatchNorm behind each of them would cancel it.
    """

    def __init__(self, options: NetworkOptions, outputs: int) -> None:
        from monai.networks.nets.basic_unet import BasicUNet  # takes 2 s, so not before a U-Net is wanted

        w = options.width
        super().__init__(features=w, outputs=outputs, stride=16, dropout=options.dropout)
        self.body = BasicUNet(
            spatial_dims=2,
            in_channels=options.in_channels,
            features=(w, w, 2 * w, 4 * w, 8 * w, w),
            norm="batch",
            bias=False,
            dropout=0.0,
        )
        self.body.final_conv = nn.Identity()
        for level in (self.body.upcat_4, self.body.upcat_3, self.body.upcat_2, self.body.upcat_1):
            level.is_pad = (
                False  # `trunk` lets only multiples of 16 in, and padding by nothing costs a tenth of the time
            )

    def extract(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, H, W)."""
        features: Tensor = self.body(image)
        return features
