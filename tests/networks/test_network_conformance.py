"""The conformance suite: what every network of the registry must do."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_networks import parameters, smallest
from torch.nn.modules.batchnorm import _BatchNorm

from conftest import DEPTH, Make, in_space
from smiler.domain.errors import BadInput
from smiler.domain.registry import titles
from smiler.networks import NETWORKS, build
from smiler.networks.base import SegmentationNet
from smiler.networks.device import channels_last


@pytest.mark.parametrize("name", parameters())
def test_options_take_every_network_of_the_registry(name: str) -> None:
    options = smallest(name)
    net = build(options, 1)
    assert options.axes == net.axes
    assert not options.stride % net.stride
    assert titles(NETWORKS)[name]


@pytest.mark.parametrize("context", [0, 1, 4])
@pytest.mark.parametrize("outputs", [1, 5, 13])
def test_logits_have_a_channel_for_each_class_at_the_size_of_the_image(make: Make, context: int, outputs: int) -> None:
    net = make(outputs) if make().axes == 3 else make(outputs, context=context)
    channels, size = 1 if net.axes == 3 else 2 * context + 1, in_space(net, 32, 48)
    with torch.inference_mode():
        logits = net(torch.randn(2, channels, *size))
    assert logits.shape == (2, outputs, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", parameters())
def test_every_multiple_of_the_stride_is_a_valid_size(name: str) -> None:
    net = build(smallest(name), 2).eval()

    @settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(sides=st.tuples(*[st.integers(1, 4)] * net.axes))
    def law(sides: tuple[int, ...]) -> None:
        size = tuple(side * net.stride for side in sides)
        with torch.inference_mode():
            assert net(torch.randn(1, 1, *size)).shape == (1, 2, *size)

    law()


@pytest.mark.parametrize("strides", [(1, 2.5, 2), (1, 2, 2.25), (2, 2), (1, 0.5, 2, 2)])
def test_other_sizes_are_refused_with_the_stride_to_pad_to(make: Make, strides: tuple[float, ...]) -> None:
    net = make()
    shape = [each if k == 0 and len(strides) > 2 else each * net.stride for k, each in enumerate(strides)]
    with pytest.raises(BadInput, match=rf"multiples of {net.stride}.*got \(1, .*pad or crop"):
        net(torch.randn(1, *map(int, shape)))


def test_images_with_other_axes_are_refused_with_those_it_wants(make: Make) -> None:
    net = make()
    wanted, other = ("(B, C, H, W)", (1, 1, DEPTH, 32, 32)) if net.axes == 2 else ("(B, C, D, H, W)", (1, 1, 32, 32))
    with pytest.raises(BadInput, match=re.escape(f"the image must be {wanted}")):
        net(torch.randn(other))


def test_a_network_without_classes_is_refused(make: Make) -> None:
    with pytest.raises(BadInput, match=r"at least one output channel.*got 0"):
        make(0)


def test_gradients_reach_every_parameter(make: Make) -> None:
    net = make()
    net(torch.randn(2, 1, *in_space(net, 64, 64))).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_forward_is_head_of_trunk_in_eval_mode(make: Make) -> None:
    net = make(dropout=0.5).eval()
    size = in_space(net, 32, 32)
    image = torch.randn(2, 1, *size)
    with torch.inference_mode():
        torch.testing.assert_close(net(image), net.head(net.trunk(image), size), rtol=0, atol=0)


def test_the_head_keeps_the_feature_resolution_on_request(make: Make) -> None:
    net = make().eval()
    with torch.inference_mode():
        features = net.trunk(torch.randn(1, 1, *in_space(net, 64, 64)))
        torch.testing.assert_close(net.head(features, features.shape[2:]), net.classifier(features), rtol=0, atol=0)


def test_the_classifier_starts_without_preference(make: Make) -> None:
    assert not make(7).classifier.state_dict()["bias"].any()


def test_the_seed_before_build_decides_the_weights(make: Make) -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.nn.utils.parameters_to_vector(make().parameters())

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_saved_state_gives_the_same_logits(make: Make) -> None:
    first, second = make().eval(), make().eval()
    image = torch.randn(1, 1, *in_space(first, 32, 32))
    assert not torch.equal(first(image), second(image))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(image), second(image))


def warmed(net: SegmentationNet, image: torch.Tensor) -> SegmentationNet:
    """The network in eval mode, with BatchNorm statistics, if it has any, of the image rather than of nothing."""
    net.train()
    with torch.no_grad():
        for _ in range(20 if any(isinstance(layer, _BatchNorm) for layer in net.modules()) else 0):
            net(image)
    return net.eval()


def test_bfloat16_and_channels_last_agree_with_float32(make: Make) -> None:
    net = make(4, dropout=0)
    image = torch.randn(2, 1, *in_space(net, 64, 64))
    net, order = warmed(net, image), channels_last(net.axes)
    with torch.inference_mode():
        exact = net(image)
        net.to(memory_format=order)  # type: ignore[call-overload]  # torch's stubs lack it
        image = image.to(memory_format=order)
        torch.testing.assert_close(net(image), exact, rtol=1e-4, atol=1e-4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = net(image).float()
    assert (rough - exact).square().mean().sqrt() < 0.1 * exact.std()


def test_importing_the_registry_loads_no_network() -> None:
    code = "import sys, smiler.networks; print(sorted({'torch', 'monai'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
