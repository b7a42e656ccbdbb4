"""Networks of one kind side by side: one for each output, or the members of an ensemble."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Generator, Tensor, nn

from smiler.networks.base import SegmentationNet


class SideBySide(SegmentationNet):
    """Several networks that share nothing; the features of all, one after the other, are the trunk's channels."""

    def __init__(self, networks: Sequence[SegmentationNet]) -> None:
        nn.Module.__init__(self)
        self.networks = nn.ModuleList(networks)
        self.stride, self.axes = networks[0].stride, networks[0].axes

    @property
    def _each(self) -> list[SegmentationNet]:
        return list(self.networks)  # type: ignore[arg-type]  # it holds nothing else

    def extract(self, image: Tensor) -> Tensor:
        """(B, C, *space) -> (B, N F, *smaller)."""
        return torch.cat([network.extract(image) for network in self._each], dim=1)

    def _heads(self, features: Tensor, size: tuple[int, ...]) -> list[Tensor]:
        parts = features.chunk(len(self.networks), dim=1)
        return [network.head(part, size) for network, part in zip(self._each, parts, strict=True)]

    def _stochastic(self, features: Tensor, size: tuple[int, ...], generator: Generator) -> list[Tensor]:
        parts = features.chunk(len(self.networks), dim=1)
        return [n.stochastic(part, size, generator) for n, part in zip(self._each, parts, strict=True)]

    def _logits(self, image: Tensor) -> list[Tensor]:
        return [network(image) for network in self._each]


class Separate(SideBySide):
    """One network an output: the rival that trains each organ on its own."""

    def head(self, features: Tensor, size: tuple[int, ...]) -> Tensor:
        """Logits (B, outputs, *space)."""
        return torch.cat(self._heads(features, size), dim=1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, outputs, *space)."""
        return torch.cat(self._logits(image), dim=1)

    def stochastic(self, features: Tensor, size: tuple[int, ...], generator: Generator) -> Tensor:
        """Logits (B, outputs, *space) of one Monte-Carlo pass."""
        return torch.cat(self._stochastic(features, size, generator), dim=1)

    def start_bias(self, bias: Tensor) -> None:
        """Each network its own part of the bias."""
        for network, part in zip(self._each, bias.chunk(len(self.networks)), strict=True):
            network.start_bias(part)


class Ensemble(SideBySide):
    """Members with initial weights of their own; together they say the mean of their logits.

    In train mode `forward` gives the members' logits one after the other, (N B, outputs, H, W), so that each learns
    from its own loss. Lakshminarayanan et al. 2017, arXiv:1612.01474.
    """

    def head(self, features: Tensor, size: tuple[int, ...]) -> Tensor:
        """Mean logits (B, outputs, *space)."""
        return torch.stack(self._heads(features, size)).mean(dim=0)

    def forward(self, image: Tensor) -> Tensor:
        """Mean logits (B, outputs, *space); in train mode all members' (N B, outputs, H, W)."""
        logits = self._logits(image)
        return torch.cat(logits) if self.training else torch.stack(logits).mean(dim=0)

    def stochastic(self, features: Tensor, size: tuple[int, ...], generator: Generator) -> Tensor:
        """Mean logits (B, outputs, *space) of one Monte-Carlo pass through every member."""
        return torch.stack(self._stochastic(features, size, generator)).mean(dim=0)

    def opinions(self, features: Tensor, size: tuple[int, ...]) -> Iterator[Tensor]:
        """Logits (B, outputs, *space) of one member after the other."""
        yield from self._heads(features, size)

    def start_bias(self, bias: Tensor) -> None:
        """The same bias for every member."""
        for network in self._each:
            network.start_bias(bias)
