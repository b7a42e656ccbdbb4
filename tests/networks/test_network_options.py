"""The options of a network: what they accept, refuse and derive."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from smiler.networks import NetworkOptions


def test_every_option_is_described() -> None:
    assert all(field.description for field in NetworkOptions.model_fields.values())


@settings(derandomize=True)
@given(context=st.integers(0, 8))
def test_the_slice_and_its_neighbours_are_the_channels(context: int) -> None:
    assert NetworkOptions(context=context).in_channels == 2 * context + 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "segformer"},
        {"context": -1},
        {"context": 9},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"width": 7},
        {"width": 129},
        {"depth": 152},
        {"output_stride": 32},
        {"heads": 8},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        NetworkOptions.model_validate(wrong)


def test_weights_for_a_network_without_a_backbone_are_refused() -> None:
    with pytest.raises(ValidationError, match="deeplab backbone only"):
        NetworkOptions(name="unet", weights=Path("resnet18.safetensors"))


def test_options_cannot_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        NetworkOptions().width = 32  # type: ignore[misc]


def test_options_survive_the_plan_file() -> None:
    options = NetworkOptions(name="deeplab", depth=50, output_stride=8, weights=Path("resnet50.pth"))
    assert NetworkOptions.model_validate_json(options.model_dump_json()) == options
