"""What every segmentation network can do: a trunk, channel-wise dropout, a linear head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from smiler.domain.errors import BadInput
from smiler.store.resample import axis_weights


class ChannelDropout(nn.Module):
    """Drops whole channels of each image in train mode (Tompson et al. 2015, arXiv:1411.4280).

    The draws come from the CPU's generator, the same on every device. `part`: which of so many equal parts of the batch
    the images are, where several processes share it; the draws are those of the whole batch. `held`: draws (B, F) to
    use instead of new ones, for a step that is recorded and replayed; `drawn`: the shape of the last ones.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p, self.part = p, (0, 1)
        self.held: Tensor | None = None
        self.drawn = (0, 0)

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, *space), with some channels 0 and the others divided by 1 - p."""
        if not self.training or not self.p:
            return features
        kept = self.draw(features.shape[0], features.shape[1]) if self.held is None else self.held
        return features * kept.to(features).view(*features.shape[:2], *([1] * (features.ndim - 2)))

    def draw(self, images: int, channels: int) -> Tensor:
        """(images, channels), anew: 0 for what is dropped, 1 / (1 - p) for the rest."""
        mine, parts = self.part
        self.drawn = (images, channels)
        draws = torch.rand(parts * images, channels)[mine * images : (mine + 1) * images]
        return (draws >= self.p) / (1 - self.p)


class SegmentationNet(nn.Module, ABC):
    """`forward(image) = head(dropout(trunk(image)), size)`, for images (B, C, *space): (H, W), or (D, H, W) in 3-D.

    The only dropout sits before the final 1x1 convolution and drops whole channels, so Monte-Carlo dropout (Gal and
    Ghahramani 2016, arXiv:1506.02142) needs the trunk once and repeats only `stochastic`. A subclass adds `extract`,
    the trunk's layers.

    Attributes:
        stride: pixels; the input's size must be a multiple of it along every axis of space.
        axes: of space, 2 or 3.
        classifier: the final 1x1 convolution; its bias starts at 0.
    """

    def __init__(self, *, features: int, outputs: int, stride: int, dropout: float, axes: int = 2) -> None:
        super().__init__()
        if outputs < 1:
            raise BadInput(
                "a segmentation network needs at least one output channel",
                where="networks.build(outputs=...)",
                got=str(outputs),
                do="pass the number of classes",
            )
        self.stride, self.axes = stride, axes
        self.dropout = ChannelDropout(dropout)
        convolution = nn.Conv2d if axes == 2 else nn.Conv3d
        self.classifier = convolution(features, outputs, kernel_size=1)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]  # made with bias=True

    def start_bias(self, bias: Tensor) -> None:
        """Set the classifier's bias (outputs,)."""
        with torch.no_grad():
            self.classifier.bias.copy_(bias)  # type: ignore[union-attr]  # made with bias=True

    @abstractmethod
    def extract(self, image: Tensor) -> Tensor:
        """The trunk's layers, (B, C, *space) -> (B, F, *smaller); call `trunk`, which checks the image first."""

    def trunk(self, image: Tensor) -> Tensor:
        """Features (B, F, *smaller) of an image (B, C, *space), before dropout.

        Raises:
            BadInput: a side is not a multiple of `stride`, or the image has other axes.
        """
        if image.ndim != 2 + self.axes or any(side % self.stride for side in image.shape[2:]):
            shape, sides = ("(B, C, H, W)", "H and W") if self.axes == 2 else ("(B, C, D, H, W)", "D, H and W")
            raise BadInput(
                f"the image must be {shape} with {sides} multiples of {self.stride}",
                where=type(self).__name__,
                got=str(tuple(image.shape)),
                do=f"pad or crop {sides} to multiples of {self.stride} before calling the network",
            )
        return self.extract(image)

    def head(self, features: Tensor, size: tuple[int, ...]) -> Tensor:
        """Logits (B, outputs, *size) from features (B, F, *smaller); linear but for the bias.

        Linear along each axis, half-pixel centres (align_corners=False). With size = smaller nothing is interpolated.
        """
        return _enlarged(self.classifier(features), size)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, outputs, *space) of an image (B, C, *space); dropout acts in train mode only."""
        return self.head(self.dropout(self.trunk(image)), image.shape[2:])

    def stochastic(self, features: Tensor, size: tuple[int, ...], generator: Generator) -> Tensor:
        """Logits (B, outputs, *size) of one Monte-Carlo pass, in train and eval mode alike.

        Each channel of each image is dropped with the network's own probability p, and the kept ones are divided
        by 1 - p, so the mean over passes is `head(features, size)`. The mask is drawn in float32 on the generator's
        device: the same seed drops the same channels whatever the precision and the device of `features`.
        The head is linear, so that the masks fall on its weights: the features, much larger, are only read.
        """
        p = self.dropout.p
        draws = torch.rand(features.shape[:2], generator=generator, device=generator.device)
        if not p:
            return self.head(features, size)
        mask = (draws >= p) / (1 - p)
        if features.device.type == "cuda" and mask.device.type == "cpu":  # the GPU need not be waited for
            mask = mask.pin_memory().to(features.device, non_blocking=True)
        mask = mask.to(features)
        weight, bias = self.classifier.weight.to(features), self.classifier.bias
        each = weight.flatten(1).T * mask[:, :, None]  # (B, F, outputs)
        said = features.flatten(2).mT @ each  # no copy where channels are last
        if bias is not None:
            said = said + bias.to(said)
        return _enlarged(said.mT.reshape(*said.mT.shape[:2], *features.shape[2:]), size)


def _enlarged(logits: Tensor, size: tuple[int, ...]) -> Tensor:
    if logits.shape[2:] == size:
        return logits
    if logits.device.type == "cuda" and len(size) == 2:
        return _enlarged_by_matrices(logits, size)
    return F.interpolate(logits, size=size, mode="bilinear" if len(size) == 2 else "trilinear", align_corners=False)


def _enlarged_by_matrices(logits: Tensor, size: tuple[int, ...]) -> Tensor:
    """The same, in float32: the gradient of PyTorch's own interpolation took a GPU a fifth of a DeepLab's step."""
    (height, width), (rows, columns) = logits.shape[2:], size
    down, along = _weights(height, rows, logits.device), _weights(width, columns, logits.device)
    with torch.autocast(logits.device.type, enabled=False):
        return down @ logits.float() @ along.mT


@lru_cache(64)
def _weights(inputs: int, outputs: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.from_numpy(axis_weights(inputs, outputs)).to(device)
