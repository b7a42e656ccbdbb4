"""Augmentation: the crop is exact, evidence is never invented, and image and evidence move together."""

from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smiler.domain.evidence import Code, Relations, derive
from smiler.domain.organs import OrganSet
from smiler.sampling.augment import Batch, Changes, Normalisation, Slices, apply, sample, unchanged
from smiler.sampling.draws import generator
from smiler.sampling.options import AugmentOptions

torch.set_num_threads(1)

LAW = settings(max_examples=25, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**32 - 1)
PATCH = 32
AIR = -160
GREY = Normalisation(mean=60.0, sd=80.0, air=AIR)
CPU = torch.device("cpu")
STILL = AugmentOptions(rotate_deg=0, scale=0, shift=0, contrast=0, brightness=0, noise=0)
WILD = AugmentOptions(rotate_deg=180, scale=0.5, shift=0.3, contrast=0.5, brightness=1, noise=0.5)
MOVING = WILD.model_copy(update={"contrast": 0.0, "brightness": 0.0, "noise": 0.0})
SIZES = st.tuples(st.integers(5, 45), st.integers(5, 45))


def slices_of(seed: int, *sizes: tuple[int, int], channels: int = 1) -> Slices:
    """Random slices of these sizes in one array. What the padding holds in the bit fields is rubbish, on purpose."""
    rng = np.random.default_rng(seed)
    height, width = np.max(sizes, axis=0)
    image = np.full((len(sizes), channels, height, width), AIR, dtype=np.int16)
    for i, (y, x) in enumerate(sizes):
        image[i, :, :y, :x] = rng.integers(AIR, 241, (channels, y, x))
    bits = [rng.integers(1, 2**31, (len(sizes), height, width)).astype(np.int32) for _ in range(3)]
    extent = np.array(sizes, dtype=np.int64)
    return Slices(image, *bits, extent, (extent - 1) / 2)


def cut(slices: Slices, changes: Changes) -> Batch:
    return apply(slices, changes, PATCH, GREY, CPU)


def corner(top: int, left: int) -> NDArray[np.float64]:
    """The centre of the patch whose first voxel is (top, left) of the slice."""
    return np.array([[top, left]]) + (PATCH - 1) / 2


def window(plane: NDArray[np.generic], top: int, left: int, outside: int) -> NDArray[np.generic]:
    """(PATCH, PATCH) of a plane, voxel by voxel."""
    result = np.full((PATCH, PATCH), outside, dtype=plane.dtype)
    for y, x in np.ndindex(PATCH, PATCH):
        if 0 <= top + y < plane.shape[0] and 0 <= left + x < plane.shape[1]:
            result[y, x] = plane[top + y, left + x]
    return result


@LAW
@given(seed=SEEDS, size=SIZES, top=st.integers(-40, 50), left=st.integers(-40, 50))
def test_the_plain_crop_is_the_slice_and_outside_it_nothing_is_known(
    seed: int, size: tuple[int, int], top: int, left: int
) -> None:
    slices = slices_of(seed, size)
    batch = cut(slices, unchanged(corner(top, left)))
    image = (window(slices.image[0, 0].astype(np.float64), top, left, AIR) - GREY.mean) / GREY.sd
    np.testing.assert_allclose(batch.image[0, 0].numpy(), image, atol=1e-4)
    for name in ("drawn", "known", "pseudo"):
        got = getattr(batch.fields, name)
        assert got.dtype == torch.int32
        np.testing.assert_array_equal(got[0].numpy(), window(getattr(slices, name)[0], top, left, 0))


@LAW
@given(seed=SEEDS, small=SIZES, large=SIZES)
def test_a_slice_that_was_padded_for_its_batch_ends_where_it_ends(
    seed: int, small: tuple[int, int], large: tuple[int, int]
) -> None:
    slices = slices_of(seed, small, large)
    changes = sample(generator(seed), slices.centre, PATCH, MOVING)
    together = cut(slices, changes)
    for i, (y, x) in enumerate((small, large)):
        one = Slices(
            *(getattr(slices, name)[i : i + 1, ..., :y, :x] for name in ("image", "drawn", "pseudo", "known")),
            slices.extent[i : i + 1],
            slices.centre[i : i + 1],
        )
        alone = cut(one, replace(changes.part(slice(i, i + 1)), noise=np.zeros(1, dtype=np.float32)))
        torch.testing.assert_close(together.image[i], alone.image[0], atol=1e-3, rtol=0)
        for name in ("drawn", "known", "pseudo"):
            assert torch.equal(getattr(together.fields, name)[i], getattr(alone.fields, name)[0])


@LAW
@given(seed=SEEDS, size=SIZES)
def test_what_lies_outside_the_slice_is_unknown_for_every_organ(seed: int, size: tuple[int, int]) -> None:
    organs = OrganSet.of(*(f"organ{k}" for k in range(31)))
    slices = slices_of(seed, size)
    slices.known[:] = 2**31 - 1
    changes = sample(generator(seed), slices.centre, PATCH, WILD)
    batch = cut(slices, changes)
    matrix = changes.matrix[0].astype(np.float64)
    steps = np.arange(PATCH) - (PATCH - 1) / 2
    offsets = np.stack([*np.meshgrid(steps, steps, indexing="ij"), np.ones((PATCH, PATCH))])
    place = np.tensordot(matrix, offsets, axes=1)
    edge = np.array(size)[:, None, None] - 0.5
    outside = ((place < -0.5 - 1e-3) | (place > edge + 1e-3)).any(axis=0)
    inside = ((place > -0.5 + 1e-3) & (place < edge - 1e-3)).all(axis=0)
    codes = derive(batch.fields, Relations.of(organs), torch).numpy()
    assert (codes[:, 0, outside] == Code.UNKNOWN).all()
    assert np.isin(codes[:, 0, inside], [Code.POSITIVE, Code.NEGATIVE]).all()


@LAW
@given(seed=SEEDS, quarters=st.tuples(st.integers(0, 80), st.integers(0, 80)))
def test_a_crop_between_voxels_neither_doubles_nor_skips_one(seed: int, quarters: tuple[int, int]) -> None:
    slices = slices_of(seed, (45, 37))
    slices.drawn[0] = 1 + np.arange(45 * 37).reshape(45, 37)
    taken = cut(slices, unchanged(np.array([quarters]) / 4)).fields.drawn[0].numpy()
    rows, columns = (taken - 1) // 37, (taken - 1) % 37
    both_rows, both_columns = (taken[1:] > 0) & (taken[:-1] > 0), (taken[:, 1:] > 0) & (taken[:, :-1] > 0)
    assert both_rows.any()
    assert (np.diff(rows, axis=0)[both_rows] == 1).all()
    assert (np.diff(columns, axis=1)[both_columns] == 1).all()


@LAW
@given(seed=SEEDS, size=SIZES)
def test_changes_of_no_strength_change_nothing(seed: int, size: tuple[int, int]) -> None:
    slices = slices_of(seed, size, size)
    drawn, plain = sample(generator(seed), slices.centre, PATCH, STILL), unchanged(slices.centre)
    for name in ("matrix", "contrast", "brightness", "noise"):
        np.testing.assert_array_equal(getattr(drawn, name), getattr(plain, name))
    assert torch.equal(cut(slices, drawn).image, cut(slices, plain).image)


@LAW
@given(seed=SEEDS, size=SIZES)
def test_bits_are_taken_never_mixed_and_the_three_fields_from_one_voxel(seed: int, size: tuple[int, int]) -> None:
    slices = slices_of(seed, size)
    batch = cut(slices, sample(generator(seed), slices.centre, PATCH, WILD))

    def triples(drawn: NDArray[np.int32], known: NDArray[np.int32], pseudo: NDArray[np.int32]) -> set[tuple[int, ...]]:
        return set(zip(*(a.ravel().tolist() for a in (drawn, known, pseudo)), strict=True))

    before = triples(slices.drawn, slices.known, slices.pseudo)
    after = triples(*(getattr(batch.fields, name).numpy() for name in ("drawn", "known", "pseudo")))
    assert after <= before | {(0, 0, 0)}


@LAW
@given(seed=SEEDS, y=st.floats(-4, 4), x=st.floats(-4, 4), radius=st.floats(3.5, 6))
def test_an_organ_moves_with_its_image(seed: int, y: float, x: float, radius: float) -> None:
    slices = slices_of(seed, (48, 44))
    rows, columns = np.indices((48, 44))
    disc = (rows - 23.5 - y) ** 2 + (columns - 21.5 - x) ** 2 <= radius**2
    slices.drawn[0], slices.known[0], slices.pseudo[0] = disc, 1, 0
    slices.image[0, 0] = np.where(disc, 240, AIR)
    batch = cut(slices, sample(generator(seed), slices.centre, PATCH, MOVING.model_copy(update={"shift": 0.05})))
    bright = batch.image[0, 0].double().numpy() * GREY.sd + GREY.mean - AIR
    mask = batch.fields.drawn[0].numpy()
    grid = np.indices((PATCH, PATCH))
    centroids = [(grid * weight).sum(axis=(1, 2)) / weight.sum() for weight in (bright, mask)]
    assert np.abs(centroids[0] - centroids[1]).max() < 1
    assert mask.sum() == pytest.approx(bright.sum() / (240 - AIR), rel=0.2)


def test_every_channel_moves_alike() -> None:
    slices = slices_of(3, (40, 40), channels=3)
    slices.image[:, 1:] = slices.image[:, :1]
    image = cut(slices, sample(generator(3), slices.centre, PATCH, MOVING)).image
    assert torch.equal(image[:, 0], image[:, 1])
    assert torch.equal(image[:, 0], image[:, 2])


@LAW
@given(key=st.tuples(SEEDS, st.integers(0, 9), st.integers(0, 999)))
def test_changes_are_a_function_of_their_key(key: tuple[int, int, int]) -> None:
    centre = np.array([[20.0, 21.0], [5.0, 6.0]])
    first, again, next_step = (
        astuple(sample(generator(*k), centre, PATCH, WILD)) for k in (key, key, (*key[:2], key[2] + 1))
    )
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(np.any(one != other) for one, other in zip(first, next_step, strict=True))


@LAW
@given(seed=SEEDS)
def test_the_same_changes_give_the_same_batch(seed: int) -> None:
    slices = slices_of(seed, (40, 30), (33, 44))
    changes = sample(generator(seed), slices.centre, PATCH, WILD)
    one, other = cut(slices, changes), cut(slices, changes)
    assert torch.equal(one.image, other.image)
    for name in ("drawn", "known", "pseudo"):
        assert torch.equal(getattr(one.fields, name), getattr(other.fields, name))
    assert one.fields.cleared is None
    ruled = cut(replace(slices, cleared=slices.pseudo), changes).fields
    assert torch.equal(ruled.cleared, one.fields.pseudo)


@LAW
@given(seed=SEEDS)
def test_changes_stay_within_their_strength(seed: int) -> None:
    options = AugmentOptions(rotate_deg=20, scale=0.2, shift=0.1, contrast=0.3, brightness=0.4, noise=0.5)
    centre = np.tile([[20.0, 30.0]], (64, 1))
    changes = sample(generator(seed), centre, PATCH, options)
    linear = changes.matrix[:, :, :2].astype(np.float64)
    size = np.sqrt(np.linalg.det(linear))
    angle = np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    unit = linear / size[:, None, None]
    np.testing.assert_allclose(unit @ unit.transpose(0, 2, 1), np.tile(np.eye(2), (64, 1, 1)), atol=1e-6)
    for value, strength in (
        (np.log(size), np.log(1.2)),
        (angle, 20),
        (changes.matrix[:, :, 2] - centre, 0.1 * PATCH),
        (changes.contrast - 1, 0.3),
        (changes.brightness, 0.4),
        (changes.noise - 0.25, 0.25),
    ):
        assert np.abs(value).max() <= strength + 1e-5
        assert np.abs(value).max() > 0.7 * strength
        assert value.min() < 0 < value.max()


def test_grey_values_change_as_the_numbers_say() -> None:
    slices = slices_of(5, (40, 40))
    plain = unchanged(slices.centre)
    changed = replace(plain, contrast=plain.contrast * 1.2, brightness=plain.brightness + 0.3)
    usual = cut(slices, plain).image
    torch.testing.assert_close(cut(slices, changed).image, usual * 1.2 + 0.3)
    noisy = cut(slices, replace(plain, noise=plain.noise + 0.5, noise_seed=plain.noise_seed + 9)).image - usual
    assert noisy.mean().abs() < 0.05
    assert noisy.std().item() == pytest.approx(0.5, rel=0.1)
