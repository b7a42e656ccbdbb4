"""The phantom against measured anatomy, and the proof that grey value alone finds nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray

from smiler.phantom import ORGANS, PhantomCase
from smiler.phantom.measure import OrganMeasure, best_interval, body_mask, measure
from smiler.phantom.reference import REFERENCE

# How far the mean of twelve patients may be from the mean of the reference's patients.
VOLUME_TOLERANCE = 0.25  # of the reference volume
WIDE_VOLUME_TOLERANCE = 0.40  # where the reference itself varies by half or more
HU_TOLERANCE = 20.0
PLACE_TOLERANCE = 0.04  # of the body's width or depth


@pytest.fixture(scope="module")
def measures(patients: list[PhantomCase]) -> dict[str, list[OrganMeasure]]:
    found = [measure(case) for case in patients]
    return {key: [m[key] for m in found if key in m] for key in REFERENCE}


def mean(measures: list[OrganMeasure], name: str) -> float:
    return float(np.mean([getattr(m, name) for m in measures]))


@pytest.mark.parametrize("key", REFERENCE)
def test_volume(measures: dict[str, list[OrganMeasure]], key: str) -> None:
    organ = REFERENCE[key]
    varies = organ.volume_sd_ml / organ.volume_ml > 0.45
    tolerance = WIDE_VOLUME_TOLERANCE if varies else VOLUME_TOLERANCE
    assert mean(measures[key], "volume_ml") == pytest.approx(organ.volume_ml, rel=tolerance)


@pytest.mark.parametrize("key", REFERENCE)
def test_grey_value(measures: dict[str, list[OrganMeasure]], key: str) -> None:
    assert mean(measures[key], "hu") == pytest.approx(REFERENCE[key].hu, abs=HU_TOLERANCE)


@pytest.mark.parametrize("key", REFERENCE)
def test_place_in_the_body(measures: dict[str, list[OrganMeasure]], key: str) -> None:
    organ = REFERENCE[key]
    assert mean(measures[key], "x") == pytest.approx(organ.x, abs=PLACE_TOLERANCE)
    assert mean(measures[key], "y") == pytest.approx(organ.y, abs=PLACE_TOLERANCE)


def test_patients_differ(measures: dict[str, list[OrganMeasure]]) -> None:
    for key, found in measures.items():
        assert np.std([m.volume_ml for m in found]) > 0.08 * REFERENCE[key].volume_ml, key
        assert np.std([m.hu for m in found]) > 8, key


def test_small_organs_stay_small(measures: dict[str, list[OrganMeasure]]) -> None:
    assert 0.1 < mean(measures["pancreas"], "share") < 0.3
    assert 0.03 < mean(measures["gallbladder"], "share") < 0.15


def test_enhancement_is_shared_by_the_organs(measures: dict[str, list[OrganMeasure]]) -> None:
    liver, aorta = ([m.hu for m in measures[key]] for key in ("liver", "aorta"))
    assert np.corrcoef(liver, aorta)[0, 1] > 0.4


@pytest.mark.parametrize("key", ["pancreas", "stomach"])
def test_no_threshold_finds_the_organ(patients: list[PhantomCase], key: str) -> None:
    assert best_interval(patients, key).dice < 0.5
    assert max(best_interval([case], key).dice for case in patients) < 0.5


def test_interval_search_is_exhaustive(patients: list[PhantomCase]) -> None:
    case, edges = patients[0], range(-100, 301, 50)
    body, mask = body_mask(case.hu), case.masks["spleen"]
    scores = [dice(body & (case.hu >= low) & (case.hu < high), mask) for low in edges for high in edges if low < high]
    assert best_interval([case], "spleen", edges).dice == pytest.approx(max(scores))


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_body_holds_the_organs_and_not_the_table(patients: list[PhantomCase]) -> None:
    for case in patients:
        body = body_mask(case.hu)
        inside = np.any([case.masks[organ.key] for organ in ORGANS], axis=0)
        assert (body & inside).sum() > 0.995 * inside.sum()
        behind = case.hu[:, np.flatnonzero(body.any(axis=(0, 2)))[-1] + 2 :]
        assert (behind > -400).any(), "the table lies behind the body"
        assert (case.hu[~body] < -900).mean() > 0.8
