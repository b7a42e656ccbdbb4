"""Every network of the registry, as small as it goes."""

from typing import Any

import pytest

from smiler.domain.errors import BadInput
from smiler.networks import NETWORKS, NetworkOptions, check_installed

ONE_TOUR = {"swinunetr3d"}
"""A step on its least patch takes a second: it goes through `tests/networks/test_monai_networks.py` once, and the
network of slices, which is the same class, through everything."""


def smallest(name: str, **options: object) -> NetworkOptions:
    """Of its least width and depth, or as `options` say."""
    step = getattr(NETWORKS[name], "width_step", 1)
    return NetworkOptions.model_validate({"name": name, "width": -(-8 // step) * step, "levels": 3, **options})


def _installed(name: str) -> bool:
    try:
        check_installed(smallest(name))
    except BadInput:
        return False
    return True


def parameters(*names: str) -> list[Any]:
    """Names as parameters of a test (if none is given, all but ONE_TOUR), skipped where their package is missing."""
    lacks = pytest.mark.skip(reason="a package that this network needs is not installed")
    chosen = names or sorted(set(NETWORKS) - ONE_TOUR)
    return [pytest.param(name, marks=() if _installed(name) else lacks) for name in chosen]
