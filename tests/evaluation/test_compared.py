"""One pass over the bits of a case against the slow way: whole masks, one organ after the other."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smiler.domain.evidence import UNSEEN
from smiler.evaluation.compared import Bits, Compared
from smiler.evaluation.metrics import Mask, score_all

SPACING = (3.0, 1.0, 0.5)
SHAPE = (5, 7, 6)
Pair = tuple[Mask, Mask]


def drawn_bits(seed: int, organs: int, unseen: bool) -> Bits:
    """Boxes of bits; where nobody looked, only bit 31."""
    rng = np.random.default_rng(seed)
    bits = np.zeros(SHAPE, dtype=np.int32)
    for k in range(organs):
        if rng.random() < 0.8:
            low = [int(rng.integers(n)) for n in SHAPE]
            high = [int(rng.integers(a, n)) + 1 for a, n in zip(low, SHAPE, strict=True)]
            bits[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] |= np.int32(1 << k)
    bits ^= np.where(rng.random(SHAPE) < 0.05, rng.integers(1 << organs, size=SHAPE), 0).astype(np.int32)
    if unseen:
        bits[rng.random(SHAPE) < 0.3] = np.uint32(1 << UNSEEN).astype(np.int32)
    return bits


@st.composite
def cases(draw: st.DrawFn) -> Compared:
    """Up to 31 organs, the prediction's channels in another order than the truth's, some slices unknown."""
    organs = draw(st.sampled_from([1, 3, 31]))
    found = drawn_bits(draw(st.integers(0, 10**6)), organs, unseen=False)
    truth = drawn_bits(draw(st.integers(0, 10**6)), organs, unseen=draw(st.booleans()))
    known = np.array(draw(st.lists(st.integers(0, 2**organs - 1), min_size=5, max_size=5)), dtype=np.int32)
    seen = truth >= 0
    truth = np.where(seen, truth & known[:, None, None], truth)
    chosen = draw(st.lists(st.integers(0, organs - 1), unique=True, max_size=6))
    order = draw(st.permutations(range(organs)))
    return Compared(found, truth, known, [order[k] for k in chosen], chosen)


def slowly(case: Compared, number: int) -> Pair:
    """Masks (z, y, x) of the whole volume, voxel by voxel."""
    found, drawn = np.zeros((2, *SHAPE), dtype=bool)
    for at in np.ndindex(SHAPE):
        bits, own = int(case.drawn[at]), case.truth_bits[number]
        looked = bits >= 0 and int(case.known[at[0]]) >> own & 1
        found[at] = bool(looked and int(case.found[at]) >> case.predicted_bits[number] & 1)
        drawn[at] = bool(bits >= 0 and bits >> own & 1)
    return found, drawn


def box_of(mask: Mask) -> list[tuple[int, int]]:
    return [(int(line.min()), int(line.max()) + 1) for line in np.nonzero(mask)]


@settings(derandomize=True, deadline=None, max_examples=120)
@given(cases())
def test_boxes_masks_and_scores_are_those_of_whole_masks(case: Compared) -> None:
    for number in range(len(case.truth_bits)):
        expected, box = slowly(case, number), case.boxes[number]
        both = expected[0] | expected[1]
        if both.any():
            assert [(part.start, part.stop) for part in box] == box_of(both)
        for mask, whole in zip(case.masks(number), expected, strict=True):
            np.testing.assert_array_equal(mask, whole[box])
            assert mask.sum() == whole.sum()
        scores = score_all(*case.masks(number), SPACING, "liver", SHAPE)
        assert scores == score_all(*expected, SPACING, "liver")


def test_an_organ_that_is_nowhere_has_an_empty_box_and_scores_one() -> None:
    nothing: NDArray[np.int32] = np.zeros(SHAPE, dtype=np.int32)
    case = Compared(nothing, nothing, np.ones(5, dtype=np.int32), [0], [0])
    assert case.masks(0)[0].size == 0
    assert score_all(*case.masks(0), SPACING, "liver", SHAPE) == {"dice": 1.0, "nsd": 1.0, "hd95": 0.0}


def test_one_empty_mask_costs_the_diagonal_of_the_whole_image() -> None:
    nothing: NDArray[np.int32] = np.zeros(SHAPE, dtype=np.int32)
    one = nothing.copy()
    one[2, 3, 4] = 1
    case = Compared(one, nothing, np.ones(5, dtype=np.int32), [0], [0])
    expected = float(np.linalg.norm(np.multiply(SHAPE, SPACING)))
    assert score_all(*case.masks(0), SPACING, "liver", SHAPE)["hd95"] == pytest.approx(expected)


def test_nothing_of_the_size_of_the_volume_is_made() -> None:
    bits = np.zeros((100, 256, 256), dtype=np.int32)
    for k in range(8):
        bits[40:50, 20 * k : 20 * k + 20, 100:140] |= np.int32(1 << k)
    case = Compared(bits, np.roll(bits, 1, axis=0), np.full(100, 255, dtype=np.int32), range(8), range(8))
    tracemalloc.start()
    for number in range(8):
        score_all(*case.masks(number), SPACING, "liver", bits.shape)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < bits.nbytes / 10
