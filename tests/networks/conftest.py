"""Fixtures of the network tests: one thread, a fixed seed, and one small network of each kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from smiler.networks import NETWORKS, NetworkOptions, build
from smiler.networks.base import SegmentationNet

Make = Callable[..., SegmentationNet]


DEPTH = 16


def in_space(net: SegmentationNet, *plane: int) -> tuple[int, ...]:
    """A size (H, W) for a network of slices; (D, H, W) for a 3-D one, with D its least depth."""
    return plane if net.axes == 2 else (DEPTH, *plane)


@pytest.fixture(autouse=True)
def _one_thread_one_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(20240501)


@pytest.fixture(params=sorted(NETWORKS))
def make(request: pytest.FixtureRequest) -> Make:
    """Builds one network of the registry, as small as it goes, for `outputs` classes and any other options."""

    def make(outputs: int = 3, **options: object) -> SegmentationNet:
        return build(NetworkOptions.model_validate({"name": request.param, "width": 8, **options}), outputs)

    return make
