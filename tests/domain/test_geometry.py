"""Geometry: finite, invertible, rectangular, compared in millimetres at the corners."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smiler.domain.errors import BadInput
from smiler.domain.geometry import TOLERANCE_MM, Geometry

SHAPE = (40, 300, 500)


def canonical() -> NDArray[np.float64]:
    return Geometry.canonical(SHAPE, (3.0, 0.8, 0.7)).matrix.copy()


def rotation(angle: float) -> NDArray[np.float64]:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn


def test_the_canonical_grid_runs_to_the_head_the_back_and_the_left() -> None:
    geometry = Geometry.canonical(SHAPE, (3.0, 0.8, 0.7))
    assert geometry.axis_codes == "SPL"
    assert geometry.spacing == (3.0, 0.8, 0.7)
    assert geometry.voxel_ml == pytest.approx(3 * 0.8 * 0.7 / 1000)
    assert geometry.diagonal_mm == pytest.approx(np.hypot(np.hypot(120, 240), 350))
    assert (geometry.matrix @ [1, 0, 0, 1]).tolist() == [0, 0, 3.0, 1]
    assert str(geometry) == "SPL (40, 300, 500) at 3.000x0.800x0.700 mm, origin (0.00, 0.00, 0.00)"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_axis_codes_of_every_orientation(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    expected = ""
    for axis, (row, sign) in enumerate(zip(order, signs, strict=True)):
        matrix[row, axis] = 2.0 * sign
        expected += ("LPS" if sign > 0 else "RAI")[row]
    assert Geometry.of(SHAPE, matrix).axis_codes == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("at", [(0, 0), (1, 3), (3, 3)])
def test_affines_that_are_not_finite_are_refused(value: float, at: tuple[int, int]) -> None:
    matrix = canonical()
    matrix[at] = value
    with pytest.raises(BadInput, match="not a finite 4x4 matrix"):
        Geometry.of(SHAPE, matrix)


def test_affines_of_another_form_are_refused() -> None:
    with pytest.raises(BadInput, match="not a finite 4x4 matrix"):
        Geometry.of(SHAPE, np.eye(3))
    bottom = canonical()
    bottom[3, 0] = 1
    with pytest.raises(BadInput, match="not a finite 4x4 matrix"):
        Geometry.of(SHAPE, bottom)


def test_singular_affines_are_refused() -> None:
    flat, twice = canonical(), canonical()
    flat[:3, 1] = 0
    twice[:3, 1] = twice[:3, 2]
    for matrix in (flat, twice):
        with pytest.raises(BadInput, match="singular"):
            Geometry.of(SHAPE, matrix)


@pytest.mark.parametrize("degrees", [0.1, 5.0, 30.0, -15.0])
def test_sheared_affines_are_refused_and_say_by_how_much(degrees: float) -> None:
    matrix = canonical()
    matrix[1, 0] = matrix[2, 0] * np.tan(np.deg2rad(degrees))
    cosine = abs(np.sin(np.deg2rad(degrees)))
    with pytest.raises(BadInput, match=f"sheared.*cosine {cosine:.4f}.*gantry tilt"):
        Geometry.of(SHAPE, matrix)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.floats(-3, 3), st.tuples(*[st.floats(0.1, 10)] * 3), st.tuples(*[st.floats(-1e3, 1e3)] * 3))
def test_every_rotated_rectangular_grid_exists(
    angle: float, spacing: tuple[float, ...], origin: tuple[float, ...]
) -> None:
    matrix = rotation(angle) @ Geometry.canonical(SHAPE, spacing).matrix
    matrix[:3, 3] = origin
    geometry = Geometry.of(SHAPE, matrix)
    assert geometry.spacing == pytest.approx(spacing)
    assert geometry.agrees(geometry)


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, -1, 4)])
def test_volumes_without_voxels_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(BadInput, match="three dimensions of at least one voxel"):
        Geometry.of(shape, np.eye(4))


@pytest.mark.parametrize(("shift", "agree"), [(0.0, True), (0.9e-3, True), (1.1e-3, False), (1.0, False)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_grids_agree_within_a_thousandth_of_a_millimetre(shift: float, agree: bool, axis: int) -> None:
    moved = canonical()
    moved[axis, 3] += shift
    here, there = Geometry.of(SHAPE, canonical()), Geometry.of(SHAPE, moved)
    assert TOLERANCE_MM == 1e-3
    assert here.agrees(there) is agree
    assert there.agrees(here) is agree
    assert here.distance_mm(there) == pytest.approx(shift, abs=1e-9)


def test_a_small_difference_of_spacing_adds_up_to_the_far_corner() -> None:
    wider = canonical()
    wider[0, 2] += 1e-5
    here, there = Geometry.of(SHAPE, canonical()), Geometry.of(SHAPE, wider)
    assert here.distance_mm(there) == pytest.approx(499e-5)
    assert not here.agrees(there)


def test_a_flip_is_found_even_where_both_grids_fill_the_same_box() -> None:
    flipped = canonical()
    flipped[0, 3] = flipped[0, 2] * 499
    flipped[0, 2] *= -1
    assert not Geometry.of(SHAPE, canonical()).agrees(Geometry.of(SHAPE, flipped))


def test_other_shapes_never_agree() -> None:
    here, there = Geometry.of(SHAPE, canonical()), Geometry.of((40, 300, 501), canonical())
    assert here.distance_mm(there) == float("inf")
    assert not here.agrees(there)
