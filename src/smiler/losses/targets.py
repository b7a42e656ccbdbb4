"""Readings of evidence: the pair of columns (value, weight) that turns codes into targets.

A reading is all that tells the usual baseline, SMILE and the ablations apart (Petit et al. 2018, section 2).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from smiler.domain.evidence import Code


@dataclass(frozen=True)
class Targets:
    """What a network should say, and where it is told.

    value, weight: float (B, K, H, W), both 0 or 1; weight 0 = do not look. `complete`: bool (B, K), images in which the
    organ's background is known, so that an overlap measure makes sense there.
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
        """Targets of evidence codes u8 (K, B, H, W), as `domain.evidence.derive` stacks them."""
        value = torch.zeros(codes.shape, dtype=torch.float32, device=codes.device)
        weight = torch.zeros_like(value)
        background = torch.zeros(codes.shape, dtype=torch.bool, device=codes.device)
        for code, (one, looked) in self.columns.items():
            if looked:
                here = codes == int(code)
                weight += here
                value += here * one
                if code in (Code.NEGATIVE, Code.UNKNOWN):
                    background |= here
        complete = background.flatten(2).any(dim=2)
        return Targets(value.transpose(0, 1), weight.transpose(0, 1), complete.transpose(0, 1))


_SMILE = {
    Code.UNKNOWN: (0, 0),
    Code.NEGATIVE: (0, 1),
    Code.EXCLUDED: (0, 1),
    Code.POSITIVE: (1, 1),
    Code.IMPLIED: (1, 1),
    Code.PSEUDO: (1, 1),
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
    """What every loss offers. Laws: blind where weight is 0, free for a perfect prediction, 0 where nothing is known."""

    def __call__(self, logits: Tensor, targets: Targets) -> Tensor:
        """Scalar loss of logits (B, outputs, H, W)."""

    def scores(self, logits: Tensor) -> Tensor:
        """Scores (B, K, H, W) of logits (B, outputs, H, W): above 0 where the organ is predicted."""

    @property
    def outputs(self) -> int:
        """Channels the network must have."""

    def bias(self, prior: float) -> Tensor:
        """(outputs,): the classifier's bias at which every organ starts with this probability."""


def known(values: Tensor, weight: Tensor) -> Tensor:
    """The values where weight > 0, elsewhere 0 without a gradient (even of NaN or infinity)."""
    return torch.where(weight > 0, values, torch.zeros((), dtype=values.dtype, device=values.device))


def mean_where(values: Tensor, counted: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean of the values over the counted places along `dims` (0 where there are none), and whether there are any."""
    count = counted.sum(dim=dims)
    return (values * counted).sum(dim=dims) / count.clamp(min=1), count > 0
