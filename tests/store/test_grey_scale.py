"""Grey values by HU or by z-score: the arithmetic, and what may not change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smiler.domain.errors import BadInput
from smiler.recipe.recipe import load_recipe
from smiler.store.grey_scale import GreyScale
from smiler.store.options import DataOptions

MR = DataOptions(normalisation="zscore")


def volume(seed: int = 0) -> np.ndarray:
    """Air of noise around tissue of two contrasts, in numbers without a unit."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 30, (6, 20, 20))
    values[:, 5:15, 5:15] = rng.normal(600, 80, (6, 10, 10))
    values[:, 8:11, 8:11] = rng.normal(1100, 60, (6, 3, 3))
    return values.astype(np.int16)


def test_z_scores_are_of_the_brighter_part_in_hundredths() -> None:
    values = volume()
    bright = values[values > values.mean()].astype(np.float64)
    expected = np.clip((values - bright.mean()) / bright.std(), -5, 5)
    working = GreyScale.of(values, MR, "a")(values)
    assert working.dtype == np.int16
    np.testing.assert_allclose(working / 100, expected, atol=0.006)


@given(gain=st.floats(0.5, 15), offset=st.integers(-300, 3000))
def test_gain_and_offset_of_a_scanner_change_nothing(gain: float, offset: int) -> None:
    values = volume()
    other = np.rint(values * gain + offset).astype(np.int16)
    difference = GreyScale.of(values, MR, "a")(values).astype(int) - GreyScale.of(other, MR, "a")(other)
    assert np.abs(difference).max() <= 2


def test_hu_are_clipped_and_nothing_else() -> None:
    hu = np.array([[[-1000, -160, 0, 77, 240, 3000]]], dtype=np.int16)
    scale = GreyScale.of(hu, DataOptions(), "a")
    assert scale(hu).tolist() == [[[-160, -160, 0, 77, 240, 240]]]
    assert scale(np.array([[[76.6, -0.4]]], dtype=np.float32)).tolist() == [[[77, 0]]]


def test_numbers_from_0_to_1_are_refused_not_rounded_away() -> None:
    with pytest.raises(BadInput, match=r"case p1: the grey values hardly differ.*values from 0 to 1.*multiply them"):
        GreyScale.of((volume() > 500).astype(np.int16), MR, "case p1")


def test_hashes_of_ct_stores_stay_as_they_were() -> None:
    assert "normalisation" not in DataOptions().model_dump(mode="json")
    assert DataOptions(**MR.model_dump(mode="json")) == MR


def test_a_recipe_for_mr_takes_any_grey_values() -> None:
    assert load_recipe("smile", None, ["data.normalisation=zscore"]).reading.grey_values == "any"
    assert load_recipe("smile").reading.grey_values == "refuse"
