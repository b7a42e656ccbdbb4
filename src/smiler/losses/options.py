"""What can be chosen about the loss."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class LossOptions(BaseModel):
    """Loss, reading and balance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["bce", "dice", "bce_dice", "softmax", "softmax_dice"] = Field(
        default="bce_dice",
        description="bce, dice and bce_dice: one sigmoid an organ; softmax, softmax_dice: organs and background "
        "compete",
    )
    reading: Literal["smile", "naive", "annotated"] = Field(
        default="smile",
        description="how evidence is read: smile ignores what nobody knows, naive takes it as background, "
        "annotated uses an organ only in the volumes in which it is annotated",
    )
    positive_share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="weigh positives and negatives separately, with this share for positives; "
        "unset: one plain mean over all known voxels of an organ",
    )
    dice_weight: float = Field(default=1.0, gt=0, description="weight of the Dice term in bce_dice and softmax_dice")
    confidence: bool = Field(
        default=False, description="also learn a confidence for each organ and voxel (needed by the rule 'confidence')"
    )
    pseudo_excludes: bool = Field(
        default=False, description="whether a proposed organ excludes its rivals at its voxels"
    )
