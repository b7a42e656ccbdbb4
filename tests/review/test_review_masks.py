"""Masks between the page's grid and the file's own: all 48 orders of axes against nibabel; boxes against arrays."""

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from smiler.formats.volumes import read_ct
from smiler.review.blobs import Blobs
from smiler.review.errors import Refused
from smiler.review.masks import Box, Mask, parse_box
from smiler.review.orientation import nifti_bytes, ras, ras_affine, ras_shape

AXES = ["".join(codes) for order in itertools.permutations(("RL", "AP", "SI")) for codes in itertools.product(*order)]
SHAPE = (5, 4, 3)
masks = hnp.arrays(np.uint8, SHAPE, elements=st.integers(0, 1))


def tilted(angle: float) -> np.ndarray:
    """An affine whose axes lie a little beside the patient's."""
    affine = np.diag([0.7, 0.8, 2.5, 1.0])
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = (-31.5, 12.25, 800.125)
    return affine


@pytest.mark.parametrize("axes", AXES)
def test_every_order_of_axes_maps_as_nibabel_does_and_back(axes: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(AXES.index(axes))
    image = nib.Nifti1Image(rng.integers(-1000, 1000, SHAPE).astype(np.int16), tilted(0.2 * rng.random()))
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes))
    nib.save(image.as_reoriented(turn), tmp_path / "ct.nii.gz")
    native = nib.load(tmp_path / "ct.nii.gz")
    wanted = nib.as_closest_canonical(native)
    ct = read_ct(tmp_path / "ct.nii.gz")
    assert np.array_equal(ras(ct.hu), np.asarray(wanted.dataobj))
    assert np.allclose(ras_affine(ct.geometry), wanted.affine, atol=1e-4)
    sent = nib.Nifti1Image.from_bytes(nifti_bytes(ras(ct.hu), ct.geometry))
    assert np.array_equal(np.asarray(sent.dataobj), np.asarray(wanted.dataobj))
    assert nib.aff2axcodes(sent.affine) == ("R", "A", "S")

    drawn = rng.integers(0, 2, ras_shape(ct.geometry)).astype(np.uint8)
    blobs = Blobs(tmp_path / "review")
    name = blobs.put(Mask.of(drawn, ras_shape(ct.geometry)), ct.grid)
    stored = nib.load(blobs.path(name))
    assert stored.shape == native.shape
    assert np.array_equal(stored.affine, native.affine)
    assert np.array_equal(np.asarray(nib.as_closest_canonical(stored).dataobj), drawn)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(masks, masks)
def test_boxed_masks_say_what_whole_arrays_say(mine: np.ndarray, other: np.ndarray) -> None:
    a, b = Mask.of(mine, SHAPE), Mask.of(other, SHAPE)
    assert np.array_equal(a.array, mine)
    assert a.array.flags.f_contiguous
    assert a.voxels == mine.sum()
    assert a.shared_voxels(b) == (mine & other).sum()
    change = a.change_from(b)
    assert (change.added, change.removed) == ((mine & (1 - other)).sum(), (other & (1 - mine)).sum())
    if mine.any() or other.any():
        assert change.dice == pytest.approx(2 * (mine & other).sum() / (mine.sum() + other.sum()))
    box = Box((1, 0, 1), (4, 3, 3))
    assert np.array_equal(a.among(box), mine[1:4, 0:3, 1:3])


@settings(derandomize=True, max_examples=100, deadline=None)
@given(masks)
def test_equal_masks_have_one_name(mine: np.ndarray) -> None:
    whole = Mask.of(mine, SHAPE)
    parted = Mask.of(whole.inside, SHAPE, whole.box.start)
    assert parted.box == whole.box or not mine.any()
    assert np.array_equal(parted.array, whole.array)


@pytest.mark.parametrize(
    "text",
    ["", "0,0,0,1,1", "0,0,0,6,1,1", "1,0,0,1,1,1", "-1,0,0,1,1,1", "0,0,0,1e0,1,1", "0,0,0,1,1,1,1", "٣,0,0,4,1,1"],
)
def test_a_box_outside_the_volume_is_refused(text: str) -> None:
    with pytest.raises(Refused, match=r"not a box of this volume.*half-open, within 5,4,3"):
        parse_box(text, SHAPE)
