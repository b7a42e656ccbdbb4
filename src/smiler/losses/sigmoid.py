"""Losses of K independent sigmoids: the SMILE family (Petit et al. 2018, equation 1, with a Dice term by choice)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from smiler.domain.organs import OrganSet
from smiler.losses.options import LossOptions
from smiler.losses.sums import Sums, sigmoid_sums
from smiler.losses.targets import Targets, Terms, dice_terms, mean_of, mean_over, soft_dice


def pooled_sigmoids(logits: Tensor) -> Tensor:
    """Log odds (...) of the mean probability of logits (M, ...)."""
    logits = logits.float()
    return F.logsigmoid(logits).logsumexp(dim=0) - F.logsigmoid(-logits).logsumexp(dim=0)


@dataclass(frozen=True)
class _Sigmoid:
    options: LossOptions
    organs: int

    @property
    def outputs(self) -> int:
        """One channel an organ."""
        return self.organs

    def scores(self, logits: Tensor) -> Tensor:
        """The logits themselves."""
        return logits

    def probability(self, logits: Tensor) -> Tensor:
        """Each organ's own sigmoid."""
        return logits.float().sigmoid()

    def pooled(self, logits: Tensor) -> Tensor:
        """Log odds of the mean probability; exact also where all are almost sure."""
        return pooled_sigmoids(logits)

    def bias(self, prior: float) -> Tensor:
        """Every organ starts at this probability."""
        return torch.full((self.organs,), math.log(prior / (1 - prior)))


@dataclass(frozen=True)
class BceLoss(_Sigmoid):
    """One sigmoid an organ: weighted binary cross-entropy.

    Normalised per organ over the batch's known voxels; mean over the organs known.
    """

    @classmethod
    def build(cls, options: LossOptions, organs: OrganSet) -> "BceLoss":
        """For these organs."""
        return cls(options, len(organs))

    def terms(self, logits: Tensor, targets: Targets) -> Terms:
        """Costs and counts per organ."""
        return self.counted(sigmoid_sums(logits, targets))

    def counted(self, sums: Sums) -> Terms:
        """Those of the sums of each image."""
        cost, count = sums.cost.sum(dim=0), sums.count.sum(dim=0)
        found = {"cost": cost.sum(dim=1), "count": count.sum(dim=1)}
        if self.options.positive_share is not None:
            found |= {"positive_cost": cost[:, 1], "positives": count[:, 1]}
        return found

    def total(self, terms: Terms) -> Tensor:
        """Mean over the organs about which anything is known."""
        share = self.options.positive_share
        if share is None:
            return mean_over(*mean_of(terms["cost"], terms["count"]))
        positive, some = mean_of(terms["positive_cost"], terms["positives"])
        rest = terms["count"] - terms["positives"]
        negative, any_negative = mean_of(terms["cost"] - terms["positive_cost"], rest)
        return mean_over(share * positive + (1 - share) * negative, some.maximum(any_negative))


@dataclass(frozen=True)
class DiceLoss(_Sigmoid):
    """One sigmoid an organ: the Dice term alone."""

    @classmethod
    def build(cls, options: LossOptions, organs: OrganSet) -> "DiceLoss":
        """For these organs."""
        return cls(options, len(organs))

    def terms(self, logits: Tensor, targets: Targets) -> Terms:
        """Overlap and sizes per organ."""
        sums = sigmoid_sums(logits, targets)
        return dice_terms(sums.count, sums.claim, targets)

    def total(self, terms: Terms) -> Tensor:
        """1 - Dice, mean over the organs that are drawn."""
        return soft_dice(terms)


@dataclass(frozen=True)
class BceDiceLoss(_Sigmoid):
    """One sigmoid an organ: cross-entropy plus the Dice term."""

    @classmethod
    def build(cls, options: LossOptions, organs: OrganSet) -> "BceDiceLoss":
        """For these organs."""
        return cls(options, len(organs))

    def terms(self, logits: Tensor, targets: Targets) -> Terms:
        """Those of both."""
        sums = sigmoid_sums(logits, targets)
        return {**self._cross_entropy.counted(sums), **dice_terms(sums.count, sums.claim, targets)}

    def total(self, terms: Terms) -> Tensor:
        """The sum of both, weighted."""
        return self._cross_entropy.total(terms) + self.options.dice_weight * self._dice.total(terms)

    @property
    def _cross_entropy(self) -> BceLoss:
        return BceLoss(self.options, self.organs)

    @property
    def _dice(self) -> DiceLoss:
        return DiceLoss(self.options, self.organs)
