"""What can be chosen about training."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class TrainingOptions(BaseModel):
    """Steps, optimiser, schedule, precision, checkpoints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(
        default=3000, ge=1, description="optimiser steps in all; a curriculum divides them among its rounds"
    )
    learning_rate: float = Field(default=4e-3, gt=0, le=1, description="peak learning rate (AdamW)")
    weight_decay: float = Field(default=1e-4, ge=0, le=1, description="weight decay (AdamW)")
    schedule: Literal["cosine", "one_cycle"] = Field(
        default="one_cycle",
        description="cosine: falls from the first step; one_cycle: rises over the first tenth, then falls",
    )
    average: float = Field(
        default=0.04,
        ge=0,
        le=1,
        description="share of all steps over which weights are averaged for prediction; 0: the last weights",
    )
    clip_norm: float = Field(default=5.0, gt=0, description="gradients are scaled down to this norm")
    precision: Literal["auto", "32", "bf16", "16"] = Field(
        default="auto", description="auto: what the device computes fastest: bf16 or 32, 16 on older GPUs"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, mps")
    devices: int = Field(default=1, ge=1, description="processes or GPUs of one run")
    checkpoint_minutes: float = Field(default=5.0, gt=0, description="minutes between checkpoints")
    seed: int = Field(default=0, ge=0, lt=2**31, description="seed of weights, batches and augmentation")
    hold_out: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="share of each organ's annotated volumes (of four or more) that the run never learns from: they "
        "measure it in relabel --round, so that a review is calibrated from its first minute, and in evaluate",
    )
    prior: float = Field(default=0.01, gt=0, lt=1, description="probability of every organ before the first step")
    compile: bool = Field(
        default=False, description="compile the trunk (torch.compile; needs a C++ compiler, a minute or so at first)"
    )
    graph: bool = Field(
        default=True, description="on one GPU, record a step as a CUDA graph: the same results, less waiting for Python"
    )
    tensorboard: bool = Field(default=False, description="also write TensorBoard events (needs the extra 'tracking')")

    @field_validator("precision", mode="before")
    @classmethod
    def _number_is_a_name(cls, value: Any) -> Any:
        """TOML and --set read 32 as a number."""
        return str(value) if type(value) is int else value
