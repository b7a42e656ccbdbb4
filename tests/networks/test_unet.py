"""The U-Nets: the same function as MONAI's BasicUNet, with features at full resolution."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from smiler.networks import NetworkOptions, build

BOTH = pytest.mark.parametrize(
    ("options", "size"),
    [({"name": "unet", "context": 1}, (32, 48)), ({"name": "unet3d"}, (16, 32, 48))],
    ids=["unet", "unet3d"],
)


@BOTH
def test_logits_equal_those_of_monai_with_the_same_weights(options: dict[str, object], size: tuple[int, ...]) -> None:
    from monai.networks.nets.basic_unet import BasicUNet

    chosen = NetworkOptions.model_validate({**options, "width": 8})
    net = build(chosen, 5).eval()
    oracle = BasicUNet(
        len(size), chosen.in_channels, 5, features=(8, 8, 16, 32, 64, 8), norm="batch", bias=False
    ).eval()
    prefix = {"body.": "", "classifier.": "final_conv."}
    renamed = {
        new + k.removeprefix(old): v
        for old, new in prefix.items()
        for k, v in net.state_dict().items()
        if k.startswith(old)
    }
    oracle.load_state_dict(renamed)
    image = torch.randn(2, chosen.in_channels, *size)
    with torch.inference_mode():
        torch.testing.assert_close(net(image), oracle(image), rtol=0, atol=0)


@BOTH
def test_features_have_the_width_and_the_resolution_of_the_image(
    options: dict[str, object], size: tuple[int, ...]
) -> None:
    chosen = NetworkOptions.model_validate({**options, "width": 12})
    with torch.inference_mode():
        assert build(chosen, 2).trunk(torch.randn(1, chosen.in_channels, *size)).shape == (1, 12, *size)


def test_neighbouring_slices_as_channels_make_no_sense_in_3d() -> None:
    with pytest.raises(ValidationError, match="unet3d sees the neighbouring slices by itself: drop context"):
        NetworkOptions(name="unet3d", context=1)
