"""Counting codes by runs and combinations: against the rule spelled out, one voxel at a time."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smiler.audit.tally import Tally
from smiler.domain.evidence import Code, Relations
from smiler.domain.organs import MAX_ORGANS, Organ, OrganSet
from smiler.formats.labels import Labels

KEYS = ("a", "b", "c", "d", "e")


# --- oracle: nothing but the definitions


def code_of(organ: str, drawn: set[str], known: set[str], proposed: set[str], organs: OrganSet) -> Code:
    positive = drawn & known
    if organ in positive:
        return Code.POSITIVE
    if organ in known:
        return Code.NEGATIVE
    if any(contains(organ, other, organs) for other in positive):
        return Code.IMPLIED
    if any(excludes(organ, other, organs) for other in positive):
        return Code.EXCLUDED
    if any(contains(other, organ, organs) for other in known - positive):
        return Code.EXCLUDED
    return Code.PSEUDO if organ in proposed else Code.UNKNOWN


def contains(whole: str, part: str, organs: OrganSet) -> bool:
    above = organs[part].part_of
    return above is not None and (above == whole or contains(whole, above, organs))


def excludes(a: str, b: str, organs: OrganSet) -> bool:
    nested = a == b or contains(a, b, organs) or contains(b, a, organs)
    return not nested and b not in organs[a].overlaps and a not in organs[b].overlaps


def brute_force(labels: Labels, organs: OrganSet) -> dict[str, dict[Code, int]]:
    counts = {key: dict.fromkeys(Code, 0) for key in organs.keys}
    for at in np.ndindex(labels.drawn.shape):
        sets = [members(bits, organs) for bits in (labels.drawn[at], labels.known[at[0]], labels.proposed[at])]
        for key in organs.keys:
            counts[key][code_of(key, *sets, organs)] += 1
    return counts


def members(bits: Any, organs: OrganSet) -> set[str]:
    return {key for k, key in enumerate(organs.keys) if int(bits) >> k & 1}


# --- cases


@st.composite
def organ_sets(draw: st.DrawFn) -> OrganSet:
    """Two to five organs; each may be part of an earlier one, or overlap one."""
    keys = KEYS[: draw(st.integers(2, len(KEYS)))]
    organs = [Organ(keys[0])]
    for k, key in enumerate(keys[1:], start=1):
        whole = draw(st.none() | st.sampled_from(keys[:k]))
        overlaps = draw(st.frozensets(st.sampled_from(keys[:k]), max_size=1))
        organs.append(Organ(key, part_of=whole, overlaps=overlaps))
    return OrganSet(tuple(organs))


def random_labels(seed: int, organs: int) -> Labels:
    """Any bits at all, in short runs, drawn only on known slices as a reader gives them."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 5, 3))
    size = int(np.prod(shape))

    def bits(count: int) -> NDArray[np.int32]:
        values = rng.integers(0, 1 << organs, count) & rng.integers(0, 1 << organs, count)
        return np.repeat(values, rng.integers(1, 4, count))[:count].astype(np.int32)

    known = rng.integers(0, 1 << organs, shape[0]).astype(np.int32)
    drawn = bits(size).reshape(shape) & known[:, None, None]
    return Labels(drawn, bits(size).reshape(shape), known)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(organ_sets(), st.integers(0, 2**32))
def test_counts_are_those_of_the_rule_voxel_by_voxel(organs: OrganSet, seed: int) -> None:
    labels = random_labels(seed, len(organs))
    counted = Tally.of(labels).codes(Relations.of(organs))
    expected = brute_force(labels, organs)
    assert counted.tolist() == [[expected[key][code] for code in Code] for key in organs.keys]
    assert counted.sum(axis=1).tolist() == [labels.drawn.size] * len(organs)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.integers(1, 5), st.integers(0, 2**32))
def test_voxels_and_centre_of_an_organ_are_those_of_its_mask(organs: int, seed: int) -> None:
    labels = random_labels(seed, organs)
    tally = Tally.of(labels)
    for k in range(organs):
        columns = np.nonzero(labels.drawn >> k & 1)[2]
        voxels, x = tally.drawn_of(k)
        assert voxels == len(columns)
        assert x == pytest.approx(columns.mean()) if len(columns) else np.isnan(x)


def test_the_last_of_31_organs_is_counted_like_the_first() -> None:
    organs = OrganSet.of(*(f"organ{k}" for k in range(MAX_ORGANS)))
    drawn = np.array([[[1, 1 << 30, 1 << 30, 0]]], dtype=np.int32)
    proposed = np.array([[[0, 0, 0, 1 << 29]]], dtype=np.int32)
    tally = Tally.of(Labels(drawn, proposed, np.array([1 | 1 << 30], dtype=np.int32)))
    codes = tally.codes(Relations.of(organs))
    assert codes[30].tolist() == [0, 2, 0, 2, 0, 0, 0]
    assert codes[0].tolist() == [0, 3, 0, 1, 0, 0, 0]
    assert codes[29].tolist() == [0, 0, 3, 0, 0, 1, 0]
    assert tally.drawn_of(30) == (2, 1.5)
