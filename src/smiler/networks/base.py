"""What every segmentation network can do: a trunk, channel-wise dropout, a linear head."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from smiler.domain.errors import BadInput


class ChannelDropout(nn.Module):
    """Drops whole channels of each image in train mode (Tompson et al. 2015, arXiv:1411.4280).

    The draws come from the CPU's generator, the same on every device. `part`: which of so many equal parts of the batch
    the images are, where several processes share it; the draws are those of the whole batch.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p, self.part = p, (0, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, *space), with some channels 0 and the others divided by 1 - p."""
        if not self.training or not self.p:
            return features
        mine, parts = self.part
        images, channels = features.shape[:2]
        draws = torch.rand(parts * images, channels)[mine * images : (mine + 1) * images]
        kept = ((draws >= self.p) / (1 - self.p)).to(features)
        return features * kept.view(images, channels, *([1] * (features.ndim - 2)))


class SegmentationNet(nn.Module, ABC):
    """`forward(image) = head(dropout(trunk(image)), size)`, for images (B, C, H, W).

    The only dropout sits before the final 1x1 convolution and drops whole channels, so Monte-Carlo dropout (Gal and
    Ghahramani 2016, arXiv:1506.02142) needs the trunk once and repeats only `stochastic`. A subclass adds `extract`,
    the trunk's layers.

    Attributes:
        stride: pixels; the input's height and width must be multiples of it.
        classifier: the final 1x1 convolution; its bias starts at 0.
    """

    def __init__(self, *, features: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        if outputs < 1:
            raise BadInput(
                "a segmentation network needs at least one output channel",
                where="networks.build(outputs=...)",
                got=str(outputs),
                do="pass the number of classes",
            )
        self.stride = stride
        self.dropout = ChannelDropout(dropout)
        self.classifier = nn.Conv2d(features, outputs, kernel_size=1)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]  # a Conv2d made with bias=True has one

    def start_bias(self, bias: Tensor) -> None:
        """Set the classifier's bias (outputs,)."""
        with torch.no_grad():
            self.classifier.bias.copy_(bias)  # type: ignore[union-attr]  # made with bias=True

    @abstractmethod
    def extract(self, image: Tensor) -> Tensor:
        """The trunk's layers, (B, C, H, W) -> (B, F, h, w); call `trunk`, which checks the image first."""

    def trunk(self, image: Tensor) -> Tensor:
        """Features (B, F, h, w) of an image (B, C, H, W), before dropout.

        Raises:
            BadInput: H or W is not a multiple of `stride`.
        """
        if image.ndim != 4 or image.shape[-2] % self.stride or image.shape[-1] % self.stride:
            raise BadInput(
                f"the image must be (B, C, H, W) with H and W multiples of {self.stride}",
                where=type(self).__name__,
                got=str(tuple(image.shape)),
                do=f"pad or crop H and W to multiples of {self.stride} before calling the network",
            )
        return self.extract(image)

    def head(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (B, outputs, H, W) for `size` = (H, W) from features (B, F, h, w); linear but for the bias.

        Bilinear with half-pixel centres (align_corners=False). With size = (h, w) nothing is interpolated.
        """
        return _enlarged(self.classifier(features), size)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, outputs, H, W) of an image (B, C, H, W); dropout acts in train mode only."""
        return self.head(self.dropout(self.trunk(image)), (image.shape[-2], image.shape[-1]))

    def stochastic(self, features: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
        """Logits (B, outputs, H, W) of one Monte-Carlo pass, in train and eval mode alike.

        Each channel of each image is dropped with the network's own probability p, and the kept ones are divided
        by 1 - p, so the mean over passes is `head(features, size)`. The mask is drawn in float32 on the generator's
        device: the same seed drops the same channels whatever the precision and the device of `features`.
        The head is linear, so that the masks fall on its weights: the features, much larger, are only read.
        """
        p = self.dropout.p
        draws = torch.rand(features.shape[:2], generator=generator, device=generator.device)
        if not p:
            return self.head(features, size)
        mask = ((draws >= p) / (1 - p)).to(features)
        weight, bias = self.classifier.weight.to(features), self.classifier.bias
        each = weight[:, :, 0, 0].T * mask[:, :, None]  # (B, F, outputs)
        batch, channels, height, width = features.shape
        flat = features.permute(0, 2, 3, 1).reshape(batch, height * width, channels)  # no copy where channels are last
        said = flat @ each
        if bias is not None:
            said = said + bias.to(said)
        return _enlarged(said.reshape(batch, height, width, -1).permute(0, 3, 1, 2), size)


def _enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    if logits.shape[-2:] == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
