"""DeepLab v3: an atrous ResNet, spatial pyramid pooling, and a classifier upsampled to the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smiler.networks.base import SegmentationNet
from smiler.networks.options import NetworkOptions
from smiler.networks.resnet import ResNet
from smiler.networks.weights import load_backbone

RATES: dict[int, tuple[int, int, int]] = {16: (6, 12, 18), 8: (12, 24, 36)}
CHANNELS = 256


def unit(inputs: int, outputs: int, kernel: int = 1, rate: int = 1) -> nn.Sequential:
    """Convolution that keeps the size, BatchNorm and ReLU."""
    padding = rate * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=rate, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class ImagePooling(nn.Module):
    """The image's mean features, projected and spread over the feature map.

    Without the paper's BatchNorm: over a 1x1 map it would see one value an image, which is noise in a small batch
    and an error in a batch of one. Detectron2 leaves it out for the same reason.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h, w), constant over h and w."""
        pooled: Tensor = self.project(x.mean(dim=(2, 3), keepdim=True))
        return pooled.expand(-1, -1, x.shape[2], x.shape[3])


class PyramidPooling(nn.Module):
    """Atrous spatial pyramid pooling with image-level features (Chen et al. 2017, arXiv:1706.05587, section 3.3)."""

    def __init__(self, inputs: int, outputs: int, rates: tuple[int, int, int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                unit(inputs, outputs),
                *(unit(inputs, outputs, kernel=3, rate=rate) for rate in rates),
                ImagePooling(inputs, outputs),
            ]
        )
        self.project = unit(len(self.branches) * outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h, w)."""
        projected: Tensor = self.project(torch.cat([branch(x) for branch in self.branches], dim=1))
        return projected


def start_convolutions(module: nn.Module) -> None:
    """Draw every convolution of `module` for ReLU networks (He et al. 2015, arXiv:1502.01852), biases at 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


class DeepLab(SegmentationNet):
    """DeepLab v3 (Chen et al. 2017, arXiv:1706.05587); features at 1 / output_stride of the resolution.

    Attributes:
        backbone: the ResNet, named as ImageNet checkpoints are, and loaded from `options.weights` if given.
    """

    def __init__(self, options: NetworkOptions, outputs: int) -> None:
        stride = options.output_stride
        super().__init__(features=CHANNELS, outputs=outputs, stride=stride, dropout=options.dropout)
        self.backbone = ResNet(options.depth, options.in_channels, stride)
        self.pyramid = PyramidPooling(self.backbone.features, CHANNELS, RATES[stride])
        start_convolutions(self.backbone)
        start_convolutions(self.pyramid)
        if options.weights is not None:
            load_backbone(self.backbone, options.weights)

    def extract(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 256, H / output_stride, W / output_stride)."""
        features: Tensor = self.pyramid(self.backbone(image))
        return features
