"""How volumes are brought to the grid on which networks work."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

Millimetres = Annotated[float, Field(gt=0.05, le=50)]


class DataOptions(BaseModel):
    """Working grid and grey-value window."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spacing_xy_mm: Millimetres | Literal["native"] = Field(
        default=1.5, description="in-plane spacing of the working grid in mm, or native: the file's"
    )
    spacing_z_mm: Millimetres | Literal["native"] = Field(
        default="native", description="slice distance of the working grid in mm, or native: the file's"
    )
    window_hu: tuple[int, int] = Field(default=(-160, 240), description="grey values outside are clipped, in HU")
    normalisation: Literal["hu", "zscore"] = Field(
        default="hu",
        description="hu: CT, clipped to window_hu; zscore: MR, each volume by mean and spread of its brighter part "
        "(takes grey values that are not HU)",
    )

    @model_serializer(mode="wrap")
    def _as_before(self, serialized: Any) -> dict[str, Any]:
        """Without `normalisation` where it is HU: hashes of stores and runs that are older than it stay."""
        options: dict[str, Any] = serialized(self)
        return {key: value for key, value in options.items() if (key, value) != ("normalisation", "hu")}

    @property
    def working_range(self) -> tuple[int, int]:
        """Least and greatest value on the working grid: HU, or hundredths of a standard deviation."""
        return self.window_hu if self.normalisation == "hu" else (-500, 500)

    @property
    def spacing_zyx_mm(self) -> tuple[float | None, float | None, float | None]:
        """Spacing (z, y, x) of the working grid; None where it is the file's."""
        z, xy = (None if value == "native" else value for value in (self.spacing_z_mm, self.spacing_xy_mm))
        return z, xy, xy

    @model_validator(mode="after")
    def _window_is_open(self) -> "DataOptions":
        if not -32768 <= self.window_hu[0] < self.window_hu[1] <= 32767:
            raise ValueError("window_hu is [low, high] in HU with low < high")
        return self
