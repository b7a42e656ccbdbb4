"""Readings of evidence: the pair of columns (value, weight) that turns codes into targets.

A reading is all that tells the usual baseline, SMILE and the ablations apart (Petit et al. 2018, section 2).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from smiler.domain.evidence import Code


@dataclass(frozen=True)
class Targets:
    """What a network should say, and where it is told.

    value, weight: float32 (B, K, H, W), both 0 or 1; where weight is 0 nothing is told and nobody may look. `complete`:
    float32 (B, K), 1 for images in which the organ's background is known, so that an overlap measure makes sense there.
    (Float products run several times faster on a CPU than selections by bool.)
    """

    value: Tensor
    weight: Tensor
    complete: Tensor


@dataclass(frozen=True)
class Reading:
    """Value and weight for each code; one line of science a code."""

    name: str
    title: str
    columns: Mapping[Code, tuple[int, int]]

    def targets(self, codes: Tensor) -> Targets:
        """Targets of evidence codes u8 (B, K, H, W)."""
        weight = _among(codes, [code for code, (_, looked) in self.columns.items() if looked])
        value = _among(codes, [code for code, (one, looked) in self.columns.items() if looked and one])
        background = [code for code in (Code.NEGATIVE, Code.CLEARED, Code.UNKNOWN) if self.columns[code][1]]
        complete = _among(codes, background).amax(dim=(2, 3))
        return Targets(value.float(), weight.float(), complete.float())


def _among(codes: Tensor, wanted: Iterable[Code]) -> Tensor:
    """Where a code is one of those wanted: one shift and one mask, whatever their number."""
    chosen = torch.tensor(sum(1 << int(code) for code in wanted), dtype=torch.uint8, device=codes.device)
    return torch.bitwise_right_shift(chosen, codes) & 1


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
    """What every loss offers. Laws: blind where weight is 0, free if perfect, 0 where nothing is known."""

    def __call__(self, logits: Tensor, targets: Targets) -> Tensor:
        """Scalar loss of logits (B, outputs, H, W)."""

    def scores(self, logits: Tensor) -> Tensor:
        """Scores (B, K, H, W) of logits (B, outputs, H, W): above 0 where the organ is predicted."""

    def probability(self, logits: Tensor) -> Tensor:
        """Probability (B, K, H, W) that the network gives to each organ."""

    @property
    def outputs(self) -> int:
        """Channels the network must have."""

    def bias(self, prior: float) -> Tensor:
        """(outputs,): the classifier's bias at which every organ starts with this probability."""


def mean_where(values: Tensor, counted: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean of the values where `counted` (float, 0 or 1) is 1, along `dims` (0 if nowhere), and whether it ever is."""
    count = counted.sum(dim=dims)
    return (values * counted).sum(dim=dims) / count.clamp(min=1), (count > 0).float()


def soft_dice(probability: Tensor, targets: Targets) -> Tensor:
    """1 - soft Dice per organ over the batch's images in which the organ's background is known, mean over organs.

    Only organs that are drawn in one of those images: elsewhere the term would do nothing but push a rare organ down.
    """
    weight, space = targets.weight * targets.complete[:, :, None, None], (0, 2, 3)
    probability, value = probability * weight, targets.value * weight
    both = (probability * value).sum(space)
    total = probability.sum(space) + value.sum(space)
    some = (value.sum(space) > 0).float()
    return mean_where(1 - (2 * both + 1) / (total + 1), some, (0,))[0]
