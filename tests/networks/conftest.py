"""Fixtures of the network tests: one thread, a fixed seed, and one small network of each kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_networks import parameters, smallest

from smiler.networks import build
from smiler.networks.base import SegmentationNet

Make = Callable[..., SegmentationNet]


DEPTH = 16


def in_space(net: SegmentationNet, *plane: int) -> tuple[int, ...]:
    """A size (H, W), rounded up to the stride, for a network of slices; (D, H, W) of its least depth for a 3-D one."""
    height, width = (-(-side // net.stride) * net.stride for side in plane)
    return (height, width) if net.axes == 2 else (net.stride, height, width)


@pytest.fixture(autouse=True)
def _one_thread_one_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(20240501)


@pytest.fixture(params=parameters())
def make(request: pytest.FixtureRequest) -> Make:
    """Builds one network of the registry, as small as it goes, for `outputs` classes and any other options."""

    def make(outputs: int = 3, **options: object) -> SegmentationNet:
        return build(smallest(request.param, **options), outputs)

    return make
