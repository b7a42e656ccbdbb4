"""What can be chosen about prediction."""

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_serializer


class PredictionOptions(BaseModel):
    """How a volume is predicted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(default=8, ge=1, le=1024, description="slices a pass; windows in 3-D")
    largest_component: bool = Field(default=False, description="keep only the largest connected piece of each organ")
    shifts: int = Field(
        default=0,
        ge=0,
        le=4,
        description="copies of the image, moved by a few voxels, whose probabilities are averaged with its own; each "
        "takes as long as the image does; not with rules or rounds that ask how sure the network is",
    )
    threshold: float = Field(
        default=0.5, gt=0, lt=1, description="probability above which an organ is predicted (before organs compete)"
    )

    @model_serializer(mode="wrap")
    def _as_before(self, serialized: Any) -> dict[str, Any]:
        """Without shifts that are not in use: hashes of runs and masks that are older than the option stay."""
        told: dict[str, Any] = serialized(self)
        return told if self.shifts else {key: value for key, value in told.items() if key != "shifts"}

    @property
    def score_threshold(self) -> float:
        """The threshold as a score: 0 at one half."""
        return math.log(self.threshold / (1 - self.threshold))
