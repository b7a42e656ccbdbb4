"""Only organs' boxes are interpolated, and the masks are those of interpolating everything."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from smiler.domain.evidence import Relations
from smiler.domain.organs import Organ, OrganSet
from smiler.prediction.compose import bounding_box, compose
from smiler.prediction.volume import _upsample
from smiler.store.resample import Resampler

LAW = settings(max_examples=60, deadline=None, derandomize=True)
ORGANS = OrganSet(
    (
        Organ("liver"),
        Organ("spleen"),
        Organ("tumour", part_of="liver"),
        Organ("vessel", overlaps=frozenset({"liver", "tumour"})),
    )
)


def oracle(scores: np.ndarray) -> np.ndarray:
    """Voxel by voxel: above 0, and better than every rival."""
    bits = np.zeros(scores.shape[1:], dtype=np.int32)
    for at in np.ndindex(bits.shape):
        one = scores[(slice(None), *at)]
        for k, key in enumerate(ORGANS.keys):
            rivals = [ORGANS.index(rival) for rival in ORGANS.excluders(key)]
            beaten = any(one[j] > 0 and (one[j] > one[k] or (one[j] == one[k] and j < k)) for j in rivals)
            if one[k] > 0 and not beaten:
                bits[at] |= 1 << k
    return bits


def blobs(seed: int, shape: tuple[int, int, int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scores = np.full((len(ORGANS), *shape), -3.0, dtype=np.float32)
    for organ in scores:
        for _ in range(rng.integers(0, 3)):
            corner = [rng.integers(0, n) for n in shape]
            box = tuple(slice(c, c + rng.integers(1, 4)) for c in corner)
            organ[box] = rng.choice([0.5, 1.0, 2.0]) * rng.random(organ[box].shape).round(1)
    return scores


@LAW
@given(
    seed=st.integers(0, 2**32 - 1),
    source=st.tuples(*[st.integers(1, 9)] * 3),
    target=st.tuples(*[st.integers(1, 12)] * 3),
    flat=st.booleans(),
)
def test_boxes_give_the_masks_of_the_whole(
    seed: int, source: tuple[int, int, int], target: tuple[int, int, int], flat: bool
) -> None:
    target = (target[0], *source[1:]) if flat else target
    scores = blobs(seed, source)
    resampler = Resampler(source, target)
    whole = np.stack([resampler.volume(organ) for organ in scores])
    first, last = resampler.needed(0, target[0])
    found = _upsample(scores[:, first:last], resampler, 0, target[0])
    for patch in found:
        np.testing.assert_allclose(patch.scores, whole[patch.channel][patch.box], rtol=1e-4, atol=1e-5)
    bits = compose(found, target, Relations.of(ORGANS))
    sure = np.abs(whole).min(axis=0) > 1e-4  # where rounding decides, either is right
    pairs = [np.abs(whole[i] - whole[j]) for i in range(len(whole)) for j in range(i)]
    sure &= np.min(pairs, axis=0) > 1e-4
    np.testing.assert_array_equal(bits[sure], oracle(whole)[sure])


@LAW
@given(seed=st.integers(0, 2**32 - 1), shape=st.tuples(*[st.integers(1, 6)] * 3), share=st.sampled_from([0, 0.02, 0.5]))
def test_a_bounding_box_is_the_smallest_that_holds_all(seed: int, shape: tuple[int, int, int], share: float) -> None:
    mask = np.random.default_rng(seed).random(shape) < share
    box = bounding_box(mask)
    assert bool(box) == mask.any()
    if box:
        inner = mask[box]
        assert inner.sum() == mask.sum()
        for axis in range(3):
            assert inner.take(0, axis).any()
            assert inner.take(-1, axis).any()
