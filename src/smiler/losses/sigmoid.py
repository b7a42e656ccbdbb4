"""Losses of K independent sigmoids: the SMILE family (Petit et al. 2018, equation 1, with a Dice term by choice)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from smiler.domain.organs import OrganSet
from smiler.losses.options import LossOptions
from smiler.losses.targets import Targets, Terms, dice_terms, mean_of, mean_over, per_organ, soft_dice


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

    def bias(self, prior: float) -> Tensor:
        """Every organ starts at this probability."""
        return torch.full((self.organs,), math.log(prior / (1 - prior)))


@dataclass(frozen=True)
class BceLoss(_Sigmoid):
    """Weighted binary cross-entropy, normalised per organ over the batch's known voxels, mean over the organs known."""

    @classmethod
    def build(cls, options: LossOptions, organs: OrganSet) -> "BceLoss":
        """For these organs."""
        return cls(options, len(organs))

    def terms(self, logits: Tensor, targets: Targets) -> Terms:
        """Costs and counts per organ."""
        towards = targets.weight * (1 - 2 * targets.value)
        costs = F.softplus(logits.float().contiguous() * towards) * targets.weight
        found = {"cost": per_organ(costs), "count": per_organ(targets.weight)}
        if self.options.positive_share is not None:
            drawn = targets.weight * targets.value
            found |= {"positive_cost": per_organ(costs * drawn), "positives": per_organ(drawn)}
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
    """The Dice term alone."""

    @classmethod
    def build(cls, options: LossOptions, organs: OrganSet) -> "DiceLoss":
        """For these organs."""
        return cls(options, len(organs))

    def terms(self, logits: Tensor, targets: Targets) -> Terms:
        """Overlap and sizes per organ."""
        return dice_terms((logits.float() * targets.weight).sigmoid(), targets)

    def total(self, terms: Terms) -> Tensor:
        """1 - Dice, mean over the organs that are drawn."""
        return soft_dice(terms)


@dataclass(frozen=True)
class BceDiceLoss(_Sigmoid):
    """Cross-entropy plus the Dice term."""

    @classmethod
    def build(cls, options: LossOptions, organs: OrganSet) -> "BceDiceLoss":
        """For these organs."""
        return cls(options, len(organs))

    def terms(self, logits: Tensor, targets: Targets) -> Terms:
        """Those of both."""
        return {**self._cross_entropy.terms(logits, targets), **self._dice.terms(logits, targets)}

    def total(self, terms: Terms) -> Tensor:
        """The sum of both, weighted."""
        return self._cross_entropy.total(terms) + self.options.dice_weight * self._dice.total(terms)

    @property
    def _cross_entropy(self) -> BceLoss:
        return BceLoss(self.options, self.organs)

    @property
    def _dice(self) -> DiceLoss:
        return DiceLoss(self.options, self.organs)
