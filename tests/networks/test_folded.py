"""Networks without their BatchNorms: the same answers, and the network they come from as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_networks import parameters, smallest
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from conftest import Make, in_space
from smiler.networks import NetworkOptions, build
from smiler.networks.base import SegmentationNet
from smiler.networks.folded import folded


def lived_in(net: nn.Module) -> None:
    """Statistics and scales as far from those of a new network as a training may bring them, signs included."""
    for layer in net.modules():
        if isinstance(layer, _BatchNorm):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.3, 3)
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)


OF_BATCHES = {"deeplab", "unet", "unet3d"}
"""Networks that normalise over the batch; the others do so within an image, and have nothing to fold."""
KINDS: list[dict[str, Any]] = [{}, {"members": 2}, {"separate": True}]
DEEP: list[dict[str, Any]] = [{"depth": depth, "output_stride": stride} for depth in (18, 34, 50) for stride in (8, 16)]


@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("name", sorted(OF_BATCHES))
def test_it_says_the_same_without_any_batch_norm(name: str, options: dict[str, Any]) -> None:
    says_the_same(build(smallest(name, **options), 3).eval())


@pytest.mark.parametrize("options", DEEP, ids=str)
def test_every_deeplab_says_the_same_without_any_batch_norm(options: dict[str, Any]) -> None:
    says_the_same(build(NetworkOptions(name="deeplab", **options), 3).eval())


@pytest.mark.parametrize("name", parameters())
def test_networks_normalise_over_the_batch_or_within_an_image(name: str) -> None:
    has = any(isinstance(layer, _BatchNorm) for layer in build(smallest(name), 1).modules())
    assert has == (name in OF_BATCHES)


def says_the_same(net: SegmentationNet) -> None:
    lived_in(net)
    image = torch.randn(2, 1, *in_space(net, 48, 32))
    without = folded(net)
    with torch.inference_mode():
        expected, found = net.trunk(image), without.trunk(image)
        logits, logits_found = net(image), without(image)
    assert not any(isinstance(layer, _BatchNorm) for layer in without.modules())
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert (logits_found - logits).abs().max() <= 1e-4 * logits.abs().max()


def test_a_network_in_training_stays_what_it_was(make: Make) -> None:
    net = make().train()
    lived_in(net)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    without = folded(net)
    assert not without.training
    assert all(layer.training for layer in net.modules())
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with torch.no_grad():
        for weight in without.parameters():
            weight.zero_()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
