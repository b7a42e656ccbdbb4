"""Resampling: what it must keep, whatever the shapes; and that the working grid covers what the file's grid covers."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smiler.domain.geometry import Geometry
from smiler.store.resample import HALF, Resampler, axis_weights, regrid, working_geometry
from smiler.store.store import resample_bits

LAW = settings(max_examples=60, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(1, 40)
SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 12), st.integers(1, 12))


def noise(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def lumps(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Noise or slabs: masks cut from it have thick and thin parts, and borders in the middle of voxels."""
    slabs = np.indices(shape).sum(axis=0) / sum(shape) - 0.25
    return slabs.astype(np.float32) if seed % 2 else noise(shape, seed)


@LAW
@given(inputs=SIDES, outputs=SIDES)
def test_weights_are_a_mean_and_move_forward(inputs: int, outputs: int) -> None:
    weights = axis_weights(inputs, outputs)
    assert weights.shape == (outputs, inputs)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    centres = weights @ np.arange(inputs)
    assert (np.diff(centres) > -1e-4).all()
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-6)


@LAW
@given(shape=SHAPES, seed=SEEDS)
def test_the_same_shape_changes_nothing(shape: tuple[int, int, int], seed: int) -> None:
    volume = noise(shape, seed)
    np.testing.assert_array_equal(Resampler(shape, shape).volume(volume), volume)
    np.testing.assert_array_equal(Resampler(shape, shape).mask(volume > 0), volume > 0)


@LAW
@given(source=SHAPES, target=SHAPES, value=st.integers(-1024, 3071))
def test_a_constant_stays(source: tuple[int, int, int], target: tuple[int, int, int], value: int) -> None:
    resampler = Resampler(source, target)
    np.testing.assert_allclose(resampler.volume(np.full(source, value, dtype=np.int16)), value, atol=2e-3)
    assert resampler.mask(np.ones(source, dtype=bool)).all()
    assert not resampler.mask(np.zeros(source, dtype=bool)).any()


@LAW
@given(source=SHAPES, target=SHAPES, seed=SEEDS)
def test_a_larger_volume_stays_larger_and_within_its_range(
    source: tuple[int, int, int], target: tuple[int, int, int], seed: int
) -> None:
    low = noise(source, seed)
    high = low + np.abs(noise(source, seed + 1))
    resampler = Resampler(source, target)
    result = resampler.volume(low)
    assert (resampler.volume(high) >= result - 1e-5).all()
    assert result.min() >= low.min() - 1e-5
    assert result.max() <= low.max() + 1e-5


@LAW
@given(source=SHAPES, target=SHAPES, seed=SEEDS)
def test_exclusive_masks_stay_exclusive_and_parts_inside(
    source: tuple[int, int, int], target: tuple[int, int, int], seed: int
) -> None:
    field, resampler = lumps(source, seed), Resampler(source, target)
    whole, part, rival = field > 0, field > 0.3, field <= 0
    whole_there, part_there, rival_there = (resampler.mask(mask) for mask in (whole, part, rival))
    assert not (part_there & ~whole_there).any()
    assert not (whole_there & rival_there).any()
    bits = whole.astype(np.int32) | part.astype(np.int32) << 1 | rival.astype(np.int32) << 30
    out, voxels = resample_bits(bits, resampler, 31)
    for k, mask in ((0, whole_there), (1, part_there), (30, rival_there)):
        np.testing.assert_array_equal(out >> k & 1, mask)
        np.testing.assert_array_equal(voxels[:, k], mask.sum(axis=(1, 2)))
    assert out.dtype == np.int32
    assert not voxels[:, 2:30].any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_voxel_that_two_organs_share_equally_is_never_given_to_both(axis: int) -> None:
    for inputs, outputs in itertools.product(range(1, 33), repeat=2):
        source, target = ([n if at == axis else 1 for at in range(3)] for n in (inputs, outputs))
        lower = (np.arange(inputs) < inputs // 2).reshape(source)
        resampler = Resampler(source, target)
        assert not (resampler.mask(lower) & resampler.mask(~lower)).any(), (inputs, outputs)


@LAW
@given(source=SHAPES, target=SHAPES, seed=SEEDS, block=st.integers(1, 7))
def test_block_by_block_is_the_whole_volume(
    source: tuple[int, int, int], target: tuple[int, int, int], seed: int, block: int
) -> None:
    volume, resampler = noise(source, seed), Resampler(source, target)
    whole = resampler.block(volume, 0, target[0]) if resampler.needed(0, target[0]) == (0, source[0]) else None
    by_blocks = resampler.volume(volume, block)
    np.testing.assert_allclose(by_blocks, resampler.volume(volume, target[0]), atol=1e-5)
    if whole is not None:
        np.testing.assert_allclose(by_blocks, whole, atol=1e-5)
    np.testing.assert_array_equal(resampler.mask(volume > 0), resampler.volume(volume > 0) > HALF)


@LAW
@given(source=SHAPES, target=SHAPES, seed=SEEDS)
def test_a_block_is_made_of_the_slices_it_names_and_of_no_others(
    source: tuple[int, int, int], target: tuple[int, int, int], seed: int
) -> None:
    volume, resampler = noise(source, seed), Resampler(source, target)
    weights = np.eye(source[0]) if source[0] == target[0] else axis_weights(source[0], target[0])
    for z in range(target[0]):
        first, last = resampler.needed(z, z + 1)
        assert set(np.flatnonzero(weights[z])) <= set(range(first, last))
        assert weights[z, first] > 0
        assert weights[z, last - 1] > 0
        elsewhere = volume + 1000
        elsewhere[first:last] = volume[first:last]
        np.testing.assert_allclose(resampler.volume(elsewhere)[z], resampler.volume(volume)[z], atol=1e-5)


GEOMETRIES = st.builds(
    lambda shape, spacing, angle, origin: Geometry.of(shape, _rotated(spacing, angle, origin)),
    SHAPES,
    st.tuples(*[st.floats(0.3, 6)] * 3),
    st.floats(-3, 3),
    st.tuples(*[st.floats(-500, 500)] * 3),
)


def _rotated(spacing: tuple[float, ...], angle: float, origin: tuple[float, ...]) -> NDArray[np.float64]:
    """An oblique affine: the axes z, y, x turned about the patient's long axis."""
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[0, -sin, cos], [0, cos, sin], [1, 0, 0]]) * spacing
    matrix[:3, 3] = origin
    return matrix


def corners_mm(geometry: Geometry) -> NDArray[np.float64]:
    """(8, 3): the outer corners of the outermost voxels."""
    at = itertools.product(*((-0.5, n - 0.5) for n in geometry.shape))
    return (np.array([(*corner, 1) for corner in at]) @ geometry.matrix.T)[:, :3]


@LAW
@given(native=GEOMETRIES, shape=SHAPES)
def test_another_grid_covers_the_same_extent(native: Geometry, shape: tuple[int, int, int]) -> None:
    grid = regrid(native, shape)
    assert grid.shape == shape
    np.testing.assert_allclose(corners_mm(grid), corners_mm(native), atol=1e-6)


@LAW
@given(native=GEOMETRIES, wanted=st.tuples(*[st.none() | st.floats(0.5, 8)] * 3))
def test_the_working_grid_covers_the_file_at_about_the_wanted_spacing(
    native: Geometry, wanted: tuple[float | None, float | None, float | None]
) -> None:
    working = working_geometry(native, wanted)
    np.testing.assert_allclose(corners_mm(working), corners_mm(native), atol=1e-6)
    for n, own, old, spacing, want in zip(
        working.shape, working.spacing, native.shape, native.spacing, wanted, strict=True
    ):
        if want is None:
            assert (n, own) == (old, pytest.approx(spacing))
        else:
            assert abs(n - old * spacing / want) <= 0.5 + 1e-9 or n == 1


@LAW
@given(source=SHAPES, target=SHAPES)
def test_voxels_land_where_the_two_grids_say(source: tuple[int, int, int], target: tuple[int, int, int]) -> None:
    """A ramp in mm, resampled, is the same ramp at the new voxels' places, but for the volume's rim.

    Where the new grid is coarser, the weights are those of the few voxels near by: within a quarter of a voxel.
    """
    native = Geometry.canonical(source, (2.0, 1.0, 1.0))
    for axis in range(3):
        ramp = (np.indices(source)[axis] * native.spacing[axis]).astype(np.float32)
        there = regrid(native, target).matrix
        places = np.indices(target)[axis] * there[2 - axis, axis] + there[2 - axis, 3]
        ratio = source[axis] / target[axis]
        rim = native.spacing[axis] * max(1.0, ratio)
        inner = (places >= rim) & (places <= ramp.max() - rim)
        close = 1e-3 if ratio <= 1 else native.spacing[axis] / 4
        np.testing.assert_allclose(Resampler(source, target).volume(ramp)[inner], places[inner], atol=close)


@pytest.mark.parametrize("factor", [1.5, 2.0, 2.7])
def test_up_and_down_again_keeps_a_blob(factor: float) -> None:
    shape = (20, 24, 28)
    distance = np.linalg.norm((np.indices(shape).T - np.array([9.3, 11.8, 14.1])) / np.array([6, 8, 9]), axis=-1).T
    blob, larger = distance < 1, tuple(round(n * factor) for n in shape)
    finer = Resampler(shape, larger).mask(blob)
    again = Resampler(larger, shape).mask(finer)
    assert 2 * (again & blob).sum() / (again.sum() + blob.sum()) > 0.9
    assert finer.mean() == pytest.approx(blob.mean(), rel=0.1)
