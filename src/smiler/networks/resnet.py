"""ResNet-18, 34, 50 and 101 with atrous last stages, named as the usual ImageNet checkpoints name them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F


class Pace(NamedTuple):
    """How a stage (or one of its blocks) walks over the feature map, in pixels of its input.

    A stage whose stride was taken away keeps the old dilation up to the convolution that held the stride, `first`,
    and doubles it from the next one on, `rest`. Its features at every second pixel are then exactly those of the
    strided network, so ImageNet weights keep their meaning (Chen et al. 2017, arXiv:1706.05587, section 3.1).
    """

    stride: int = 1
    first: int = 1
    rest: int = 1


PACES: dict[int, tuple[Pace, Pace, Pace, Pace]] = {
    8: (Pace(), Pace(2), Pace(1, 1, 2), Pace(1, 2, 4)),
    16: (Pace(), Pace(2), Pace(2), Pace(1, 1, 2)),
}


def conv3x3(inputs: int, outputs: int, stride: int, dilation: int) -> nn.Conv2d:
    """3x3 convolution without bias that keeps the size, but for its stride."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """The 1x1 projection beside a block whose shape changes, or None where the identity fits."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, arXiv:1512.03385)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, pace: Pace) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, width, pace.stride, pace.first)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, 1, pace.rest)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(inputs, width, pace.stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, width, h / stride, w / stride)."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y = y + (x if self.downsample is None else self.downsample(x))
        return F.relu(y, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the stride sits on the 3x3, as in the usual checkpoints."""

    expansion = 4

    def __init__(self, inputs: int, width: int, pace: Pace) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, pace.stride, pace.first)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = shortcut(inputs, outputs, pace.stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, 4 * width, h / stride, w / stride)."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y = y + (x if self.downsample is None else self.downsample(x))
        return F.relu(y, inplace=True)


LAYOUTS: dict[int, tuple[type[BasicBlock | Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}


def stage(block: type[BasicBlock | Bottleneck], inputs: int, width: int, count: int, pace: Pace) -> nn.Sequential:
    """`count` blocks in a row; the first changes the size and the channels, the others keep both."""
    steady = Pace(1, pace.rest, pace.rest)
    outputs = width * block.expansion
    return nn.Sequential(block(inputs, width, pace), *(block(outputs, width, steady) for _ in range(count - 1)))


class ResNet(nn.Module):
    """The convolutional part of a ResNet; no pooling to one vector and no `fc`.

    Attributes:
        features: channels of the output, 512 or 2048.
    """

    def __init__(self, depth: int, in_channels: int, output_stride: int) -> None:
        super().__init__()
        block, counts = LAYOUTS[depth]
        paces = PACES[output_stride]
        grow = block.expansion
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = stage(block, 64, 64, counts[0], paces[0])
        self.layer2 = stage(block, 64 * grow, 128, counts[1], paces[1])
        self.layer3 = stage(block, 128 * grow, 256, counts[2], paces[2])
        self.layer4 = stage(block, 256 * grow, 512, counts[3], paces[3])
        self.features = 512 * grow

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, features, H / output_stride, W / output_stride)."""
        x = F.relu(self.bn1(self.conv1(image)), inplace=True)
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        features: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return features
