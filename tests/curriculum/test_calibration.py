"""Calibrated selection: what is held out is unknown to training, and the threshold is right on what was held out."""

import numpy as np
import pytest
from shared_phantoms import Phantoms

from smiler.curriculum.calibration import FEWEST, _threshold, hold_out
from smiler.curriculum.options import CurriculumOptions
from smiler.curriculum.relabel import RelabelStep, decided
from smiler.domain.evidence import Relations
from smiler.domain.geometry import Geometry
from smiler.prediction.scores import Prediction
from smiler.sampling.draws import Plan
from smiler.store.options import DataOptions
from smiler.store.store import Store, StoreOptions, build_store


@pytest.fixture(scope="module")
def store(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("calibration")
    cohort = phantoms(folder / "all", 8)
    return build_store(cohort, folder / "cache", StoreOptions(DataOptions(spacing_xy_mm="native")))


def test_a_share_of_each_organs_pairs_is_held_out(store: Store) -> None:
    held = hold_out(store, 0.25, seed=3)
    assert held == hold_out(store, 0.25, seed=3)
    assert held != hold_out(store, 0.25, seed=4)
    for k in range(len(store.organs)):
        drawn = [bool(case.voxels[:, k].any()) for case in store]
        mine = [i for i, bits in enumerate(held.bits) if bits >> k & 1]
        enough = sum(drawn) >= FEWEST
        assert sum(drawn[i] for i in mine) == (max(1, round(0.25 * sum(drawn))) if enough else 0)
        assert sum(not drawn[i] for i in mine) == (round(0.25 * (len(drawn) - sum(drawn))) if enough else 0)


def test_training_can_not_see_what_is_held_out(store: Store) -> None:
    held = hold_out(store, 0.25, seed=3)
    seen = held.without(store)
    plan = Plan.of(seen)
    for i, bits in enumerate(held.bits):
        for k in range(len(store.organs)):
            hidden = bool(bits >> k & 1)
            assert not (hidden and (seen.cases[i].known >> k & 1).any())
            assert not (hidden and i in plan.positive[k][:, 0])
            if not hidden:
                assert np.array_equal(seen.cases[i].known >> k & 1, store.cases[i].known >> k & 1)


def test_the_threshold_is_the_lowest_that_is_right_often_enough() -> None:
    scores = np.array([5, 4, 3, 2, 1], dtype=np.float32)
    right = np.array([True, True, False, True, False])
    assert _threshold([(scores, right)], 0.75) == 2.0
    assert _threshold([(scores, right)], 0.9) == 4.0
    assert _threshold([(scores[:2], right[:2]), (scores[2:], right[2:])], 0.6) == 1.0
    assert _threshold([(scores, ~right)], 0.9) == float("inf")
    assert _threshold([(scores[:0], right[:0])], 0.5) == float("inf")


def test_scores_below_the_lowest_are_no_candidates() -> None:
    score = np.array([3, 1, -2, 2, 2, 2], dtype=np.float16).reshape(2, 1, 1, 3)
    prediction = Prediction((0, 1), score, Geometry.canonical((1, 1, 3), (1, 1, 1)), "test")
    free, rivals = Relations((0, 0), (0, 0), (0, 0)), Relations((2, 1), (0, 0), (0, 0))
    kept = decided(prediction, free, [2.0, float("inf")])
    assert kept[:, 0, 0].tolist() == [[True, False, False], [False, False, False]]
    assert (decided(prediction, free) == (score > 0)).all()
    assert decided(prediction, rivals)[:, 0, 0].tolist() == [[True, False, False], [False, True, True]]
    # the best is refused, and its voxel does not fall to the rival
    assert decided(prediction, rivals, [float("inf"), 0.0])[:, 0, 0].tolist() == [[False] * 3, [False, True, True]]


def test_of_no_organs_nothing_is_decided() -> None:
    prediction = Prediction((), np.zeros((0, 2, 3, 4), np.float16), Geometry.canonical((2, 3, 4), (1, 1, 1)), "test")
    assert decided(prediction, Relations((), (), ())).shape == (0, 2, 3, 4)


def test_an_unreachable_precision_is_told_as_none() -> None:
    step = RelabelStep(1, 0.5, CurriculumOptions(), {"liver": 1.5, "spleen": float("inf")})
    assert step.facts()["lowest_score"] == {"liver": 1.5, "spleen": None}
