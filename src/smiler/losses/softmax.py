"""Organs and background compete in one softmax: marginal loss, and under the naive reading the usual baseline.

Channel 0 is background, channel k+1 is organ k *without* the parts that have a channel of their own. At a voxel with a
positive, -log p of the most specific positive organ (plus parts of it about which nothing is known); elsewhere
-log(p_0 + the p_k whose weight is 0). Under the naive reading no weight is 0, and this is plain cross-entropy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, reduce
from typing import Self

import torch
from torch import Tensor

from smiler.domain.evidence import UNSEEN, Relations
from smiler.domain.organs import OrganSet
from smiler.losses.options import LossOptions
from smiler.losses.sums import softmax_sums
from smiler.losses.targets import Targets, Terms, dice_terms, mean_of, mean_over, per_organ, soft_dice, unpacked


@dataclass(frozen=True)
class SoftmaxLoss:
    """Organs and background compete: marginal cross-entropy over K+1 classes."""

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
        scores = logits[:, 1:] - logits[:, :1]
        for k, (parts, wholes) in enumerate(zip(self.relations.parts, self.relations.wholes, strict=True)):
            if parts or wholes:
                scores[:, k] = _log_sum(logits, [k + 1, *_channels(parts)]) - _log_sum(logits, [0, *_channels(wholes)])
        return scores

    def probability(self, logits: Tensor) -> Tensor:
        """Of an organ, its parts included, among all classes. (A score tells it from the background alone.)"""
        shares, members = logits.float().softmax(dim=1), self._members(logits)
        return shares[:, 1:] if members is None else torch.einsum("bc...,kc->bk...", shares, members)

    def pooled(self, logits: Tensor) -> Tensor:
        """Logarithms of the mean share of each class, but for a constant."""
        return logits.float().log_softmax(dim=2).logsumexp(dim=0)

    def terms(self, logits: Tensor, targets: Targets) -> Terms:
        """Costs and counts of voxels about which anything is told."""
        return self._sums(logits, targets)[0]

    def total(self, terms: Terms) -> Tensor:
        """Mean over those voxels, or over positives and negatives apart."""
        share = self.options.positive_share
        if share is None:
            return mean_of(terms["cost"], terms["count"])[0]
        negative, _ = mean_of(terms["negative_cost"], terms["negatives"])
        return share * mean_over(*mean_of(terms["positive_cost"], terms["positives"])) + (1 - share) * negative

    def allowed(self, targets: Targets) -> tuple[Tensor, Tensor]:
        """Bit fields int32 (B, *space): classes (K+1 bits) that agree with the targets; the most specific positives."""
        drawn, unknown = (targets.said & targets.looked).int(), ~targets.looked.int() & ((1 << targets.organs) - 1)
        some = -drawn >> UNSEEN  # all bits where anything is drawn
        specific = drawn & ~_any_of(drawn, self.relations.parts)
        within = unknown & _any_of(drawn, self.relations.wholes)
        agreeing = (some & (specific | within)) | (~some & unknown)
        return (agreeing << 1) | (~some & 1), specific

    def _sums(self, logits: Tensor, targets: Targets) -> tuple[Terms, Tensor, Tensor]:
        """The cross-entropy's terms; counts and claims of each image and organ (`softmax_sums`)."""
        classes, specific = self.allowed(targets)
        told = (classes != _ones(self.outputs)).float()
        costs, count, claim = softmax_sums(logits, targets, classes, self._members(logits))
        return self._counted(costs * told, told, specific), count, claim

    def _members(self, like: Tensor) -> Tensor | None:
        """(K, K + 1): an organ's own class and those of its parts, if any organ has parts."""
        return _membership(self.relations.parts, like.device) if any(self.relations.parts) else None

    def _counted(self, costs: Tensor, told: Tensor, specific: Tensor) -> Terms:
        if self.options.positive_share is None:
            return {"cost": costs.sum(), "count": told.sum()}
        positive = unpacked(specific, len(self.relations.parts))
        rest = told * (specific == 0)
        return {
            "positive_cost": per_organ(costs[:, None] * positive),
            "positives": per_organ(positive),
            "negative_cost": (costs * rest).sum(),
            "negatives": rest.sum(),
        }


@dataclass(frozen=True)
class SoftmaxDiceLoss(SoftmaxLoss):
    """Organs and background compete: marginal cross-entropy plus a Dice term per organ (Shi et al. 2021).

    doi:10.1016/j.media.2021.101979.

    What counts as the network's claim for an organ: where the organ is, the probability of all that is right there;
    elsewhere that of the organ and its parts, less what is right. So whatever is right costs nothing.
    """

    def terms(self, logits: Tensor, targets: Targets) -> Terms:
        """Those of the cross-entropy and of the Dice term."""
        found, count, claim = self._sums(logits, targets)
        return {**found, **dice_terms(count, claim, targets)}

    def total(self, terms: Terms) -> Tensor:
        """The sum of both, weighted."""
        return super().total(terms) + self.options.dice_weight * soft_dice(terms)


def _log_sum(logits: Tensor, channels: Sequence[int]) -> Tensor:
    """(B, *space): log of the sum of exp over some channels; one by one, which for two or three is much faster."""
    return reduce(torch.logaddexp, (logits[:, channel] for channel in channels))


@cache
def _membership(parts: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        members = torch.zeros(len(parts), len(parts) + 1)
        for k, mask in enumerate(parts):
            members[k, [k + 1, *_channels(mask)]] = 1
        return members.to(device)


def _bits(mask: int) -> list[int]:
    return [k for k in range(mask.bit_length()) if mask >> k & 1]


def _channels(mask: int) -> list[int]:
    return [k + 1 for k in _bits(mask)]


def _ones(count: int) -> int:
    """So many bits, as an int32."""
    return (1 << count) - 1 if count < 32 else -1


def _any_of(drawn: Tensor, masks: tuple[int, ...]) -> Tensor:
    """Bit k is set where one of the bits of masks[k] is drawn."""
    found = torch.zeros_like(drawn)
    for k, mask in enumerate(masks):
        if mask:
            found |= (-(drawn & mask) >> UNSEEN) & (1 << k)
    return found
