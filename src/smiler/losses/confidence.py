"""A learned confidence beside any loss: how probable the network's own answer is to be right, organ by organ.

The head learns c* = y s + (1 - y) (1 - s), the probability that the network gives to the truth, where it is told
(INERRANT: Petit et al. 2021, doi:10.1016/j.compmedimag.2021.101938; ConfidNet: Corbiere et al. 2019,
arXiv:1910.04851). No gradient goes from it to the scores.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from smiler.losses.sigmoid import pooled_sigmoids
from smiler.losses.targets import Loss, Targets, Terms, mean_of, mean_over, per_organ


@dataclass(frozen=True)
class WithConfidence:
    """A loss whose network has one more channel an organ, for its confidence."""

    inner: Loss
    organs: int

    @property
    def outputs(self) -> int:
        """The inner loss's channels, then one an organ."""
        return self.inner.outputs + self.organs

    def bias(self, prior: float) -> Tensor:
        """Confidence starts at one half."""
        return torch.cat([self.inner.bias(prior), torch.zeros(self.organs)])

    def scores(self, logits: Tensor) -> Tensor:
        """Scores (B, K, *space) of the inner loss."""
        return self.inner.scores(logits[:, : self.inner.outputs])

    def probability(self, logits: Tensor) -> Tensor:
        """Probability (B, K, *space) of the inner loss."""
        return self.inner.probability(logits[:, : self.inner.outputs])

    def pooled(self, logits: Tensor) -> Tensor:
        """The inner loss's pooled logits, and those of the mean confidence."""
        inner, own = logits[:, :, : self.inner.outputs], logits[:, :, self.inner.outputs :]
        return torch.cat([self.inner.pooled(inner), pooled_sigmoids(own)], dim=1)

    def confidence(self, logits: Tensor) -> Tensor:
        """(B, K, *space) from 0 to 1: how probable the answer is to be right."""
        return logits[:, self.inner.outputs :].float().sigmoid()

    def terms(self, logits: Tensor, targets: Targets) -> Terms:
        """The inner loss's terms, and the squared error of the confidence over known voxels."""
        said = logits[:, : self.inner.outputs]
        probability = self.inner.probability(said.detach())
        right = targets.value * probability + (1 - targets.value) * (1 - probability)
        error = (self.confidence(logits) - right).square() * targets.weight
        own = {"error": per_organ(error), "looked": per_organ(targets.weight)}
        return {**self.inner.terms(said, targets), **own}

    def total(self, terms: Terms) -> Tensor:
        """The inner loss, and the mean squared error."""
        return self.inner.total(terms) + mean_over(*mean_of(terms["error"], terms["looked"]))
