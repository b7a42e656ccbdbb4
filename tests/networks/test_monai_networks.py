"""MONAI's networks by one line each: MONAI's own answers, sizes and widths that suit them, packages that they need."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from small_networks import parameters, smallest
from torch import nn

from smiler.domain.errors import BadInput
from smiler.networks import NETWORKS, NetworkOptions, build
from smiler.networks.checkpoint import load_weights, read_checkpoint, save_checkpoint
from smiler.networks.device import make_fabric
from smiler.networks.monai_network import GroupedConv3d, InstanceNorm, MonaiNetwork
from smiler.prediction.engines import ENGINES
from smiler.recipe.recipe import load_recipe


def segresnet(axes: int, width: int) -> nn.Module:
    from monai.networks.nets.segresnet import SegResNet

    blocks: dict[str, Any] = {"blocks_down": (1, 2, 2), "blocks_up": (1, 1)}
    return SegResNet(axes, width, 1, 5, **blocks)


def dynunet(axes: int, width: int) -> nn.Module:
    from monai.networks.nets.dynunet import DynUNet

    return DynUNet(axes, 1, 5, [3, 3, 3], [1, 2, 2], [2, 2], filters=[width, 2 * width, 4 * width])


def swinunetr(axes: int, width: int) -> nn.Module:
    from monai.networks.nets.swin_unetr import SwinUNETR

    return SwinUNETR(1, 5, feature_size=width, spatial_dims=axes)


def mednext(axes: int, width: int) -> nn.Module:
    from monai.networks.nets.mednext import MedNeXt

    shape: dict[str, Any] = {"blocks_down": (2, 2), "blocks_up": (2, 2), "use_residual_connection": True}
    return MedNeXt(axes, width, 1, 5, kernel_size=3, **shape)


MONAI: dict[str, tuple[Callable[[int, int], nn.Module], str, str]] = {
    "segresnet": (segresnet, "", "conv_final.2.conv"),
    "dynunet": (dynunet, "skip_layers.", "output_block.conv.conv"),
    "swinunetr": (swinunetr, "", "out.conv.conv"),
    "mednext": (mednext, "", "out_0.conv_out"),
}
"""How MONAI's own network is made, under which name it has our trunk, and under which our classifier."""


def least(net: MonaiNetwork | Any, *strides: int) -> tuple[int, ...]:
    """A size (*space) of so many strides, 1 where none is told."""
    return tuple(net.stride * side for side in (*strides, 1, 1, 1)[: net.axes])


def monai_and_ours(name: str) -> tuple[nn.Module, Any]:
    options = smallest(name)
    net = build(options, 5).eval()
    make, trunk, last = MONAI[name.removesuffix("3d")]
    oracle = make(net.axes, options.width).eval()
    state = {trunk + key.removeprefix("body."): value for key, value in net.state_dict().items() if "body." in key}
    weight = net.classifier.weight
    transposed = isinstance(oracle.get_submodule(last), nn.ConvTranspose2d | nn.ConvTranspose3d)
    state |= {f"{last}.weight": weight.transpose(0, 1) if transposed else weight, f"{last}.bias": net.classifier.bias}
    missing, unexpected = oracle.load_state_dict(state, strict=False)
    assert not unexpected
    again = ("input_block", "downsamples", "upsamples", "bottleneck")  # a DynUNet has each layer under two names
    assert all(key.startswith(again) for key in missing)
    return oracle, net


@pytest.mark.parametrize("name", parameters(*sorted(set(NETWORKS) - {"deeplab", "unet", "unet3d"})))
def test_logits_equal_those_of_monai_with_the_same_weights(name: str) -> None:
    oracle, net = monai_and_ours(name)
    nn.init.normal_(net.classifier.bias)
    image = torch.randn(1, 1, *least(net, 2))
    with torch.inference_mode():
        oracle.get_submodule(MONAI[name.removesuffix("3d")][2]).bias.copy_(net.classifier.bias)
        torch.testing.assert_close(net(image), oracle(image), rtol=1e-3, atol=1e-3)
        assert net.trunk(image).shape == (1, smallest(name).width, *image.shape[2:])


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("affine", [True, False])
def test_an_instance_norm_is_pytorchs_and_one_pixel_becomes_the_bias(axes: int, affine: bool) -> None:
    plain = (nn.InstanceNorm2d if axes == 2 else nn.InstanceNorm3d)(6, affine=affine)
    if affine:
        nn.init.normal_(plain.weight)
        nn.init.normal_(plain.bias)
    image = torch.randn(3, 6, *[5] * axes)
    mine = InstanceNorm(plain)
    torch.testing.assert_close(mine(image), plain(image), rtol=1e-4, atol=1e-5)
    assert mine.state_dict().keys() == plain.state_dict().keys()
    pixel = torch.randn(1, 6, *[1] * axes)
    bias = plain.bias if affine else torch.zeros(6)
    torch.testing.assert_close(mine(pixel), bias.view(1, 6, *[1] * axes).expand_as(pixel))


def test_a_grouped_3d_convolution_learns_in_bf16_what_it_learns_in_float32() -> None:
    plain = nn.Conv3d(16, 16, 3, padding=1, groups=16).to(memory_format=torch.channels_last_3d)
    image = torch.randn(2, 16, 2, 4, 4).to(memory_format=torch.channels_last_3d)
    plain(image).square().sum().backward()
    assert plain.weight.grad is not None
    exact, mine = plain.weight.grad.clone(), GroupedConv3d.of(plain)
    mine.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mine(image).square().sum().backward()
    assert mine.weight.grad is not None
    torch.testing.assert_close(mine.weight.grad, exact, rtol=0.02, atol=0.02 * float(exact.abs().max()))


def test_every_grouped_3d_convolution_is_such_a_one() -> None:
    layers = [each for each in build(smallest("mednext3d"), 1).modules() if isinstance(each, nn.Conv3d)]
    assert any(each.groups > 1 for each in layers)
    assert all(isinstance(each, GroupedConv3d) == (each.groups > 1) for each in layers)


@pytest.mark.parametrize("name", ["segresnet", "dynunet3d", "mednext3d"])
@pytest.mark.parametrize("levels", [3, 4, 5])
def test_levels_decide_the_stride(name: str, levels: int) -> None:
    assert build(smallest(name, levels=levels), 1).stride == 2 ** (levels - 1)


def test_a_dynunet_is_as_wide_as_nnunets_and_no_wider() -> None:
    for name, most in (("dynunet", 512), ("dynunet3d", 320)):
        widths = NETWORKS[name].design.arguments(NetworkOptions(name=name, width=32, levels=7), 2 if most == 512 else 3)  # type: ignore[attr-defined]
        assert widths["filters"] == [min(32 * 2**level, most) for level in range(7)]


def test_residual_blocks_add_their_1x1_convolutions() -> None:
    plain, residual = (build(smallest("dynunet", residual=each), 1).state_dict() for each in (False, True))
    more = set(residual) - set(plain)
    assert {key.split(".")[-2 if "norm" in key else -3] for key in more} == {"conv3", "norm3"}
    assert not set(plain) - set(residual)


@pytest.mark.parametrize("width", [8, 16, 30])
def test_a_width_that_windows_of_attention_cannot_share_is_refused(width: int) -> None:
    with pytest.raises(ValidationError, match=f"swinunetr wants a width that is a multiple of 12, and it is {width}"):
        NetworkOptions(name="swinunetr", width=width)


@pytest.mark.parametrize("width", [9, 12, 20, 24])
def test_a_segresnet_of_any_width_has_groups_that_fit(width: int) -> None:
    net = build(NetworkOptions(name="segresnet", width=width, levels=3), 2)
    assert net(torch.randn(1, 1, 8, 8)).shape == (1, 2, 8, 8)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            ["network.name=swinunetr3d", "sampling.patch_depth=16"],
            "patch_depth and sampling.patch_size in multiples of 32, and a patch is \\(16",
        ),
        (["network.name=dynunet", "network.levels=7", "sampling.patch_size=96"], "patch_size in multiples of 64"),
    ],
)
def test_a_patch_that_does_not_suit_the_network_is_refused_before_a_training(changes: list[str], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        load_recipe("smile", None, changes)


@pytest.mark.parametrize("name", ["segresnet3d", "dynunet3d", "mednext3d"])
def test_a_patch_of_16_slices_suits_the_networks_of_convolutions(name: str) -> None:
    recipe = load_recipe("smile", None, [f"network.name={name}", "sampling.patch_depth=16"])
    assert recipe.sampling.box == (16, 96, 96)


@pytest.mark.parametrize("name", ["swinunetr", "swinunetr3d"])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "einops", None)
    with pytest.raises(BadInput, match=r"network\.name: the network needs einops; .*pip install 'smiler-seg\[swin\]'"):
        build(NetworkOptions(name=name, width=12), 1)


@pytest.mark.parametrize("name", parameters("segresnet", "dynunet", "mednext", "segresnet3d"))
def test_onnx_runtime_says_what_the_network_says(name: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    net = build(smallest(name), 1).eval()
    trunk = ENGINES["onnx"](net, make_fabric("cpu", "32"))
    image = torch.randn(3, 1, *least(net, 3))
    with torch.inference_mode():
        torch.testing.assert_close(trunk(image), net.trunk(image), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", parameters("swinunetr3d"))
def test_the_slowest_network_does_what_the_others_do(name: str, tmp_path: Path) -> None:
    """One tour through the conformance suite; see ONE_TOUR."""
    net = build(smallest(name, dropout=0.5), 2)
    image = torch.randn(1, 1, *least(net, 1, 1, 2))
    net(image).square().mean().backward()
    assert all(each.grad is not None and each.grad.isfinite().all() and each.grad.any() for each in net.parameters())
    path = save_checkpoint(tmp_path, 1, 1, {}, {"model": net.state_dict()})
    other = build(smallest(name, dropout=0.5), 2)
    load_weights(other, read_checkpoint(path))
    image = image[..., :32]
    with torch.inference_mode():
        features, size = net.eval().trunk(image), image.shape[2:]
        assert torch.equal(other.eval().trunk(image), features)
        assert net.head(features, size).shape == (1, 2, *size)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = net.trunk(image).float()
        passes = torch.stack([net.stochastic(features, size, torch.Generator().manual_seed(seed)) for seed in range(8)])
    assert (rough - features).square().mean().sqrt() < 0.1 * features.std()
    assert not torch.equal(passes[0], passes[1])
    with pytest.raises(BadInput, match="D, H and W multiples of 32"):
        net(image[:, :, :16])
