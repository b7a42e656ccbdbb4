"""What can be chosen about training."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingOptions(BaseModel):
    """Steps, optimiser, schedule, precision, checkpoints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(3000, ge=1, description="optimiser steps of the first training")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="peak learning rate (AdamW)")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="weight decay (AdamW)")
    schedule: Literal["cosine", "one_cycle"] = Field(
        "one_cycle", description="cosine: falls from the first step; one_cycle: rises over the first tenth, then falls"
    )
    clip_norm: float = Field(5.0, gt=0, description="gradients are scaled down to this norm")
    precision: Literal["auto", "32", "bf16", "16"] = Field(
        "auto", description="auto: bf16 where the device computes it, else 32 (16 on older GPUs)"
    )
    device: str = Field("auto", description="auto, cpu, cuda, mps")
    devices: int = Field(1, ge=1, description="processes or GPUs of one run")
    checkpoint_minutes: float = Field(5.0, gt=0, description="minutes between checkpoints")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of weights, batches and augmentation")
    prior: float = Field(0.01, gt=0, lt=1, description="probability of every organ before the first step")
    tensorboard: bool = Field(False, description="also write TensorBoard events (needs the extra 'tracking')")
