"""Losses of K independent sigmoids: the SMILE family (Petit et al. 2018, equation 1, with a Dice term by choice)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from smiler.domain.organs import OrganSet
from smiler.losses.options import LossOptions
from smiler.losses.targets import Targets, mean_where, soft_dice

_SPACE = (0, 2, 3)


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

    def __call__(self, logits: Tensor, targets: Targets) -> Tensor:
        """Scalar loss of logits (B, K, H, W)."""
        logits = logits.float() * targets.weight
        voxels = F.binary_cross_entropy_with_logits(logits, targets.value, reduction="none")
        share = self.options.positive_share
        if share is None:
            per_organ, counted = mean_where(voxels, targets.weight, _SPACE)
        else:
            drawn = targets.weight * targets.value
            positive, some = mean_where(voxels, drawn, _SPACE)
            negative, any_negative = mean_where(voxels, targets.weight - drawn, _SPACE)
            per_organ, counted = share * positive + (1 - share) * negative, some.maximum(any_negative)
        return mean_where(per_organ, counted, (0,))[0]


@dataclass(frozen=True)
class DiceLoss(_Sigmoid):
    """The Dice term alone."""

    @classmethod
    def build(cls, options: LossOptions, organs: OrganSet) -> "DiceLoss":
        """For these organs."""
        return cls(options, len(organs))

    def __call__(self, logits: Tensor, targets: Targets) -> Tensor:
        """Scalar loss of logits (B, K, H, W)."""
        return soft_dice((logits.float() * targets.weight).sigmoid(), targets)


@dataclass(frozen=True)
class BceDiceLoss(_Sigmoid):
    """Cross-entropy plus the Dice term."""

    @classmethod
    def build(cls, options: LossOptions, organs: OrganSet) -> "BceDiceLoss":
        """For these organs."""
        return cls(options, len(organs))

    def __call__(self, logits: Tensor, targets: Targets) -> Tensor:
        """Scalar loss of logits (B, K, H, W)."""
        cross_entropy = BceLoss(self.options, self.organs)(logits, targets)
        return cross_entropy + self.options.dice_weight * DiceLoss(self.options, self.organs)(logits, targets)
