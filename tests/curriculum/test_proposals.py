"""What a round rules out, against counting voxel by voxel."""

import math

import numpy as np
import pytest
from shared_phantoms import Phantoms

from smiler.curriculum.options import CurriculumOptions
from smiler.curriculum.relabel import RelabelStep, accept_case, rule_out
from smiler.domain.evidence import Code, Fields, Relations, derive
from smiler.prediction.scores import Prediction
from smiler.store.options import DataOptions
from smiler.store.store import Store, StoreOptions, build_store


@pytest.fixture(scope="module")
def store(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("relabel")
    cohort = phantoms(folder / "all", 2)
    return build_store(cohort, folder / "cache", StoreOptions(DataOptions(spacing_xy_mm="native")))


@pytest.mark.parametrize("below", [0.05, 0.3])
def test_only_improbable_open_voxels_of_proposed_organs_are_ruled_out(store: Store, below: float) -> None:
    case = store.cases[0]
    hidden = type(case)(**{**vars(case), "known": case.known & ~np.int32(0b110110)})
    channels = (1, 2, 4, 5)
    shape = (len(channels), *case.geometry.shape)
    score = np.random.default_rng(1).normal(-2, 3, shape).astype(np.float16)
    score[2] = -9  # this organ is nowhere predicted: the network may have missed it
    prediction = Prediction(channels, score, case.geometry, "test")
    step = RelabelStep(1, 0.5, CurriculumOptions(rounds=1))
    accepted = accept_case(prediction, hidden, store.organs, step, 0)
    cleared = rule_out(prediction, accepted, hidden, store.organs, below)
    known = np.broadcast_to(hidden.known[:, None, None], case.geometry.shape)
    drawn = np.asarray(hidden.drawn[:])
    codes = derive(Fields(drawn, known, accepted), Relations.of(store.organs), np)
    for place, k in enumerate(channels):
        wanted = (codes[k] == Code.UNKNOWN) & (score[place] < math.log(below / (1 - below)))
        wanted &= bool((accepted >> k & 1).any())
        np.testing.assert_array_equal(cleared >> k & 1, wanted)
    assert not (cleared >> 4 & 1).any()
    assert not (cleared & accepted).any()
    assert (cleared >> 1 & 1).any()
    assert not (cleared & ~np.int32(0b110110)).any()


def test_the_share_is_of_what_prediction_would_make_a_mask(store: Store) -> None:
    """Everywhere above 0, as odds against the background are, but each voxel is one organ's."""
    case = store.cases[0]
    hidden = type(case)(**{**vars(case), "known": 0 * case.known})
    channels = tuple(store.organs.index(key) for key in ("liver", "stomach", "spleen"))
    score = np.random.default_rng(2).uniform(0.5, 5, (3, *case.geometry.shape)).astype(np.float16)
    prediction = Prediction(channels, score, case.geometry, "test")
    accepted = accept_case(prediction, hidden, store.organs, RelabelStep(1, 0.5, CurriculumOptions(rounds=1)), 0)
    best = score.astype(np.float32).argmax(axis=0)
    for place, k in enumerate(channels):
        mine = (accepted >> k & 1).astype(bool)
        assert best[mine].tolist() == [place] * int(mine.sum())
        assert mine.sum() == round(0.5 * (best == place).sum())


def test_nothing_is_ruled_out_by_default() -> None:
    assert CurriculumOptions().negatives is None
