"""Which network to build, and how large: the options a plan file writes down."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from smiler.domain.registry import NameIn


def _networks() -> Mapping[str, Any]:
    from smiler.networks import NETWORKS  # its builders take these options

    return NETWORKS


def axes_of(name: str) -> int:
    """Axes of space that a network convolves over: 2 in a slice, 3 in a volume."""
    return int(getattr(_networks()[name], "axes", 2))


class NetworkOptions(BaseModel, frozen=True, extra="forbid"):
    """Everything that decides a network's shape, except the number of classes."""

    name: Annotated[str, NameIn(_networks)] = Field(default="unet", description="Which network to build.")
    context: int = Field(
        default=0,
        ge=0,
        le=8,
        description="2-D: neighbouring slices on each side, given as channels: 2 * context + 1.",
    )
    dropout: float = Field(
        default=0.1, ge=0, lt=1, description="Probability that a feature channel is dropped before the classifier."
    )
    width: int = Field(
        default=24,
        ge=8,
        le=128,
        description="All but deeplab: features at full resolution; doubled on each level below.",
    )
    levels: int = Field(
        default=5,
        ge=3,
        le=7,
        description="segresnet, dynunet, mednext, also in 3-D: resolutions, each half of the one above; the sides of a "
        "patch are multiples of 2 ** (levels - 1).",
    )
    residual: bool = Field(default=False, description="dynunet, dynunet3d: residual blocks on the way down.")
    depth: Literal[18, 34, 50, 101] = Field(default=18, description="deeplab: layers of the ResNet backbone.")
    output_stride: Literal[8, 16] = Field(
        default=16, description="deeplab: input pixels for one feature pixel; 8 is finer and slower."
    )
    weights: Path | None = Field(
        default=None, description="deeplab: local file of ImageNet ResNet weights (.safetensors, .pt or .pth)."
    )

    separate: bool = Field(
        default=False, description="One network an organ, sharing nothing: the rival that learns each organ alone."
    )
    members: int = Field(
        default=1, ge=1, le=20, description="Networks of an ensemble, each with its own initial weights and loss."
    )

    @property
    def in_channels(self) -> int:
        """Channels of the input image: the slice itself and its neighbours on both sides."""
        return 2 * self.context + 1

    @property
    def axes(self) -> int:
        """Axes of space that the network convolves over: 2 in a slice, 3 in a volume."""
        return axes_of(self.name)

    @property
    def stride(self) -> int:
        """Pixels (voxels): an image whose sides are multiples of it suits the network."""
        stride = getattr(_networks()[self.name], "stride", None)
        return int(stride(self)) if stride else 16

    @model_validator(mode="after")
    def _width_suits_the_network(self) -> Self:
        if self.width % (step := getattr(_networks()[self.name], "width_step", 1)):
            raise ValueError(f"{self.name} wants a width that is a multiple of {step}, and it is {self.width}")
        return self

    @model_validator(mode="after")
    def _volumes_have_no_context(self) -> Self:
        if self.context and self.axes == 3:
            raise ValueError(f"{self.name} sees the neighbouring slices by itself: drop context")
        return self

    @model_validator(mode="after")
    def _weights_have_a_backbone(self) -> Self:
        if self.weights is not None and self.name != "deeplab":
            raise ValueError(f"weights are read by the deeplab backbone only, and name is {self.name!r}: drop weights")
        if self.separate and self.members > 1:
            raise ValueError("separate networks have no members: choose one of the two")
        return self
