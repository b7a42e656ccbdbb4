"""Selection: how many proposals are accepted, which, and who owns a voxel; and how scores become masks."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smiler.domain.evidence import Code, Relations
from smiler.domain.organs import Organ, OrganSet
from smiler.prediction.compose import compose, patches
from smiler.selection import RULES, need_of
from smiler.selection.propose import Selection, propose, select

LAW = settings(max_examples=40, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**32 - 1)
FRACTIONS = st.floats(0, 1)
SHAPE = (3, 4, 5)
Scope = Literal["volume", "slice"]
SCOPES: tuple[Scope, ...] = ("volume", "slice")

RIVALS = OrganSet.of("liver", "stomach", "pancreas", "spleen")
RELATED = OrganSet(
    (
        Organ("tumour", part_of="liver"),
        Organ("liver"),
        Organ("vessel", part_of="liver", overlaps=frozenset({"tumour"})),
        Organ("stomach"),
        Organ("fat", overlaps=frozenset({"stomach"})),
    )
)
SETS = {"rivals": RIVALS, "related": RELATED}


def candidates(seed: int) -> NDArray[np.bool_]:
    rng = np.random.default_rng(seed)
    return rng.random(SHAPE) < rng.choice([0.1, 0.5, 0.95])


def distinct_ranks(seed: int, *leading: int) -> NDArray[np.float32]:
    shape = (*leading, *SHAPE)
    return np.random.default_rng(seed).permutation(int(np.prod(shape))).reshape(shape).astype(np.float32) - 30


def tied_ranks(seed: int, *leading: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).integers(0, 3, (*leading, *SHAPE)).astype(np.float32)


def parts(array: NDArray[Any], scope: Scope) -> list[NDArray[Any]]:
    """What a share is counted over."""
    return [array] if scope == "volume" else list(array)


@pytest.mark.parametrize("scope", SCOPES)
@LAW
@given(seed=SEEDS, fraction=FRACTIONS, ties=st.booleans())
def test_exactly_the_share_is_accepted_and_nothing_better_is_refused(
    scope: Scope, seed: int, fraction: float, ties: bool
) -> None:
    candidate, rank = candidates(seed), (tied_ranks if ties else distinct_ranks)(seed)
    accepted = select(candidate, rank, Selection(fraction, scope, (seed,)))
    assert accepted.shape == SHAPE
    assert not (accepted & ~candidate).any()
    for mine, among, ranks in zip(*(parts(a, scope) for a in (accepted, candidate, rank)), strict=True):
        assert mine.sum() == round(fraction * int(among.sum()))
        assert ranks[mine].min(initial=np.inf) >= ranks[among & ~mine].max(initial=-np.inf)


@pytest.mark.parametrize("scope", SCOPES)
@LAW
@given(seed=SEEDS, fractions=st.tuples(FRACTIONS, FRACTIONS))
def test_a_larger_share_contains_a_smaller_one(scope: Scope, seed: int, fractions: tuple[float, float]) -> None:
    candidate, rank = candidates(seed), distinct_ranks(seed)
    less, more = (select(candidate, rank, Selection(share, scope, (seed,))) for share in sorted(fractions))
    assert not (less & ~more).any()


@pytest.mark.parametrize("scope", SCOPES)
@LAW
@given(seed=SEEDS)
def test_a_share_of_zero_accepts_nothing_and_of_one_every_candidate(scope: Scope, seed: int) -> None:
    candidate, rank = candidates(seed), tied_ranks(seed)
    assert not select(candidate, rank, Selection(0.0, scope)).any()
    np.testing.assert_array_equal(select(candidate, rank, Selection(1.0, scope)), candidate)


@pytest.mark.parametrize("scope", SCOPES)
def test_ties_fall_by_the_seed_and_not_by_place(scope: Scope) -> None:
    everywhere, flat = np.ones((4, 8, 8), dtype=bool), np.zeros((4, 8, 8), dtype=np.float32)
    drawn = [select(everywhere, flat, Selection(0.5, scope, (seed,))) for seed in (0, 1, 2)]
    np.testing.assert_array_equal(drawn[0], select(everywhere, flat, Selection(0.5, scope, (0,))))
    assert len({mask.tobytes() for mask in drawn}) == 3
    for mask in drawn:
        assert 0.3 < mask[:, :4].mean() < 0.7
    if scope == "slice":
        assert len({plane.tobytes() for plane in drawn[0]}) == 4


def unsettled(
    predicted: NDArray[np.bool_], codes: NDArray[np.uint8], ranks: NDArray[np.float32], selection: Selection
) -> NDArray[np.bool_]:
    """What each organ would accept if it were alone."""
    one = Relations((0,), (0,), (0,))
    alone = [
        propose(ranks[k : k + 1], predicted[k : k + 1], codes[k : k + 1], one, selection) for k in range(len(ranks))
    ]
    return np.stack(alone) > 0


def scene(organs: OrganSet, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Predicted voxels and evidence codes (K, z, y, x)."""
    rng = np.random.default_rng(seed)
    codes = np.where(rng.random((len(organs), *SHAPE)) < 0.7, Code.UNKNOWN, rng.integers(0, 5, (len(organs), *SHAPE)))
    return rng.random((len(organs), *SHAPE)) < 0.7, codes.astype(np.uint8)


def unpacked(bits: NDArray[np.int32], organs: OrganSet) -> NDArray[np.bool_]:
    assert bits.dtype == np.int32
    return np.stack([bits >> k & 1 for k in range(len(organs))]).astype(bool)


@pytest.mark.parametrize("organs", sorted(SETS))
@pytest.mark.parametrize("scope", SCOPES)
@LAW
@given(seed=SEEDS, fraction=FRACTIONS)
def test_only_unknown_voxels_that_are_predicted_are_proposed(
    organs: str, scope: Scope, seed: int, fraction: float
) -> None:
    predicted, codes = scene(SETS[organs], seed)
    ranks = tied_ranks(seed, len(predicted))
    bits = propose(ranks, predicted, codes, Relations.of(SETS[organs]), Selection(fraction, scope, (seed,)))
    accepted = unpacked(bits, SETS[organs])
    assert not (accepted & ~predicted).any()
    assert not (accepted & (codes != Code.UNKNOWN)).any()


@pytest.mark.parametrize("scope", SCOPES)
@LAW
@given(seed=SEEDS, fraction=FRACTIONS)
def test_before_they_settle_each_organ_accepts_its_own_share(scope: Scope, seed: int, fraction: float) -> None:
    """Organs that may all share voxels have nothing to settle."""
    predicted, codes = scene(RIVALS, seed)
    friends = Relations((0,) * 4, (0,) * 4, (0,) * 4)
    bits = propose(distinct_ranks(seed, 4), predicted, codes, friends, Selection(fraction, scope, (seed,)))
    for mine, candidate in zip(unpacked(bits, RIVALS), predicted & (codes == Code.UNKNOWN), strict=True):
        for got, among in zip(parts(mine, scope), parts(candidate, scope), strict=True):
            assert got.sum() == round(fraction * int(among.sum()))


@pytest.mark.parametrize("organs", sorted(SETS))
@LAW
@given(seed=SEEDS, fraction=FRACTIONS)
def test_of_exclusive_organs_the_better_ranked_owns_the_voxel(organs: str, seed: int, fraction: float) -> None:
    chosen = SETS[organs]
    predicted, codes = scene(chosen, seed)
    ranks, selection = distinct_ranks(seed, len(chosen)), Selection(fraction, "volume", (seed,))
    before = unsettled(predicted, codes, ranks, selection)
    after = unpacked(propose(ranks, predicted, codes, Relations.of(chosen), selection), chosen)
    for k, mine in enumerate(chosen.keys):
        lost = np.zeros(SHAPE, dtype=bool)
        for j, other in enumerate(chosen.keys):
            if chosen.exclusive(mine, other):
                assert not (after[k] & after[j]).any()
                lost |= before[j] & (ranks[j] > ranks[k])
        np.testing.assert_array_equal(after[k], before[k] & ~lost)
    assert organs != "rivals" or (after.any(axis=0) == before.any(axis=0)).all()


@LAW
@given(seed=SEEDS, fraction=FRACTIONS)
def test_exclusive_organs_of_equal_rank_do_not_share_a_voxel_either(seed: int, fraction: float) -> None:
    predicted, codes = scene(RIVALS, seed)
    ranks, selection = np.zeros((4, *SHAPE), dtype=np.float32), Selection(fraction, "volume", (seed,))
    after = unpacked(propose(ranks, predicted, codes, Relations.of(RIVALS), selection), RIVALS)
    assert after.sum(axis=0).max() <= 1
    if fraction == 1:
        np.testing.assert_array_equal(after.any(axis=0), (predicted & (codes == Code.UNKNOWN)).any(axis=0))


def test_proposals_are_a_function_of_the_seed() -> None:
    predicted, codes = np.ones((4, *SHAPE), dtype=bool), np.zeros((4, *SHAPE), dtype=np.uint8)
    ranks, relations = np.zeros((4, *SHAPE), dtype=np.float32), Relations.of(RIVALS)
    first, again, other = (
        propose(ranks, predicted, codes, relations, Selection(0.5, seed=seed)) for seed in ((7, 1), (7, 1), (7, 2))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@dataclass(frozen=True)
class Given:
    """A prediction of two voxels: the second is safer by whatever a rule looks at."""

    score: NDArray[np.float16]
    mean: NDArray[np.float16] | None = None
    spread: NDArray[np.float16] | None = None
    confidence: NDArray[np.float16] | None = None


@pytest.mark.parametrize("name", sorted(RULES))
@LAW
@given(seed=SEEDS)
def test_a_rule_ranks_every_voxel_with_a_finite_number(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.choice([1e-3, 1.0, 5e4]) * rng.uniform(-1, 1, SHAPE)
    mean, spread, confidence = (rng.uniform(0, 1, SHAPE).round(int(rng.integers(4))) for _ in range(3))
    rank = RULES[name](Given(*(values.astype(np.float16) for values in (scores, mean, spread, confidence))))
    assert rank.shape == SHAPE
    assert rank.dtype == np.float32
    assert np.isfinite(rank).all()


def half(*values: float) -> NDArray[np.float16]:
    return np.array(values, dtype=np.float16)


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_ranks_the_safer_voxel_higher_and_says_what_it_needs(name: str) -> None:
    everything = Given(half(1, 2), half(0.6, 0.9), half(0.3, 0.1), half(0.5, 0.8))
    low, high = RULES[name](everything)
    assert low < high
    if need_of(name):
        with pytest.raises(ValueError, match="the rule needs a prediction"):
            RULES[name](Given(half(1, 2)))
    else:
        assert np.isfinite(RULES[name](Given(half(1, 2)))).all()


def test_entropy_of_the_mean_is_not_the_order_of_the_score() -> None:
    said = Given(half(3, 2), half(0.6, 0.9), half(0.1, 0.1))
    assert np.argmax(RULES["score"](said)) == 0
    assert np.argmax(RULES["entropy"](said)) == 1


def test_each_channel_may_have_its_own_share() -> None:
    selection = Selection(0.5, "volume", (1,), (0.25, 1.0))
    assert [selection.of_channel(k).fraction for k in range(2)] == [0.25, 1.0]
    assert Selection(0.5).of_channel(3).fraction == 0.5


@pytest.mark.parametrize("organs", sorted(SETS))
@LAW
@given(seed=SEEDS, ties=st.booleans())
def test_masks_are_the_best_scores_above_zero(organs: str, seed: int, ties: bool) -> None:
    chosen, rng = SETS[organs], np.random.default_rng(seed)
    scores = rng.normal(size=(len(chosen), *SHAPE))
    scores = np.rint(scores) if ties else scores
    masks = unpacked(compose(patches(scores), scores.shape[1:], Relations.of(chosen)), chosen)
    assert not (masks & ~(scores > 0)).any()
    for k, mine in enumerate(chosen.keys):
        beaten = np.zeros(SHAPE, dtype=bool)
        for j, other in enumerate(chosen.keys):
            if chosen.exclusive(mine, other):
                assert not (masks[k] & masks[j]).any()
                beaten |= (scores[j] >= scores[k]) & (scores[j] > 0)
        assert not ((scores[k] > 0) & ~beaten & ~masks[k]).any()


@LAW
@given(seed=SEEDS, ties=st.booleans())
def test_where_a_rival_scores_above_zero_one_with_the_best_score_has_the_voxel(seed: int, ties: bool) -> None:
    scores = np.random.default_rng(seed).normal(size=(len(RIVALS), *SHAPE))
    scores = np.rint(scores) if ties else scores
    masks = unpacked(compose(patches(scores), scores.shape[1:], Relations.of(RIVALS)), RIVALS)
    np.testing.assert_array_equal(masks.sum(axis=0), scores.max(axis=0) > 0)
    owned = np.where(masks, scores, -np.inf).max(axis=0)
    np.testing.assert_array_equal(owned[owned > 0], scores.max(axis=0)[owned > 0])


def test_nested_and_overlapping_organs_share_voxels() -> None:
    scores = np.full((len(RELATED), 1), -1.0)
    for score, key in enumerate(("tumour", "vessel", "liver", "fat"), start=1):
        scores[RELATED.index(key)] = score if key != "fat" else -1
    assert compose(patches(scores), scores.shape[1:], Relations.of(RELATED))[0] == RELATED.bits(
        ["tumour", "vessel", "liver"]
    )
