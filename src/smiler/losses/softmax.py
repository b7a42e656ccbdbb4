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
from smiler.losses.targets import Targets, Terms, dice_terms, mean_of, mean_over, per_organ, soft_dice

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

    def terms(self, logits: Tensor, targets: Targets) -> Terms:
        """Costs and counts of voxels about which anything is told."""
        return self._marginal(logits, targets)[0]

    def total(self, terms: Terms) -> Tensor:
        """Mean over those voxels, or over positives and negatives apart."""
        share = self.options.positive_share
        if share is None:
            return mean_of(terms["cost"], terms["count"])[0]
        negative, _ = mean_of(terms["negative_cost"], terms["negatives"])
        return share * mean_over(*mean_of(terms["positive_cost"], terms["positives"])) + (1 - share) * negative

    def allowed(self, targets: Targets) -> tuple[Tensor, Tensor]:
        """Of 0 and 1: (B, K+1, *space) classes that agree; (B, K, *space) the most specific positives."""
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

    def _marginal(self, logits: Tensor, targets: Targets) -> tuple[Terms, Tensor, Tensor, Tensor]:
        """The cross-entropy's terms; (B, K+1, *space) log probabilities and classes allowed; log of their sum."""
        allowed, positive = self.allowed(targets)
        told = 1 - allowed.amin(dim=1)
        chance = (logits.float().contiguous() * told[:, None]).log_softmax(dim=1)  # over channels_last twice as slow
        right = (chance + (allowed - 1) * _NEVER).logsumexp(dim=1)
        return self._counted(-right * told, told, positive), chance, allowed, right

    def _summed(self, classes: Tensor) -> Tensor:
        """(B, K, *space): for each organ the sum over its class and its parts' of (B, K+1, *space)."""
        if not any(self.relations.parts):
            return classes[:, 1:]
        members = classes.new_zeros(len(self.relations.parts), self.outputs)
        for k, parts in enumerate(self.relations.parts):
            members[k, [k + 1, *_channels(parts)]] = 1
        return torch.einsum("bc...,kc->bk...", classes, members)

    def _counted(self, costs: Tensor, told: Tensor, positive: Tensor) -> Terms:
        if self.options.positive_share is None:
            return {"cost": costs.sum(), "count": told.sum()}
        rest = told * (1 - positive.amax(dim=1))
        return {
            "positive_cost": per_organ(costs[:, None] * positive),
            "positives": per_organ(positive),
            "negative_cost": (costs * rest).sum(),
            "negatives": rest.sum(),
        }


@dataclass(frozen=True)
class SoftmaxDiceLoss(SoftmaxLoss):
    """Marginal cross-entropy plus a Dice term per organ (Shi et al. 2021, doi:10.1016/j.media.2021.101979).

    What counts as the network's claim for an organ: where the organ is, the probability of all that is right there;
    elsewhere that of the organ and its parts, less what is right. So whatever is right costs nothing.
    """

    def terms(self, logits: Tensor, targets: Targets) -> Terms:
        """Those of the cross-entropy and of the Dice term."""
        found, chance, allowed, right = self._marginal(logits, targets)
        wrong = chance.exp() * (1 - allowed)
        claims = targets.value * right.exp()[:, None] + (1 - targets.value) * self._summed(wrong)
        return {**found, **dice_terms(claims, targets)}

    def total(self, terms: Terms) -> Tensor:
        """The sum of both, weighted."""
        return super().total(terms) + self.options.dice_weight * soft_dice(terms)


def _bits(mask: int) -> list[int]:
    return [k for k in range(mask.bit_length()) if mask >> k & 1]


def _channels(mask: int) -> list[int]:
    return [k + 1 for k in _bits(mask)]


def _any(drawn: Tensor, mask: int) -> Tensor:
    return drawn[:, _bits(mask)].amax(dim=1)
