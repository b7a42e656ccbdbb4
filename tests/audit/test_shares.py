"""Expected shares: the formulas against what the audit counts over every way to remove annotations."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from audit_cohorts import add_case, cohort_of

from smiler.audit.audit import audit_cohort
from smiler.audit.shares import Shares, expected_shares
from smiler.domain.cells import UNANNOTATED
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.evidence import Code
from smiler.domain.organs import OrganSet

ORGANS = OrganSet.of("liver", "stomach", "spleen")
CELLS = {"liver": "MAP#1", "stomach": "MAP#2", "spleen": "MAP#3"}
SHAPE = (3, 4, 6)


@pytest.fixture
def complete(tmp_path: Path) -> Cohort:
    """Two cases in which every organ is drawn, each with other sizes."""
    first, second = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    first[0:2, 1:3, 0:3], first[1, 0, 4:6], first[2, 3, 5] = 1, 2, 3
    second[1:3, 0:4, 0:2], second[0, 2:4, 3:6], second[2, 1, 4:6] = 1, 2, 3
    return cohort_of(
        tmp_path, [add_case(tmp_path, "c1", CELLS, first), add_case(tmp_path, "c2", CELLS, second)], ORGANS
    )


def counted(cohort: Cohort) -> dict[str, np.ndarray]:
    """Per organ: positives, known negatives and ignored voxels, as the audit counts them."""
    voxels = audit_cohort(cohort).voxels
    return {
        key: np.array([codes[Code.POSITIVE], codes[Code.NEGATIVE] + codes[Code.EXCLUDED], codes[Code.UNKNOWN]])
        for key, codes in voxels.items()
    }


def without(cohort: Cohort, removed: tuple[bool, ...]) -> Cohort:
    flags = iter(removed)
    cases = [case.with_cells({key: UNANNOTATED for key in ORGANS.keys if next(flags)}) for case in cohort]
    return cohort_of(cohort.folder, cases, ORGANS)


def shares_of(cohort: Cohort) -> dict[str, float]:
    total = len(cohort) * int(np.prod(SHAPE))
    return {key: float(count[0]) / total for key, count in counted(cohort).items()}


def test_the_mean_over_every_removal_pattern_is_the_formula(complete: Cohort) -> None:
    pairs, total = len(complete) * len(ORGANS), len(complete) * int(np.prod(SHAPE))
    patterns = {flags: counted(without(complete, flags)) for flags in itertools.product((False, True), repeat=pairs)}
    assert len(patterns) == 64
    for alpha in (0.0, 0.3, 0.5, 0.7, 1.0):
        expected = expected_shares(shares_of(complete), alpha)
        for key in ORGANS.keys:
            mean = sum(
                alpha ** sum(flags) * (1 - alpha) ** (pairs - sum(flags)) * counts[key] / total
                for flags, counts in patterns.items()
            )
            formula = (expected[key].positive, expected[key].negative, expected[key].ignored)
            assert mean == pytest.approx(formula, abs=1e-12), (alpha, key)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.7, 1.0])
def test_the_shares_of_an_organ_are_everything(alpha: float) -> None:
    for shares in expected_shares({"a": 0.02, "b": 0.3, "c": 0.0}, alpha).values():
        assert shares.positive + shares.negative + shares.ignored == pytest.approx(1)


def test_full_annotation_ignores_nothing_and_none_ignores_all() -> None:
    assert expected_shares({"a": 0.25, "b": 0.5}, 0.0)["a"] == Shares(0.25, 0.75, 0.0)
    assert expected_shares({"a": 0.25, "b": 0.5}, 1.0)["a"] == Shares(0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("beta", "alpha", "said"),
    [
        ({"a": 0.5}, 1.5, "alpha: a share is between 0 and 1; got 1.5"),
        ({"a": 0.5}, float("nan"), "alpha: a share is between 0 and 1; got nan"),
        ({"a": 0.7, "b": 0.6}, 0.5, "beta: shares of exclusive organs are at most 1 together"),
        ({"a": -0.1}, 0.5, "beta: shares of exclusive organs are at most 1 together"),
    ],
)
def test_what_is_no_share_is_refused(beta: Mapping[str, float], alpha: float, said: str) -> None:
    with pytest.raises(BadInput, match="share") as refused:
        expected_shares(beta, alpha)
    assert str(refused.value).startswith(said)
