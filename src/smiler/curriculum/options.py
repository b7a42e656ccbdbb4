"""What can be chosen about the curriculum: every open point of Algorithm 1 has its option (docs/science.md)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from smiler.domain.registry import NameIn
from smiler.selection import RULES


class CurriculumOptions(BaseModel):
    """Rounds of relabelling and retraining; 0 rounds is SMILE without them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rounds: int = Field(default=0, ge=0, le=20, description="T: rounds of relabelling; 0 trains once")
    gamma_max: float = Field(
        default=1.0, gt=0, le=1, description="share accepted in the last round; round t accepts t/T of it"
    )
    first_share: float = Field(default=0.6, gt=0, le=1, description="share of all steps spent before the first round")
    schedule: Literal["continue", "restart"] = Field(
        default="continue",
        description="learning rate of a warm-started round: the next part of one schedule, or a schedule of its own",
    )
    rule: Annotated[str, NameIn(lambda: RULES)] = Field(default="score", description="what ranks proposals")
    passes: int = Field(default=10, ge=2, le=100, description="stochastic passes of the rules that need dropout")
    scope: Literal["volume", "slice"] = Field(
        default="volume",
        description="the share is taken of an organ's voxels in the volume, or in each slice (the authors' code)",
    )
    keep: Literal["replace", "union"] = Field(
        default="replace", description="proposals of a round replace earlier ones, or join them (the paper)"
    )
    negatives: float | None = Field(
        default=None,
        gt=0,
        lt=0.5,
        description="where an organ was proposed in a volume, its voxels with a lower probability than this are taken "
        "as negatives, too; unset: only positives are proposed (the paper)",
    )
    precision: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="accept only scores of which this share is right on held-out expert pairs; unset: any above 0",
    )
    floor: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="estimate each organ's precision of relabelling on expert pairs, and lower its share (or leave it "
        "out of the round) where the estimate less its standard error is below this or has fewer than 4 pairs; "
        "0: only estimate; unset: don't",
    )
    audit_on: Literal["held_out", "training"] = Field(
        default="held_out",
        description="expert pairs for the estimate of `floor`: held out of training until the last round (unbiased), "
        "or trained on (costs nothing; an upper bound that still shows what was not learned)",
    )
    held_out: float = Field(
        default=0.15,
        gt=0,
        lt=0.5,
        description="share of each organ's pairs that `precision` and `floor` look at",
    )

    @property
    def holds_out(self) -> bool:
        """Whether expert pairs are kept from training until the last round."""
        return self.precision is not None or (self.floor is not None and self.audit_on == "held_out")

    warm_start: bool = Field(default=True, description="a round goes on from the last network, or starts from scratch")
