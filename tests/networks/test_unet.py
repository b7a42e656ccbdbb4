"""The U-Net: the same function as MONAI's BasicUNet, with features at full resolution."""

from __future__ import annotations

import torch

from smiler.networks import NetworkOptions, build


def test_logits_equal_those_of_monai_with_the_same_weights() -> None:
    from monai.networks.nets.basic_unet import BasicUNet

    net = build(NetworkOptions(name="unet", width=8, context=1), 5).eval()
    oracle = BasicUNet(2, 3, 5, features=(8, 8, 16, 32, 64, 8), norm="batch", bias=False).eval()
    prefix = {"body.": "", "classifier.": "final_conv."}
    renamed = {
        new + k.removeprefix(old): v
        for old, new in prefix.items()
        for k, v in net.state_dict().items()
        if k.startswith(old)
    }
    oracle.load_state_dict(renamed)
    image = torch.randn(2, 3, 32, 48)
    with torch.inference_mode():
        torch.testing.assert_close(net(image), oracle(image), rtol=0, atol=0)


def test_features_have_the_width_and_the_resolution_of_the_image() -> None:
    net = build(NetworkOptions(name="unet", width=12), 2)
    with torch.inference_mode():
        assert net.trunk(torch.randn(1, 1, 32, 64)).shape == (1, 12, 32, 64)
