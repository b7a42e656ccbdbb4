"""Statistics: against enumeration and step-by-step oracles, on hand-worked examples, and for coverage."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smiler.domain.errors import BadInput
from smiler.evaluation import statistics
from smiler.evaluation.statistics import Interval, bootstrap_mean, holm, holm_of, paired_difference, wilcoxon

exact = settings(derandomize=True, deadline=None, max_examples=60)
SCORES = np.random.default_rng(7).uniform(0.4, 0.95, size=40)


# --- bootstrap


def test_two_values_have_three_means_and_the_outer_ones_bound_them() -> None:
    # 0, 0.5 and 1 come with probability 1/4, 1/2, 1/4, so both 2.5 % tails lie on the outer means
    assert bootstrap_mean([0.0, 1.0]) == Interval(mean=0.5, low=0.0, high=1.0, n=2)


def exact_bca(values: list[int], tail: float, off: float) -> float:
    """One bound of Efron's interval from all n**n resamples, none drawn; `off` moves its percentile."""
    n, normal = len(values), NormalDist()
    means = np.sort([sum(sample) / n for sample in itertools.product(values, repeat=n)])
    mean = sum(values) / n
    below = (np.count_nonzero(means < mean) + np.count_nonzero(means <= mean)) / 2 / means.size
    left_out = [(sum(values) - value) / (n - 1) for value in values]
    pulls = [sum(left_out) / n - each for each in left_out]
    skew = sum(pull**3 for pull in pulls) / (6 * sum(pull**2 for pull in pulls) ** 1.5)
    shift = normal.inv_cdf(below) + normal.inv_cdf(tail)
    moved = normal.cdf(normal.inv_cdf(below) + shift / (1 - skew * shift))
    return float(np.percentile(means, 100 * min(1, max(0, moved + off)), method="inverted_cdf"))


@exact
@given(st.lists(st.integers(0, 40), min_size=2, max_size=5).filter(lambda values: len(set(values)) > 1))
def test_bounds_are_those_of_every_possible_resample_moved_for_bias_and_skew(values: list[int]) -> None:
    interval = bootstrap_mean(values)
    for bound, tail in ((interval.low, 0.025), (interval.high, 0.975)):
        assert bound is not None
        least, most = (exact_bca(values, tail, off) for off in (-0.01, 0.01))
        assert least - 1e-9 <= bound <= most + 1e-9


def test_skew_moves_both_bounds_towards_the_long_tail() -> None:
    values = np.array([0.9, 0.91, 0.92, 0.9, 0.93, 0.91, 0.2])
    low, high = np.percentile(resampled_means(values, 0), [2.5, 97.5])
    interval = bootstrap_mean(values)
    assert interval.bounds is not None
    assert interval.bounds[0] < low - 0.05
    assert interval.bounds[1] < high


def resampled_means(values: np.ndarray, seed: int, draws: int = 1_000) -> np.ndarray:
    picks = np.random.default_rng(seed).integers(0, values.size, (draws, values.size))
    return values[picks].mean(axis=1)


def test_five_skewed_patients_are_covered_more_often_than_by_percentiles_and_still_too_seldom() -> None:
    experiments = 1 - np.random.default_rng(13).exponential(0.15, size=(300, 5))
    by_bca = by_percentiles = 0
    for seed, values in enumerate(experiments):
        bounds = bootstrap_mean(values, draws=1_000, seed=seed).bounds
        assert bounds is not None
        by_bca += bounds[0] <= 0.85 <= bounds[1]
        low, high = np.percentile(resampled_means(values, seed), [2.5, 97.5])
        by_percentiles += low <= 0.85 <= high
    assert by_percentiles < by_bca
    assert 0.75 * 300 < by_bca < 0.9 * 300  # so n is printed, and the page warns of few patients


def test_many_values_have_the_interval_of_the_normal_distribution() -> None:
    values = np.random.default_rng(3).normal(10.0, 2.0, size=400)
    half = 1.96 * values.std() / math.sqrt(values.size)
    interval = bootstrap_mean(values)
    assert interval.mean == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    experiments = np.random.default_rng(11).normal(0.7, 0.1, size=(400, 40))
    intervals = [bootstrap_mean(values, draws=400, seed=i) for i, values in enumerate(experiments)]
    covered = np.mean([interval.low <= 0.7 <= interval.high for interval in intervals])
    assert 0.90 <= covered <= 0.98


def test_one_patient_has_a_mean_and_no_interval() -> None:
    assert bootstrap_mean([0.7]) == Interval(mean=0.7, low=None, high=None, n=1)
    assert bootstrap_mean([0.7]).bounds is None
    assert paired_difference([0.75], [0.5]) == Interval(mean=0.25, low=None, high=None, n=1)
    assert bootstrap_mean([0.5]).scaled(100) == Interval(mean=50.0, low=None, high=None, n=1)


@pytest.mark.parametrize("values", [[0.7, 0.7], [1.0] * 30, [0.1 + 0.2, 0.3, 0.3], [0.0] * 3])
def test_values_that_are_all_equal_have_an_interval_without_width(values: list[float]) -> None:
    interval = bootstrap_mean(values)
    assert (interval.low, interval.high, interval.n) == (interval.mean, interval.mean, len(values))


def test_same_seed_same_interval_other_seed_other_interval() -> None:
    assert bootstrap_mean(SCORES, draws=500, seed=4) == bootstrap_mean(SCORES.tolist(), draws=500, seed=4)
    assert bootstrap_mean(SCORES, draws=500, seed=4) != bootstrap_mean(SCORES, draws=500, seed=5)


NEARLY = st.sampled_from([0.0, 1e-300, 1e-13, 1e-11, 0.5, 0.5 + 1e-12, 0.5 + 1e-16, 1.0, 100.0])


@exact
@given(st.lists(st.one_of(st.floats(-100, 100), NEARLY), min_size=2, max_size=12))
def test_bounds_are_finite_and_lie_within_the_values(values: list[float]) -> None:
    interval = bootstrap_mean(values, draws=200)
    assert interval.bounds is not None
    assert min(values) - 1e-9 <= interval.bounds[0] <= interval.bounds[1] <= max(values) + 1e-9
    assert interval.n == len(values)


@exact
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=9), st.floats(0.5, 200))
def test_a_paired_difference_is_the_mean_of_the_differences_in_any_unit(pairs, factor: float) -> None:
    left, right = zip(*pairs, strict=True)
    shares = paired_difference(left, right, draws=200).scaled(factor)
    assert shares.bounds is not None
    differences = [factor * (a - b) for a, b in pairs]
    assert shares.mean == pytest.approx(np.mean(differences), abs=1e-9)
    assert min(differences) - 1e-7 <= shares.bounds[0] <= shares.bounds[1] <= max(differences) + 1e-7


@pytest.mark.parametrize("block", [1, 100, 4_000])
def test_blocks_of_any_size_draw_from_the_same_distribution(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap_mean(SCORES, draws=4_000)
    monkeypatch.setattr(statistics, "BLOCK", block)
    parts = bootstrap_mean(SCORES, draws=4_000)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.01)


def test_memory_does_not_grow_with_draws_times_patients() -> None:
    values = np.random.default_rng(0).random(2_000)
    tracemalloc.start()
    bootstrap_mean(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6  # all at once: 10,000 x 2,000 picks of 8 bytes and as many values, 320 MB


# --- paired differences


def test_a_constant_gain_has_no_spread_however_patients_differ() -> None:
    interval = paired_difference(SCORES + 0.125, SCORES)
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.125, 0.125, 0.125))
    assert interval.n == SCORES.size


def test_changing_sides_changes_the_sign() -> None:
    other = np.random.default_rng(8).uniform(0.4, 0.95, size=40)
    there, back = paired_difference(SCORES, other), paired_difference(other, SCORES)
    assert there.bounds is not None
    assert back.bounds is not None
    assert (there.mean, *there.bounds) == pytest.approx((-back.mean, -back.bounds[1], -back.bounds[0]))


def test_pairs_are_resampled_together() -> None:
    noise = np.random.default_rng(9).normal(0, 0.01, size=40)
    paired = paired_difference(SCORES + noise, SCORES)
    assert np.ptp(paired.bounds) < 0.2 * np.ptp(bootstrap_mean(SCORES).bounds)


# --- Wilcoxon


def signed_rank_p(differences: list[float]) -> float:
    """Two-sided p value by trying every assignment of signs to distinct ranks."""
    ranks = [sorted(map(abs, differences)).index(abs(d)) + 1 for d in differences]
    middle = sum(ranks) / 2
    observed = abs(sum(r for r, d in zip(ranks, differences, strict=True) if d > 0) - middle)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(ranks))]
    return sum(abs(s - middle) >= observed for s in sums) / len(sums)


@exact
@given(st.lists(st.integers(-50, 50).filter(bool), min_size=2, max_size=9, unique_by=abs))
def test_wilcoxon_is_what_trying_every_sign_gives(differences: list[int]) -> None:
    a = [d / 64 for d in differences]
    assert wilcoxon(a, [0.0] * len(a)) == pytest.approx(signed_rank_p(a))


def test_six_patients_that_all_gain() -> None:
    assert wilcoxon([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.0] * 6) == pytest.approx(2 / 64)


def test_no_difference_at_all_is_p_1() -> None:
    assert wilcoxon(SCORES, SCORES) == 1.0
    assert wilcoxon([0.1 + 0.2, 0.5], [0.3, 0.5]) == 1.0


def test_one_patient_has_no_p_value_and_is_no_test_for_holm() -> None:
    assert wilcoxon([0.9], [0.1]) is None
    assert holm_of([0.01, None, 0.04]) == pytest.approx([0.02, None, 0.04])
    assert holm_of([None]) == [None]
    assert holm_of([]) == []


def test_patients_without_a_difference_say_nothing() -> None:
    a, b = [0.9, 0.8, 0.75, 0.6, 0.5], [0.7, 0.7, 0.8, 0.6, 0.5]
    assert wilcoxon(a, b) == wilcoxon(a[:3], b[:3])


def test_wilcoxon_is_symmetric_and_sees_many_patients() -> None:
    a = np.random.default_rng(5).normal(0.72, 0.1, size=80)
    b = a - np.random.default_rng(6).normal(0.02, 0.02, size=80)
    assert wilcoxon(a, b) == pytest.approx(wilcoxon(b, a))
    assert wilcoxon(a, b) < 1e-6


def test_differences_that_are_equal_but_for_rounding_tie() -> None:
    # 0.2 - 0.3 and 0.2 - 0.1 differ in the 17th digit; ranked apart they would give p = 0.25
    assert wilcoxon([0.2, 0.2, 0.9, 1.0], [0.3, 0.1, 0.1, 0.1]) == pytest.approx(0.375)


# --- Holm


def test_holm_by_hand() -> None:
    # in order 0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1 raised to the 0.06 before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def rejected_step_by_step(p_values: list[float], alpha: float) -> set[int]:
    """Holm as a procedure: test the smallest at alpha / m, the next at alpha / (m - 1), until one is not rejected."""
    rejected: set[int] = set()
    for at in sorted(range(len(p_values)), key=p_values.__getitem__):
        if p_values[at] * (len(p_values) - len(rejected)) > alpha:
            break
        rejected.add(at)
    return rejected


P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@exact
@given(P_VALUES, st.sampled_from([0.01, 0.05, 0.3]))
def test_holm_rejects_what_the_procedure_rejects(p_values: list[float], alpha: float) -> None:
    rejected = {i for i, p in enumerate(holm(p_values)) if p <= alpha}
    assert rejected == rejected_step_by_step(p_values, alpha)


@exact
@given(P_VALUES)
def test_holm_lies_between_the_raw_value_and_bonferroni_in_the_same_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= min(1.0, p * len(p_values)) for p, q in zip(p_values, adjusted, strict=True))
    assert holm(p_values[::-1]) == adjusted[::-1]


def test_one_test_needs_no_correction() -> None:
    assert holm([0.03]) == [0.03]


# --- what is refused


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: bootstrap_mean([]), r"values: .*one or more.*shape \(0,\).*report n"),
        (lambda: bootstrap_mean([0.5, math.nan]), r"values: .*finite.*1 of them not finite"),
        (lambda: bootstrap_mean(np.ones((2, 2))), r"values: .*list.*shape \(2, 2\)"),
        (lambda: bootstrap_mean([0.5, 0.6], draws=0), r"draws: .*at least one draw.*got 0"),
        (lambda: paired_difference([0.5, 0.6], [0.5]), r"a, b: .*same patients.*2 and 1 values.*both arms"),
        (lambda: paired_difference([], []), r"a: .*one or more"),
        (lambda: wilcoxon([0.5], [0.5, 0.6]), r"a, b: .*same patients"),
        (lambda: wilcoxon([], []), r"a: .*one or more"),
        (lambda: holm([]), r"p_values: .*one or more"),
        (lambda: holm([0.5, 1.5]), r"p_values: .*\[0, 1\].*1\.5"),
        (lambda: Interval(mean=0.5, low=math.nan, high=0.6, n=3), r"Interval: .*finite.*nan.*bootstrap_mean"),
        (lambda: Interval(mean=0.5, low=0.4, high=0.6, n=0), r"Interval: .*at least one.*n 0"),
        (lambda: Interval(mean=0.5, low=0.5, high=0.5, n=1), r"Interval: .*one value alone has no bounds.*n 1"),
        (lambda: Interval(mean=0.5, low=None, high=None, n=2), r"Interval: .*finite bounds.*low None"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_advice(call: Callable[[], object], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        call()
