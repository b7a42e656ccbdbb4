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

    def __call__(self, logits: Tensor, targets: Targets) -> Tensor:
        """Scalar loss of logits (B, K+1, H, W)."""
        allowed, positive = self.allowed(targets)
        return self.cross_entropy(logits, allowed, positive)

    def cross_entropy(self, logits: Tensor, allowed: Tensor, positive: Tensor) -> Tensor:
        """-log of the probability of the classes allowed, over the voxels of which something is told."""
        told = told_at(allowed)
        logits = logits.float() * told[:, None]
        voxels = torch.logsumexp(logits, dim=1) - torch.logsumexp(logits.masked_fill(~allowed, -torch.inf), dim=1)
        share = self.options.positive_share
        if share is None:
            return mean_where(voxels, told, (0, 1, 2))[0]
        per_organ, counted = mean_where(voxels[:, None], positive.float(), _SPACE)
        negative, _ = mean_where(voxels, told * (~positive.any(dim=1)).float(), (0, 1, 2))
        return share * mean_where(per_organ, counted, (0,))[0] + (1 - share) * negative

    def allowed(self, targets: Targets) -> tuple[Tensor, Tensor]:
        """bool (B, K+1, H, W): classes that agree with the targets; bool (B, K, H, W): most specific positives."""
        drawn = (targets.value * targets.weight) > 0
        unknown = targets.weight == 0
        specific, within = [], []
        for k, (parts, wholes) in enumerate(zip(self.relations.parts, self.relations.wholes, strict=True)):
            specific.append(drawn[:, k] & ~_any(drawn, parts))
            within.append(unknown[:, k] & _any(drawn, wholes))
        most_specific = torch.stack(specific, dim=1)
        some = drawn.any(dim=1, keepdim=True)
        organs = torch.where(some, most_specific | torch.stack(within, dim=1), unknown)
        return torch.cat([~some, organs], dim=1), most_specific


@dataclass(frozen=True)
class SoftmaxDiceLoss(SoftmaxLoss):
    """Marginal cross-entropy plus a Dice term per organ (Shi et al. 2021, doi:10.1016/j.media.2021.101979)."""

    def __call__(self, logits: Tensor, targets: Targets) -> Tensor:
        """Scalar loss of logits (B, K+1, H, W)."""
        allowed, positive = self.allowed(targets)
        cross_entropy = self.cross_entropy(logits, allowed, positive)
        chance = (logits.float() * told_at(allowed)[:, None]).softmax(dim=1)
        return cross_entropy + self.options.dice_weight * soft_dice(self._claimed(chance, allowed, targets), targets)

    def _claimed(self, chance: Tensor, allowed: Tensor, targets: Targets) -> Tensor:
        """(B, K, H, W): what counts as the network's claim for an organ, so that whatever is right costs nothing.

        Where the organ is, the probability of all that is right there; elsewhere that of the organ and its parts, less
        what is right.
        """
        right = (chance * allowed).sum(dim=1)
        wrong = chance * ~allowed
        claimed = [
            torch.where(targets.value[:, k] > 0, right, wrong[:, [k + 1, *_channels(parts)]].sum(dim=1))
            for k, parts in enumerate(self.relations.parts)
        ]
        return torch.stack(claimed, dim=1)


def told_at(allowed: Tensor) -> Tensor:
    """Float (B, H, W), 1 where some class is ruled out."""
    return (~allowed.all(dim=1)).float()


def _bits(mask: int) -> list[int]:
    return [k for k in range(mask.bit_length()) if mask >> k & 1]


def _channels(mask: int) -> list[int]:
    return [k + 1 for k in _bits(mask)]


def _any(drawn: Tensor, mask: int) -> Tensor:
    if not mask:
        return torch.zeros_like(drawn[:, 0])
    return drawn[:, _bits(mask)].any(dim=1)
