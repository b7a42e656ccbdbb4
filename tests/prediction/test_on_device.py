"""Masks made from tensors, as on a GPU, are those that are made from arrays."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smiler.domain.evidence import Relations
from smiler.domain.geometry import Geometry
from smiler.domain.organs import Organ, OrganSet
from smiler.prediction.compose import compose, patches
from smiler.prediction.on_device import compose_planes
from smiler.prediction.options import PredictionOptions
from smiler.prediction.volume import Grids, restored

ORGANS = OrganSet(
    (
        Organ("liver", overlaps=frozenset({"tumour"})),
        Organ("tumour", part_of="liver"),
        Organ("spleen"),
        Organ("left_kidney"),
    )
)


def grid(*shape: int) -> Geometry:
    return Geometry.canonical(shape, (2.0, 1.0, 1.0))


def smooth(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(shape[0], len(ORGANS), *shape[1:])).astype(np.float32) + 0.3


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    working=st.tuples(st.integers(1, 20), st.integers(2, 12), st.integers(2, 12)),
    native=st.tuples(st.integers(1, 20), st.integers(2, 12), st.integers(2, 12)),
)
def test_tensors_become_the_masks_that_arrays_become(
    seed: int, working: tuple[int, int, int], native: tuple[int, int, int]
) -> None:
    scores = smooth(seed, working)
    grids = Grids(grid(*working), grid(*native))

    def arrays() -> Iterator[np.ndarray]:
        yield from scores

    def tensors() -> Iterator[torch.Tensor]:
        yield from torch.from_numpy(scores)

    usual = restored(arrays(), grids, ORGANS, PredictionOptions())
    other = restored(tensors(), grids, ORGANS, PredictionOptions())
    assert other.dtype == usual.dtype
    assert (other != usual).mean() <= (0 if working == native else 0.002)  # the order of a sum, at a border


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), few=st.integers(2, 5))
def test_whole_planes_are_decided_as_boxes_are_ties_included(seed: int, few: int) -> None:
    scores = np.random.default_rng(seed).integers(-few, few, (len(ORGANS), 3, 5, 4)).astype(np.float32)
    relations = Relations.of(ORGANS)
    wanted = compose(patches(scores), scores.shape[1:], relations)
    assert np.array_equal(compose_planes(torch.from_numpy(scores), relations).numpy(), wanted)


@pytest.mark.parametrize("largest", [False, True])
def test_only_the_largest_piece_is_kept_of_tensors_too(largest: bool) -> None:
    scores = np.full((4, 4, 6, 6), -1.0, dtype=np.float32)
    scores[0:2, 0, :3, :3] = scores[3, 0, 5, 5] = 1.0
    grids = Grids(grid(4, 6, 6), grid(4, 6, 6))
    bits = restored(iter(torch.from_numpy(scores)), grids, ORGANS, PredictionOptions(largest_component=largest))
    assert (bits & 1).sum() == (18 if largest else 19)
