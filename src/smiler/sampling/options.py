"""What can be chosen about sampling and augmentation."""

from pydantic import BaseModel, ConfigDict, Field

FEWER = "take fewer or smaller patches a batch (sampling.batch_size, sampling.patch_size), or a larger machine"


class AugmentOptions(BaseModel):
    """Random changes of a training slice; strengths of 0 switch a change off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rotate_deg: float = Field(default=12.0, ge=0, le=180, description="largest rotation in the axial plane, in degrees")
    scale: float = Field(default=0.15, ge=0, lt=0.9, description="largest relative change of size")
    shift: float = Field(default=0.05, ge=0, le=0.5, description="largest shift, as a share of the patch")
    contrast: float = Field(default=0.15, ge=0, lt=1, description="largest relative change of contrast")
    brightness: float = Field(
        default=0.15, ge=0, le=2, description="largest change of brightness, in standard deviations"
    )
    noise: float = Field(default=0.05, ge=0, le=2, description="largest standard deviation of added noise")


class SamplingOptions(BaseModel):
    """Which slices a batch is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(default=12, ge=1, le=4096, description="slices a batch; patches in 3-D")
    patch_size: int = Field(
        default=256, ge=32, le=2048, multiple_of=32, description="edge of the square patch, in working voxels"
    )
    patch_depth: int = Field(
        default=32, ge=16, le=1024, multiple_of=16, description="3-D: slices of a patch, on the working grid"
    )
    foreground: float = Field(
        default=0.8, ge=0, le=1, description="share of a batch drawn for the sake of an organ, from slices that show it"
    )
    from_proposals: bool = Field(
        default=True,
        description="in a curriculum's rounds also draw for the sake of an organ where it was proposed, as often a "
        "slice as where an expert drew it",
    )
    augment: AugmentOptions = AugmentOptions()

    @property
    def box(self) -> tuple[int, int, int]:
        """Size (z, y, x) of a 3-D patch in working voxels."""
        return self.patch_depth, self.patch_size, self.patch_size
