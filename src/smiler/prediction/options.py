"""What can be chosen about prediction."""

from pydantic import BaseModel, ConfigDict, Field


class PredictionOptions(BaseModel):
    """How a volume is predicted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(default=8, ge=1, le=1024, description="slices a pass")
    largest_component: bool = Field(default=False, description="keep only the largest connected piece of each organ")
