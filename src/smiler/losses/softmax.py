"""Organs and background compete in one softmax: marginal loss, and under the naive reading the usual baseline.

Channel 0 is background, channel k+1 is organ k *without* the parts that have a channel of their own. At a voxel with a
positive, -log p of the most specific positive organ (plus parts of it about which nothing is known); elsewhere
-log(p_0 + the p_k whose weight is 0). Under the naive reading no weight is 0, and this is plain cross-entropy.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from smiler.domain.evidence import Relations
from smiler.domain.organs import OrganSet
from smiler.losses.options import LossOptions
from smiler.losses.targets import Targets, mean_where, soft_dice

_SPACE = (0, 2, 3)
_NEVER = 1e30
"""Taken from the log probability of a class that is ruled out: finite, so that gradients are."""


@dataclass(frozen=True)
class SoftmaxLoss:
    """Marginal cross-entropy over K+1 classes."""

    options: LossOptions
    relations: Relations

    @classmethod
    def build(cls, options: LossOptions, organs: OrganSet) -> Self:
        """For these organs."""
        return cls(options, Relations.of(organs))

    @property
    def outputs(self) -> int:
        """Background and one channel an organ."""
        return len(self.relations.parts) + 1

    def bias(self, prior: float) -> Tensor:
        """Every organ starts at this probability, the background with the rest."""
        start = torch.zeros(self.outputs)
        start[0] = math.log((1 - prior * (self.outputs - 1)) / prior) if prior * self.outputs < 1 else 0.0
        return start

    def scores(self, logits: Tensor) -> Tensor:
        """Log odds of an organ (its parts included) against background and the organs it is part of.

        The best score above 0 among exclusive organs is the argmax of the K+1 classes.
        """
        logits = logits.float()
        inside, outside = [], []
        for k, (parts, wholes) in enumerate(zip(self.relations.parts, self.relations.wholes, strict=True)):
            inside.append(torch.logsumexp(logits[:, [k + 1, *_channels(parts)]], dim=1))
            outside.append(torch.logsumexp(logits[:, [0, *_channels(wholes)]], dim=1))
        return torch.stack(inside, dim=1) - torch.stack(outside, dim=1)

    def probability(self, logits: Tensor) -> Tensor:
        """Of an organ, its parts included, among all classes. (A score tells it from the background alone.)"""
        return self._summed(logits.float().softmax(dim=1))

    def __call__(self, logits: Tensor, targets: Targets) -> Tensor:
        """Scalar loss of logits (B, K+1, H, W)."""
        return self._marginal(logits, targets)[0]

    def allowed(self, targets: Targets) -> tuple[Tensor, Tensor]:
        """Of 0 and 1: (B, K+1, H, W) classes that agree with the targets; (B, K, H, W) the most specific positives."""
        weight = targets.weight.contiguous()
        drawn, unknown = targets.value.contiguous() * weight, 1 - weight
        specific, agreeing = [], []
        some = drawn.amax(dim=1)
        for k, (parts, wholes) in enumerate(zip(self.relations.parts, self.relations.wholes, strict=True)):
            mine = drawn[:, k] * (1 - _any(drawn, parts)) if parts else drawn[:, k]
            within = unknown[:, k] * _any(drawn, wholes) if wholes else torch.zeros_like(some)
            specific.append(mine)
            agreeing.append(some * (mine + within) + (1 - some) * unknown[:, k])
        return torch.stack([1 - some, *agreeing], dim=1), torch.stack(specific, dim=1)

    def _marginal(self, logits: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The cross-entropy; (B, K+1, H, W) log probabilities and classes allowed; (B, H, W) log of their sum."""
        allowed, positive = self.allowed(targets)
        told = 1 - allowed.amin(dim=1)
        chance = (logits.float().contiguous() * told[:, None]).log_softmax(dim=1)  # over channels_last twice as slow
        right = (chance + (allowed - 1) * _NEVER).logsumexp(dim=1)
        return self._mean(-right * told, told, positive), chance, allowed, right

    def _summed(self, classes: Tensor) -> Tensor:
        """(B, K, H, W): for each organ the sum over its class and its parts' of (B, K+1, H, W)."""
        if not any(self.relations.parts):
            return classes[:, 1:]
        members = classes.new_zeros(len(self.relations.parts), self.outputs)
        for k, parts in enumerate(self.relations.parts):
            members[k, [k + 1, *_channels(parts)]] = 1
        return torch.einsum("bchw,kc->bkhw", classes, members)

    def _mean(self, voxels: Tensor, told: Tensor, positive: Tensor) -> Tensor:
        share = self.options.positive_share
        if share is None:
            return mean_where(voxels, told, (0, 1, 2))[0]
        per_organ, counted = mean_where(voxels[:, None], positive, _SPACE)
        negative, _ = mean_where(voxels, told * (1 - positive.amax(dim=1)), (0, 1, 2))
        return share * mean_where(per_organ, counted, (0,))[0] + (1 - share) * negative


@dataclass(frozen=True)
class SoftmaxDiceLoss(SoftmaxLoss):
    """Marginal cross-entropy plus a Dice term per organ (Shi et al. 2021, doi:10.1016/j.media.2021.101979).

    What counts as the network's claim for an organ: where the organ is, the probability of all that is right there;
    elsewhere that of the organ and its parts, less what is right. So whatever is right costs nothing.
    """

    def __call__(self, logits: Tensor, targets: Targets) -> Tensor:
        """Scalar loss of logits (B, K+1, H, W)."""
        cross_entropy, chance, allowed, right = self._marginal(logits, targets)
        wrong = chance.exp() * (1 - allowed)
        claims = targets.value * right.exp()[:, None] + (1 - targets.value) * self._summed(wrong)
        return cross_entropy + self.options.dice_weight * soft_dice(claims, targets)


def _bits(mask: int) -> list[int]:
    return [k for k in range(mask.bit_length()) if mask >> k & 1]


def _channels(mask: int) -> list[int]:
    return [k + 1 for k in _bits(mask)]


def _any(drawn: Tensor, mask: int) -> Tensor:
    return drawn[:, _bits(mask)].amax(dim=1)
