"""Reliability and risk-coverage against counting voxel by voxel."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from smiler.evaluation.uncertainty import BINS, COVERAGES, SEEN, Reliability, RiskCoverage

LAW = settings(max_examples=30, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**32 - 1)


@LAW
@given(seed=SEEDS, parts=st.integers(1, 4))
def test_reliability_is_what_counting_gives(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    p, truth = rng.random(60), rng.random(60) < 0.4
    table = Reliability()
    for part in np.array_split(np.arange(60), parts):
        table.add(p[part], truth[part])
    bins: list[list[int]] = [[] for _ in range(BINS)]
    for i in range(60):
        if p[i] >= SEEN or truth[i]:
            bins[min(int(p[i] * BINS), BINS - 1)].append(i)
    assert table.count.tolist() == [len(voxels) for voxels in bins]
    counted = sum(len(voxels) for voxels in bins)
    error = sum(abs(p[voxels].sum() - truth[voxels].sum()) for voxels in bins if voxels) / counted
    assert table.expected_error is not None
    assert abs(table.expected_error - error) < 1e-9


def test_certain_background_does_not_count_and_nothing_is_no_error() -> None:
    table = Reliability()
    table.add(np.full(1000, 0.01), np.zeros(1000, dtype=bool))
    assert table.expected_error is None
    table.add(np.array([0.01]), np.array([True]))
    assert table.count.sum() == 1


@LAW
@given(seed=SEEDS, volumes=st.integers(1, 3))
def test_risk_is_the_share_wrong_among_the_safest_of_each_volume(seed: int, volumes: int) -> None:
    rng = np.random.default_rng(seed)
    table = RiskCoverage()
    accepted, wrong = np.zeros(len(COVERAGES)), np.zeros(len(COVERAGES))
    for _ in range(volumes):
        n = int(rng.integers(20, 50))
        rank, right = rng.permutation(n).astype(float), rng.random(n) < 0.7
        table.add(rank, right)
        for place, coverage in enumerate(COVERAGES):
            best = sorted(range(n), key=lambda i: -rank[i])[: round(coverage * n)]
            accepted[place] += len(best)
            wrong[place] += sum(not right[i] for i in best)
    assert np.array_equal(table.accepted, accepted)
    assert np.array_equal(table.wrong, wrong)
    assert table.area is not None
    assert abs(table.area - np.mean(wrong / accepted)) < 1e-12


def test_a_perfect_ranking_is_without_risk_until_it_must() -> None:
    table = RiskCoverage()
    table.add(np.arange(10.0), np.arange(10) >= 5)
    assert table.to_json()["risk"][:5] == [0.0] * 5
    assert table.to_json()["risk"][-1] == 0.5
