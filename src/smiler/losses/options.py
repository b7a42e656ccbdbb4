"""What can be chosen about the loss."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from smiler.domain.registry import NameIn


def _losses() -> Mapping[str, Any]:
    from smiler.losses import LOSSES  # they import these options

    return LOSSES


def _readings() -> Mapping[str, Any]:
    from smiler.losses.targets import READINGS

    return READINGS


class LossOptions(BaseModel):
    """Loss, reading and balance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, NameIn(_losses)] = Field(default="bce_dice", description="what is minimised")
    reading: Annotated[str, NameIn(_readings)] = Field(default="smile", description="how evidence is read")
    positive_share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="weigh positives and negatives separately, with this share for positives; "
        "unset: one plain mean over all known voxels of an organ",
    )
    dice_weight: float = Field(default=1.0, gt=0, description="weight of the Dice term beside a cross-entropy")
    confidence: bool = Field(
        default=False, description="also learn a confidence for each organ and voxel (needed by the rule 'confidence')"
    )
    pseudo_excludes: bool = Field(
        default=False, description="whether a proposed organ excludes its rivals at its voxels"
    )
