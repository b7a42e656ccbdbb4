"""Metrics: against a voxel-by-voxel oracle, against MONAI, and in cases worked out by hand."""

from __future__ import annotations

import itertools
import math
import tracemalloc
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from smiler.domain.errors import BadInput
from smiler.evaluation.metrics import (
    METRICS,
    TOLERANCE_MM,
    Comparison,
    Mask,
    Spacing,
    dice,
    hd95,
    nsd,
    score_all,
    tolerance,
)

Point = tuple[int, ...]
ANISOTROPIC: Spacing = (3.0, 2.0, 0.8)
FACES = ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
# halves and quarters, so that a squared distance is exact in single precision and never just misses a tolerance
SPACINGS = st.tuples(*[st.sampled_from([0.5, 0.75, 1.0, 2.5])] * 3)
TOLERANCES = st.sampled_from([0.0, 0.5, 1.0, 1.75, 2.5, 4.0])
exact = settings(derandomize=True, deadline=None, max_examples=80)


# --- oracle: nothing but definitions, one voxel at a time


def surface_voxels(mask: Mask) -> list[Point]:
    inside = {tuple(int(i) for i in at) for at in np.argwhere(mask)}
    return [
        at for at in sorted(inside) if any(tuple(map(sum, zip(at, face, strict=True))) not in inside for face in FACES)
    ]


def nearest(source: list[Point], target: list[Point], spacing: Spacing) -> list[float]:
    def place(at: Point) -> list[float]:
        return [i * mm for i, mm in zip(at, spacing, strict=True)]

    return [min(math.dist(place(a), place(b)) for b in target) for a in source]


def both_ways(prediction: Mask, reference: Mask, spacing: Spacing) -> tuple[list[float], list[float]]:
    predicted, drawn = surface_voxels(prediction), surface_voxels(reference)
    return nearest(predicted, drawn, spacing), nearest(drawn, predicted, spacing)


def percentile_95(distances: list[float]) -> float:
    ranked, at = sorted(distances), 0.95 * (len(distances) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (at - low) * (ranked[high] - ranked[low])


# --- masks


@st.composite
def masks(draw: st.DrawFn, shape: tuple[int, int, int]) -> Mask:
    """A box, solid enough to have an inside, with some voxels flipped; never empty."""
    mask = np.zeros(shape, dtype=bool)
    corners = [sorted(draw(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)))) for n in shape]
    mask[tuple(slice(low, high + 1) for low, high in corners)] = True
    for at in draw(st.lists(st.tuples(*[st.integers(0, n - 1) for n in shape]), max_size=6)):
        mask[at] ^= True
    mask[corners[0][0], corners[1][0], corners[2][0]] = True
    return mask


PAIRS = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: st.tuples(masks(shape), masks(shape))
)


def blob(seed: int, radius: float) -> Mask:
    """A smooth random lump of 24 x 40 x 36 voxels around the centre."""
    shape = (24, 40, 36)
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    away = sum(((i - n / 2) / (n / 2)) ** 2 for i, n in zip(np.indices(shape), shape, strict=True))
    return np.asarray(np.sqrt(away) < radius + noise / noise.std() * 0.15)


def cube(x: int) -> Mask:
    """4 x 4 x 4 voxels that begin at column x."""
    mask = np.zeros((8, 8, 12), dtype=bool)
    mask[2:6, 2:6, x : x + 4] = True
    return mask


# --- oracles


@exact
@given(PAIRS, SPACINGS, TOLERANCES)
def test_nsd_is_what_counting_every_pair_of_surface_voxels_gives(
    pair: tuple[Mask, Mask], spacing: Spacing, tolerance_mm: float
) -> None:
    distances = list(itertools.chain(*both_ways(*pair, spacing)))
    expected = sum(d <= tolerance_mm + 1e-9 for d in distances) / len(distances)
    assert nsd(*pair, spacing, tolerance_mm) == pytest.approx(expected, abs=1e-12)


@exact
@given(PAIRS, SPACINGS)
def test_hd95_is_what_measuring_every_pair_of_surface_voxels_gives(pair: tuple[Mask, Mask], spacing: Spacing) -> None:
    expected = max(percentile_95(distances) for distances in both_ways(*pair, spacing))
    assert hd95(*pair, spacing) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@exact
@given(PAIRS)
def test_dice_is_what_counting_voxels_gives(pair: tuple[Mask, Mask]) -> None:
    predicted, drawn = ({tuple(at) for at in np.argwhere(mask).tolist()} for mask in pair)
    assert dice(*pair) == 2 * len(predicted & drawn) / (len(predicted) + len(drawn))


# MONAI's surface is the same (a mask minus its erosion by the 6-neighbourhood, outside the image is outside the mask),
# and so are its distances and its interpolated percentile: everything agrees to single precision. It differs in empty
# masks only (NaN or infinite), which are left out here.
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("radius", [0.5, 1.1], ids=["inside", "cut by the image's border"])
def test_nsd_and_hd95_agree_with_monai(seed: int, radius: float) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.metrics.hausdorff_distance import compute_hausdorff_distance
        from monai.metrics.surface_dice import compute_surface_dice

    prediction, reference = blob(seed, radius), blob(seed + 100, radius)
    p, r = (torch.from_numpy(mask)[None, None] for mask in (prediction, reference))
    surface_dice = compute_surface_dice(p, r, [2.9], include_background=True, spacing=ANISOTROPIC).item()
    distance = compute_hausdorff_distance(p, r, include_background=True, percentile=95, spacing=ANISOTROPIC).item()

    assert 0.05 < surface_dice < 0.999
    assert nsd(prediction, reference, ANISOTROPIC, 2.9) == pytest.approx(surface_dice, abs=1e-6)
    assert hd95(prediction, reference, ANISOTROPIC) == pytest.approx(distance, rel=1e-5)


# --- laws


@exact
@given(PAIRS, SPACINGS, TOLERANCES)
def test_prediction_and_reference_can_change_places(
    pair: tuple[Mask, Mask], spacing: Spacing, tolerance_mm: float
) -> None:
    a, b = pair
    for metric in METRICS.values():
        there, back = Comparison(a, b, spacing, tolerance_mm), Comparison(b, a, spacing, tolerance_mm)
        assert metric(there) == pytest.approx(metric(back), abs=1e-12)


@exact
@given(PAIRS, SPACINGS)
def test_a_mask_agrees_perfectly_with_itself(pair: tuple[Mask, Mask], spacing: Spacing) -> None:
    mask = pair[0]
    assert (dice(mask, mask), nsd(mask, mask, spacing, 0.0), hd95(mask, mask, spacing)) == (1.0, 1.0, 0.0)


@exact
@given(PAIRS, SPACINGS, TOLERANCES, st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_more_background_around_changes_nothing(
    pair: tuple[Mask, Mask], spacing: Spacing, tolerance_mm: float, margin: list[int]
) -> None:
    width = [(margin[0], margin[1]), (margin[2], margin[3]), (margin[4], margin[5])]
    a, b = (np.pad(mask, width) for mask in pair)
    for metric in METRICS.values():
        assert metric(Comparison(a, b, spacing, tolerance_mm)) == metric(Comparison(*pair, spacing, tolerance_mm))


@exact
@given(PAIRS, SPACINGS, TOLERANCES, st.permutations(range(3)))
def test_axes_may_be_turned_together_with_the_spacing(
    pair: tuple[Mask, Mask], spacing: Spacing, tolerance_mm: float, order: list[int]
) -> None:
    a, b = (mask.transpose(order) for mask in pair)  # not contiguous in memory any more
    turned_spacing = (spacing[order[0]], spacing[order[1]], spacing[order[2]])
    for metric in METRICS.values():
        there = metric(Comparison(a, b, turned_spacing, tolerance_mm))
        assert there == pytest.approx(metric(Comparison(*pair, spacing, tolerance_mm)), rel=1e-5)


@exact
@given(PAIRS, SPACINGS)
def test_a_larger_tolerance_never_lowers_nsd(pair: tuple[Mask, Mask], spacing: Spacing) -> None:
    scores = [nsd(*pair, spacing, tolerance_mm) for tolerance_mm in (0.0, 0.7, 2.0, 50.0)]
    assert scores == sorted(scores)
    assert scores[-1] == 1.0


# --- by hand


def test_a_plate_moved_by_one_slice_is_one_slice_away() -> None:
    plate = np.zeros((6, 8, 8), dtype=bool)
    plate[2, 2:6, 2:6] = True
    moved = np.roll(plate, 1, axis=0)
    assert dice(plate, moved) == 0.0
    assert hd95(plate, moved, ANISOTROPIC) == 3.0
    assert nsd(plate, moved, ANISOTROPIC, 2.99) == 0.0
    assert nsd(plate, moved, ANISOTROPIC, 3.0) == 1.0


def test_a_cube_moved_by_one_column() -> None:
    # 56 of 64 voxels are surface; columns 1, 2 and 3 share a ring of 12 with the other cube, and the other 20 voxels
    # of either surface lie one column of 0.8 mm from it
    assert dice(cube(2), cube(3)) == 0.75
    assert nsd(cube(2), cube(3), ANISOTROPIC, 0.0) == pytest.approx(36 / 56)
    assert nsd(cube(2), cube(3), ANISOTROPIC, 0.8) == 1.0
    assert hd95(cube(2), cube(3), ANISOTROPIC) == pytest.approx(0.8)


def test_spacing_belongs_to_its_axis() -> None:
    voxel = np.zeros((9, 9, 9), dtype=bool)
    voxel[4, 4, 4] = True
    apart = [hd95(voxel, np.roll(voxel, 1, axis), ANISOTROPIC) for axis in range(3)]
    assert apart == pytest.approx(ANISOTROPIC)


def test_hd95_takes_the_worse_direction_and_does_not_pool() -> None:
    line = np.zeros((1, 1, 11), dtype=bool)
    line[...] = True
    end = line.copy()
    end[..., 1:] = False
    # from the line 0, 1, ..., 10 mm: 9.5; from its end 0 mm; pooled it would be 9.45
    assert hd95(end, line, (1.0, 1.0, 1.0)) == pytest.approx(9.5)


def test_a_voxel_that_touches_the_outside_only_by_a_corner_is_not_surface() -> None:
    notched = np.ones((3, 3, 3), dtype=bool)
    notched[0, 0, 0] = False
    # 26 voxels are left, and the centre still has its six face neighbours
    assert Comparison(notched, notched, (1.0, 1.0, 1.0), 0.0).distances[0].size == 25


def test_a_tolerance_of_whole_voxels_includes_them_despite_rounding() -> None:
    voxel = np.zeros((1, 1, 12), dtype=bool)
    voxel[..., 2] = True
    stored = float(np.float32(0.7))  # as a NIfTI header holds it
    for step in range(1, 9):
        moved = np.roll(voxel, step, axis=2)
        assert nsd(voxel, moved, (stored, stored, stored), step * 0.7) == 1.0
        assert nsd(voxel, moved, (stored, stored, stored), step * 0.7 - 0.01) == 0.0


# --- empty masks


def test_both_empty_is_perfect() -> None:
    nothing = np.zeros((4, 5, 6), dtype=bool)
    assert score_all(nothing, nothing, ANISOTROPIC, "liver") == {"dice": 1.0, "nsd": 1.0, "hd95": 0.0}


@pytest.mark.parametrize("swap", [False, True], ids=["nothing predicted", "nothing drawn"])
def test_one_empty_is_the_worst(swap: bool) -> None:
    nothing, something = np.zeros((10, 20, 30), dtype=bool), np.zeros((10, 20, 30), dtype=bool)
    something[4:6, 8:11, 7:9] = True
    pair = (something, nothing) if swap else (nothing, something)
    diagonal = math.hypot(10 * 3.0, 20 * 2.0, 30 * 0.8)
    assert score_all(*pair, ANISOTROPIC, "liver") == {"dice": 0.0, "nsd": 0.0, "hd95": pytest.approx(diagonal)}
    assert nsd(*pair, ANISOTROPIC, 1e6) == 0.0


def test_no_distance_exceeds_the_penalty_for_an_empty_mask() -> None:
    corner, opposite = np.zeros((5, 6, 7), dtype=bool), np.zeros((5, 6, 7), dtype=bool)
    corner[0, 0, 0], opposite[-1, -1, -1] = True, True
    assert hd95(corner, opposite, ANISOTROPIC) < hd95(corner, np.zeros_like(corner), ANISOTROPIC)


# --- the registry, the table, the cost


def test_score_all_is_every_metric_with_the_organs_tolerance() -> None:
    prediction, reference = blob(1, 0.5), blob(2, 0.5)
    for organ in (*TOLERANCE_MM, "bladder"):
        scores = score_all(prediction, reference, ANISOTROPIC, organ)
        assert scores == {
            "dice": dice(prediction, reference),
            "nsd": nsd(prediction, reference, ANISOTROPIC, tolerance(organ)),
            "hd95": hd95(prediction, reference, ANISOTROPIC),
        }
        assert {type(score) for score in scores.values()} == {float}


def test_a_new_metric_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "surface_voxels", lambda pair: float(pair.distances[0].size))
    assert score_all(cube(2), cube(3), ANISOTROPIC, "liver")["surface_voxels"] == 56


def test_distances_are_measured_once() -> None:
    comparison = Comparison(cube(2), cube(3), ANISOTROPIC, 1.0)
    assert comparison.distances is comparison.distances


def test_tolerances() -> None:
    assert tolerance("duodenum") == 7.0
    assert tolerance("kidney_left") == tolerance("kidney_right") == 3.0
    assert tolerance("urinary_bladder") == 3.0


def test_the_whole_volume_is_never_copied() -> None:
    prediction, reference = np.zeros((100, 512, 512), dtype=bool), np.zeros((100, 512, 512), dtype=bool)
    prediction[40:50, 200:240, 300:340] = True
    reference[42:52, 203:240, 300:342] = True
    tracemalloc.start()
    score_all(prediction, reference, ANISOTROPIC, "pancreas")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < prediction.nbytes / 10


# --- what is refused


GOOD = np.ones((2, 3, 4), dtype=bool)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: dice(GOOD, GOOD[:1]), r"prediction, reference: .*same shape.*\(2, 3, 4\) and \(1, 3, 4\).*resample"),
        (lambda: dice(GOOD.astype(np.uint8), GOOD), r"prediction: .*boolean.*got uint8.*labels == value"),
        (lambda: hd95(GOOD, GOOD.astype(float), ANISOTROPIC), r"reference: .*boolean.*got float64"),
        (lambda: dice(GOOD[0], GOOD[0]), r"prediction: .*\(z, y, x\).*\(3, 4\)"),
        (lambda: dice([[[True]]], GOOD), r"prediction: .*boolean.*got list"),  # type: ignore[arg-type]
        (lambda: nsd(GOOD, GOOD, (1.0, 0.0, 1.0), 1.0), r"spacing: .*positive.*0\.0.*mm"),
        (lambda: hd95(GOOD, GOOD, (1.0, 1.0)), r"spacing: .*three"),  # type: ignore[arg-type]
        (lambda: hd95(GOOD, GOOD, (1.0, math.nan, 1.0)), r"spacing: .*positive.*nan"),
        (lambda: nsd(GOOD, GOOD, ANISOTROPIC, -1.0), r"tolerance_mm: .*negative.*-1\.0"),
        (lambda: nsd(GOOD, GOOD, ANISOTROPIC, math.inf), r"tolerance_mm: .*endless.*inf"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_advice(call: Callable[[], float], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        call()
