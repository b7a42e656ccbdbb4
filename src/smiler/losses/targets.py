"""Readings of evidence: the pair of columns (value, weight) that turns codes into targets.

A reading is all that tells the usual baseline, SMILE and the ablations apart (Petit et al. 2018, section 2).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from smiler.domain.evidence import Code, Planes

Terms = Mapping[str, Tensor]
"""What a loss sums over voxels, by name. Sums over parts of a batch add up."""


@dataclass(frozen=True)
class Targets:
    """What a network should say, and where it is told: a bit an organ, so a batch costs two integers a voxel.

    `said`, `looked`: integers (B, *space); where a bit of `looked` is 0 nothing is told and nobody may look.
    `complete`: float32 (B, K), 1 for images in which the organ's background is known, so that an overlap measure makes
    sense there.
    """

    said: Tensor
    looked: Tensor
    complete: Tensor

    @property
    def organs(self) -> int:
        """K."""
        return self.complete.shape[1]

    @cached_property
    def value(self) -> Tensor:
        """Float32 (B, K, *space) of zeros and ones. (On a CPU float products are faster than selections by bool.)"""
        return unpacked(self.said, self.organs)

    @cached_property
    def weight(self) -> Tensor:
        """Float32 (B, K, *space) of zeros and ones."""
        return unpacked(self.looked, self.organs)


def unpacked(bits: Tensor, count: int) -> Tensor:
    """Float32 (B, count, *space) of the lowest bits of integers (B, *space)."""
    shift = torch.arange(count, dtype=bits.dtype, device=bits.device).view(count, *([1] * (bits.ndim - 1)))
    return ((bits.unsqueeze(1) >> shift) & 1).float()


def narrow(bits: Tensor, count: int) -> Tensor:
    """The lowest bits in the narrowest integers that hold them: less memory to go through."""
    return bits.to(torch.uint8 if count <= 8 else torch.int16 if count <= 15 else torch.int32)


@dataclass(frozen=True)
class Reading:
    """Value and weight for each code; one line of science a code."""

    name: str
    title: str
    columns: Mapping[Code, tuple[int, int]]

    def targets(self, evidence: Planes) -> Targets:
        """Targets of a batch's evidence, bit fields (B, *space)."""
        looked = evidence.among(code for code, (_, looked) in self.columns.items() if looked)
        said = evidence.among(code for code, (one, looked) in self.columns.items() if looked and one)
        background = (code for code in (Code.NEGATIVE, Code.CLEARED, Code.UNKNOWN) if self.columns[code][1])
        complete = unpacked(_any_bit(evidence.among(background).flatten(1)), evidence.organs)
        return Targets(narrow(said, evidence.organs), narrow(looked, evidence.organs), complete)


def _any_bit(bits: Tensor) -> Tensor:
    """(B,): all bits that are set somewhere in (B, n), by folding the row in half again and again."""
    while (count := bits.shape[1]) > 1:
        half = (count + 1) // 2
        bits = bits[:, :half] | bits[:, count - half :]
    return bits[:, 0] if bits.shape[1] else bits.sum(dim=1)


_SMILE = {
    Code.UNKNOWN: (0, 0),
    Code.NEGATIVE: (0, 1),
    Code.EXCLUDED: (0, 1),
    Code.POSITIVE: (1, 1),
    Code.IMPLIED: (1, 1),
    Code.PSEUDO: (1, 1),
    Code.CLEARED: (0, 1),
}

READINGS: dict[str, Reading] = {
    "smile": Reading("smile", "what nobody knows is ignored; another organ's voxels are a negative", _SMILE),
    "naive": Reading(
        "naive",
        "whatever is not annotated is background: the usual tools",
        {**_SMILE, Code.UNKNOWN: (0, 1), Code.IMPLIED: (0, 1)},
    ),
    "annotated": Reading(
        "annotated",
        "an organ is learned only from volumes in which it is annotated",
        {**_SMILE, Code.EXCLUDED: (0, 0), Code.IMPLIED: (0, 0)},
    ),
}


class Loss(Protocol):
    """What every loss offers. Laws: blind where weight is 0, free if perfect, 0 where nothing is known.

    A loss is a small function of sums over voxels, so that processes can add up theirs.
    """

    def terms(self, logits: Tensor, targets: Targets) -> Terms:
        """Sums over the voxels of logits (B, outputs, *space)."""

    def total(self, terms: Terms) -> Tensor:
        """Scalar loss of a batch's sums."""

    def scores(self, logits: Tensor) -> Tensor:
        """Scores (B, K, *space) of logits (B, outputs, *space): above 0 where the organ is predicted."""

    def probability(self, logits: Tensor) -> Tensor:
        """Probability (B, K, *space) that the network gives to each organ."""

    def pooled(self, logits: Tensor) -> Tensor:
        """Logits (B, outputs, *space) whose probabilities are the mean of several networks' (M, B, outputs, *space)."""

    @property
    def outputs(self) -> int:
        """Channels the network must have."""

    def bias(self, prior: float) -> Tensor:
        """(outputs,): the classifier's bias at which every organ starts with this probability."""


def per_organ(values: Tensor) -> Tensor:
    """(K,): sums of (B, K, *space) over images and space."""
    return values.flatten(2).sum(dim=(0, 2))


def mean_of(total: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """A sum as a mean (0 where nothing was counted), and whether anything was."""
    return total / count.clamp(min=1), (count > 0).to(total)


def mean_over(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of those values (K,) that are counted (0 or 1); 0 if none is."""
    return (values * counted).sum() / counted.sum().clamp(min=1)


def dice_terms(count: Tensor, claim: Tensor, targets: Targets) -> Terms:
    """Overlap and sizes per organ over the images in which the organ's background is known.

    `count`, `claim`: (B, K, 2) voxels and probabilities claimed, outside the organ and inside it.
    """
    claimed, counted = ((each * targets.complete[..., None]).sum(dim=0) for each in (claim, count))
    return {"both": claimed[:, 1], "claimed": claimed.sum(dim=1), "drawn": counted[:, 1]}


def soft_dice(terms: Terms) -> Tensor:
    """1 - soft Dice per organ, mean over organs.

    Only organs that are drawn in one of those images: elsewhere the term would do nothing but push a rare organ down.
    """
    sizes = terms["claimed"] + terms["drawn"]
    return mean_over(1 - (2 * terms["both"] + 1) / (sizes + 1), (terms["drawn"] > 0).to(sizes))
