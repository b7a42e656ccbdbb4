"""DeepLab and its ResNet: names, feature sizes, and the laws that tie atrous to strided convolution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from smiler.networks import NetworkOptions, build
from smiler.networks.deeplab import DeepLab, PyramidPooling
from smiler.networks.resnet import ResNet

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
TENSORS = {18: 60, 34: 108, 50: 159, 101: 312}


def expected_names(depth: int) -> set[str]:
    """The parameter names of the usual ImageNet checkpoints, without fc, written out by rule."""
    convolutions = 3 if depth >= 50 else 2
    names = {"conv1.weight", "bn1.weight", "bn1.bias"}
    for layer, blocks in enumerate(BLOCKS[depth], start=1):
        for block in range(blocks):
            at = f"layer{layer}.{block}"
            for i in range(1, convolutions + 1):
                names |= {f"{at}.conv{i}.weight", f"{at}.bn{i}.weight", f"{at}.bn{i}.bias"}
        if layer > 1 or depth >= 50:
            names |= {f"layer{layer}.0.downsample.{part}" for part in ("0.weight", "1.weight", "1.bias")}
    return names


def lively(net: ResNet) -> ResNet:
    """The backbone in eval mode, with BatchNorm statistics that are not the trivial ones."""
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None:
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    return net.eval()


def features(net: ResNet, image: Tensor) -> Tensor:
    with torch.inference_mode():
        found: Tensor = net(image)
    return found


@pytest.mark.parametrize("depth", BLOCKS)
def test_parameters_have_the_names_of_imagenet_checkpoints(depth: int) -> None:
    with torch.device("meta"):
        names = [name for name, _ in ResNet(depth, 3, 16).named_parameters()]
    assert set(names) == expected_names(depth)
    assert len(names) == TENSORS[depth]


@pytest.mark.parametrize("depth", [18, 50])
def test_the_backbone_is_the_strided_resnet_of_monai_seen_at_every_second_pixel(depth: int) -> None:
    from monai.networks.nets import resnet

    ours = lively(ResNet(depth, 1, 16))
    block, counts = ("bottleneck" if depth >= 50 else "basic"), list(BLOCKS[depth])
    oracle = resnet.ResNet(
        block,
        counts,
        [64, 128, 256, 512],
        spatial_dims=2,
        n_input_channels=1,
        conv1_t_stride=2,
        feed_forward=False,
        bias_downsample=False,
    ).eval()
    oracle.load_state_dict(ours.state_dict())
    image = torch.randn(2, 1, 64, 96)
    with torch.inference_mode():
        pooled = oracle(image)
    torch.testing.assert_close(features(ours, image)[:, :, ::2, ::2].mean(dim=(2, 3)), pooled, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", [18, 50])
def test_stride_8_seen_at_every_second_pixel_is_stride_16(depth: int) -> None:
    fine, coarse = lively(ResNet(depth, 1, 8)), ResNet(depth, 1, 16).eval()
    coarse.load_state_dict(fine.state_dict())
    image = torch.randn(1, 1, 64, 64)
    dense = features(fine, image)
    torch.testing.assert_close(dense[:, :, ::2, ::2], features(coarse, image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", BLOCKS)
def test_every_depth_trains(depth: int) -> None:
    net = build(NetworkOptions.model_validate({"name": "deeplab", "depth": depth}), 2)
    net(torch.randn(1, 1, 32, 32)).mean().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("stride", [8, 16])
def test_the_output_stride_sets_the_feature_size(stride: int) -> None:
    net = build(NetworkOptions.model_validate({"name": "deeplab", "output_stride": stride}), 2)
    assert net.stride == stride
    with torch.inference_mode():
        assert net.trunk(torch.randn(2, 1, 64, 48)).shape == (2, 256, 64 // stride, 48 // stride)


@pytest.mark.parametrize("stride", [8, 16])
def test_the_pyramid_looks_at_its_rates_and_at_the_whole_image(stride: int) -> None:
    net = DeepLab(NetworkOptions.model_validate({"name": "deeplab", "output_stride": stride}), 2)
    rates = [
        c.dilation[0] for c in net.pyramid.branches.modules() if isinstance(c, nn.Conv2d) and c.kernel_size == (3, 3)
    ]
    assert rates == [96 // stride, 192 // stride, 288 // stride]


def test_the_whole_image_reaches_every_feature() -> None:
    pyramid = PyramidPooling(4, 8, (6, 12, 18)).eval()
    x = torch.randn(1, 4, 9, 9, requires_grad=True)
    pyramid(x)[0, :, 0, 0].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum(dim=1).gt(0).all()
