"""Readings: value and weight of every code as in the table, and what the pair promises to a loss."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import CODES, ORGAN_SETS, codes_of_volumes, targets_of

from smiler.domain.evidence import Code
from smiler.losses import LossOptions
from smiler.losses.targets import READINGS

torch.set_num_threads(1)

LAW = settings(max_examples=25, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**32 - 1)
ALL = pytest.mark.parametrize("name", sorted(READINGS))
SETS = pytest.mark.parametrize("organs", sorted(ORGAN_SETS))

# (value, weight) of UNKNOWN, NEGATIVE, EXCLUDED, POSITIVE, IMPLIED, PSEUDO; where the weight is 0 no value is told
TABLE = {
    "smile": [(0, 0), (0, 1), (0, 1), (1, 1), (1, 1), (1, 1), (0, 1)],
    "naive": [(0, 1), (0, 1), (0, 1), (1, 1), (0, 1), (1, 1), (0, 1)],
    "annotated": [(0, 0), (0, 1), (0, 0), (1, 1), (0, 0), (1, 1), (0, 1)],
}


def every_code() -> torch.Tensor:
    return torch.arange(len(Code), dtype=torch.uint8).view(1, 1, 1, -1)


@ALL
def test_options_take_every_reading_of_the_registry(name: str) -> None:
    assert LossOptions(reading=name).reading == name == READINGS[name].name
    assert READINGS[name].title


@pytest.mark.parametrize("name", sorted(TABLE))
def test_value_and_weight_of_every_code_are_the_table(name: str) -> None:
    targets = targets_of(name, every_code())
    pairs = zip(targets.value.flatten().tolist(), targets.weight.flatten().tolist(), strict=True)
    assert list(pairs) == TABLE[name]


@ALL
def test_a_reading_says_what_its_columns_say(name: str) -> None:
    reading = READINGS[name]
    assert set(reading.columns) == set(Code)
    targets = targets_of(name, every_code())
    for code, (value, weight) in reading.columns.items():
        assert targets.weight[0, 0, 0, code] == weight
        assert targets.value[0, 0, 0, code] == value * weight


@ALL
def test_an_expert_is_always_believed(name: str) -> None:
    columns = READINGS[name].columns
    assert columns[Code.POSITIVE] == (1, 1)
    assert columns[Code.NEGATIVE] == (0, 1)


@ALL
@pytest.mark.parametrize("kind", sorted(CODES))
@SETS
@LAW
@given(seed=SEEDS)
def test_targets_are_float_zeros_and_ones(name: str, kind: str, organs: str, seed: int) -> None:
    codes = CODES[kind](ORGAN_SETS[organs], seed)
    targets = targets_of(name, codes)
    assert targets.value.shape == targets.weight.shape == codes.shape
    assert targets.complete.shape == codes.shape[:2]
    for part in (targets.value, targets.weight, targets.complete):
        assert part.dtype == torch.float32
        assert set(part.unique().tolist()) <= {0.0, 1.0}
    assert (targets.value[targets.weight == 0] == 0).all()


@ALL
@SETS
@LAW
@given(seed=SEEDS)
def test_full_annotation_makes_every_reading_the_same(name: str, organs: str, seed: int) -> None:
    codes = codes_of_volumes(ORGAN_SETS[organs], seed, full=True)
    smile, other = targets_of("smile", codes), targets_of(name, codes)
    assert smile.weight.all()
    assert torch.equal(smile.value, other.value)
    assert torch.equal(smile.weight, other.weight)
    assert torch.equal(smile.complete, other.complete)


@ALL
@pytest.mark.parametrize("kind", sorted(CODES))
@LAW
@given(seed=SEEDS)
def test_an_image_is_complete_for_an_organ_where_a_voxel_of_its_background_is_told(
    name: str, kind: str, seed: int
) -> None:
    codes = CODES[kind](ORGAN_SETS["nested"], seed, size=(2, 2)).numpy()
    background = {Code.NEGATIVE, Code.CLEARED}
    background |= {Code.UNKNOWN} if READINGS[name].columns[Code.UNKNOWN][1] else set()
    wanted = [[not background.isdisjoint(organ.ravel().tolist()) for organ in image] for image in codes]
    complete = targets_of(name, torch.from_numpy(codes)).complete
    np.testing.assert_array_equal(complete.numpy() == 1, wanted)


@pytest.mark.parametrize("code", [Code.EXCLUDED, Code.IMPLIED, Code.POSITIVE, Code.PSEUDO])
def test_what_other_organs_and_proposals_say_completes_no_image(code: Code) -> None:
    codes = torch.full((1, 1, 2, 2), int(code), dtype=torch.uint8)
    codes[0, 0, 0, 0] = Code.UNKNOWN
    assert targets_of("smile", codes).complete.item() == 0
