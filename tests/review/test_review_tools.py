"""The drawing tools against what they should do, by whole arrays and plain geometry."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from smiler.review.errors import Refused
from smiler.review.masks import Box, Mask
from smiler.review.tools import TOOLS, Drawing

SHAPE = (11, 10, 9)
SPACING = (1.0, 1.5, 2.5)
volumes = hnp.arrays(np.uint8, SHAPE, elements=st.integers(0, 1), fill=st.just(0))


def used(tool: str, voxels: np.ndarray, box: Box, axis: int | None = None, radius: float | None = None) -> np.ndarray:
    """What a tool makes of a drawing, on the whole grid."""
    made, where = TOOLS[tool](Drawing(Mask.of(voxels[box.slices], SHAPE, box.start), box, SPACING), axis, radius)
    assert made.dtype == np.uint8
    assert made.shape == where.shape
    whole = np.zeros(SHAPE, np.uint8)
    whole[where.slices] = made
    return whole


def tight(voxels: np.ndarray) -> Box:
    return Mask.of(voxels, SHAPE).box


def near(voxels: np.ndarray, radius: float) -> np.ndarray:
    """Whether a voxel's centre lies within a radius of one of the mask's, by looking at all of them."""
    if not voxels.any():
        return np.zeros(SHAPE, np.uint8)
    return (ndimage.distance_transform_edt(voxels == 0, SPACING) <= radius + 1e-6).astype(np.uint8)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(volumes, st.sampled_from([0.9, 1.1, 2.0, 2.6, 4.2]))
def test_grow_takes_what_is_near_and_shrink_gives_it_back(voxels: np.ndarray, radius: float) -> None:
    assert np.array_equal(used("grow", voxels, tight(voxels), radius=radius), near(voxels, radius))
    outside = near(1 - voxels, radius)
    assert np.array_equal(used("shrink", voxels, tight(voxels), radius=radius), voxels & (1 - outside))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_between_two_equal_slices_lies_the_same_slice(axis: int) -> None:
    voxels = np.zeros(SHAPE, np.uint8)
    work = np.moveaxis(voxels, axis, 0)
    plane = np.zeros(work.shape[1:], np.uint8)
    plane[2:6, 3:7] = 1
    work[1], work[6] = plane, plane
    filled = np.moveaxis(used("interpolate", voxels, tight(voxels), axis), axis, 0)
    assert all(np.array_equal(filled[at], plane) for at in range(1, 7))
    assert not filled[0].any()
    assert not filled[7:].any()


def test_between_a_large_and_a_small_disc_the_discs_become_smaller() -> None:
    yy, xx = np.mgrid[:40, :40] - 20.0
    voxels = np.zeros((40, 40, 9), np.uint8)
    voxels[:, :, 0], voxels[:, :, 8] = yy**2 + xx**2 <= 15**2, yy**2 + xx**2 <= 5**2
    box = Box((0, 0, 0), (40, 40, 9))
    made, _ = TOOLS["interpolate"](Drawing(Mask.of(voxels, voxels.shape), box, (1.0, 1.0, 3.0)), 2, None)
    radii = [np.sqrt(made[:, :, k].sum() / np.pi) for k in range(9)]
    assert np.allclose(radii, np.linspace(15, 5, 9), atol=0.6)
    assert np.array_equal(made[:, :, 0], voxels[:, :, 0])


def test_every_gap_is_filled_and_no_slice_is_skipped() -> None:
    voxels = np.zeros(SHAPE, np.uint8)
    for k in (0, 3, 8):
        voxels[2:5, 2:5, k] = 1
    assert used("interpolate", voxels, tight(voxels), 2).any(axis=(0, 1)).all()
    with pytest.raises(Refused, match="nothing to interpolate between"):
        used("interpolate", voxels[:, :, :1] * np.eye(1, 9, dtype=np.uint8), Box((0, 0, 0), SHAPE), 2)
    with pytest.raises(Refused, match="along which axis"):
        used("interpolate", voxels, tight(voxels))


def test_fill_closes_holes_in_slices_or_in_space() -> None:
    ring = np.zeros(SHAPE, np.uint8)
    ring[2:7, 2:7, 3:6] = 1
    ring[4, 4, :] = 0  # a tunnel: a hole in each slice, none in space
    assert used("fill", ring, tight(ring), 2)[4, 4, 3:6].all()
    assert np.array_equal(used("fill", ring, tight(ring)), ring)
    hollow = np.zeros(SHAPE, np.uint8)
    hollow[2:7, 2:7, 2:7] = 1
    hollow[4, 4, 4] = 0
    assert used("fill", hollow, tight(hollow))[4, 4, 4] == 1


def test_the_largest_piece_stays() -> None:
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[0:2, 0:2, 0:2] = 1
    voxels[2, 2, 2] = 1  # touches at a corner
    voxels[8:10, 8:10, 8] = 1
    kept = used("largest", voxels, Box((0, 0, 0), SHAPE))
    assert kept.sum() == 9
    assert kept[2, 2, 2]


@pytest.mark.parametrize(("tool", "edge"), list(itertools.product(TOOLS, (False, True))))
def test_no_tool_fails_on_an_empty_or_a_full_box(tool: str, edge: bool) -> None:
    voxels = np.full(SHAPE, int(edge), np.uint8)
    box = Box((0, 0, 0), SHAPE)
    if tool == "interpolate" and not edge:
        with pytest.raises(Refused):
            used(tool, voxels, box, 0, 1.0)
    else:
        assert np.array_equal(used(tool, voxels, box, 0, 1.0), voxels)


def test_the_images_border_is_not_outside() -> None:
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[:, :, :4] = 1
    shrunk = used("shrink", voxels, tight(voxels), radius=2.6)
    assert shrunk[:, :, :3].all()
    assert not shrunk[:, :, 3].any()
