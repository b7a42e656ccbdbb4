"""Whether a CT is in HU: whatever hospitals cut, pad and implant passes; whatever a program scaled is refused."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_files import Slices
from numpy.typing import NDArray

from smiler.domain.errors import BadInput
from smiler.formats.grey_values import GreyValues
from smiler.formats.nifti import ReadOptions
from smiler.formats.volumes import glance, read_hu
from smiler.phantom import PhantomOptions, generate

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
real_data = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data beside the repository")
HU = NDArray[np.int16]
Change = Callable[[NDArray[Any]], NDArray[Any]]


@pytest.fixture(scope="module")
def hu() -> NDArray[np.float64]:
    """Half air, then fat, organs and bone."""
    return generate(3, PhantomOptions(shape=(12, 64, 64))).hu.astype(np.float64)


def whole(values: NDArray[Any]) -> HU:
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16)


def outside_circle(values: NDArray[Any], fill: float) -> NDArray[Any]:
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in values.shape[1:]), indexing="ij")
    return np.where(x**2 + y**2 > 1, fill, values)


def implant(values: NDArray[Any]) -> NDArray[Any]:
    values = values.copy()
    values[4:8, 28:34, 30:36] = 30000
    return values


NO_HU: dict[str, tuple[Change, str]] = {
    "0 to 1": (lambda v: np.clip((v + 160) / 400, 0, 1), "values from 0 to 1; nearly all lie within 0 to 1"),
    "0 to 255": (lambda v: np.clip((v + 160) / 400, 0, 1) * 255, "values from 0 to 255; none lies below 0"),
    "HU + 1024": (lambda v: v + 1024, "none lies below 0"),
    "HU + 1000, noise": (lambda v: v + 1000, "most tissue lies near 1024"),
    "HU + 1024, padded": (lambda v: outside_circle(v + 1024, -976), "most tissue lies near 1024"),
    "HU / 1000": (lambda v: v / 1000, "values from -1 to 1; nearly all lie within -1 to"),
    "z-scores": (lambda v: (v - v.mean()) / v.std(), "nearly all lie within -"),
    "z-scores of metal": (lambda v: (implant(v) - v.mean()) / v.std(), "nearly all lie within -"),
    "counts": (lambda v: np.clip((v + 1024) * 16, 0, 65535), "none lies below 0"),
    "MR": (lambda v: np.abs(v) % 700, "none lies below 0"),
    "one value": (lambda v: v * 0 + 40, "nearly all lie within 40 to 40"),
}
IN_HU: dict[str, Change] = {
    "as it is": lambda v: v,
    "padded with -2000": lambda v: outside_circle(v, -2000),
    "padded with -3024": lambda v: outside_circle(v, -3024),
    "padded with 0": lambda v: outside_circle(v, 0),
    "air set to -3024": lambda v: np.where(v < -900, -3024, v),
    "air set to 0": lambda v: np.where(v < -300, 0, v),
    "cut to the body": lambda v: v[:, 20:44, 18:46],
    "slices of padding": lambda v: np.concatenate([v, np.full_like(v, -1024)]),
    "metal": implant,
    "contrast": lambda v: np.where((v > 60) & (v < 140), v + 150, v),
    "window kept": lambda v: np.clip(v, -160, 240),
}


@pytest.mark.parametrize("kind", NO_HU)
def test_what_is_not_hu_is_refused_with_the_range_that_was_seen(hu: NDArray[np.float64], kind: str) -> None:
    change, words = NO_HU[kind]
    seen = GreyValues.of(whole(change(hu)))
    with pytest.raises(BadInput, match="the grey values are not HU") as caught:
        seen.notes(ReadOptions(), "case p1")
    text = str(caught.value)
    assert text.startswith("case p1: ")
    assert words in text
    for do in (
        "air near -1000",
        "soft tissue from -100 to 200",
        "reading.grey_values = any",
        "for MR, train with data.normalisation = zscore",
    ):
        assert do in text
    (note,) = seen.notes(ReadOptions(grey_values="any"), "case p1")
    assert note.endswith("are used as they are")
    assert words in note


@pytest.mark.parametrize("kind", IN_HU)
def test_hu_pass_however_they_are_cut_padded_or_lit(hu: NDArray[np.float64], kind: str) -> None:
    assert GreyValues.of(whole(IN_HU[kind](hu))).notes(ReadOptions(), "case p1") == ()


def test_too_few_voxels_are_not_judged() -> None:
    assert not GreyValues.of(np.full((3, 10, 10), 7, np.int16)).fault


def test_a_glance_reads_a_few_slices_of_what_is_right_and_all_of_what_is_not(
    hu: NDArray[np.float64], tmp_path: Path
) -> None:
    tall = np.concatenate([np.tile(hu, (1, 8, 8))] * 4)
    for name, values in (("right", tall), ("raised", tall + 1024)):
        nib.save(nib.Nifti1Image(whole(values).transpose(2, 1, 0), np.diag([-1, -1, 2, 1.0])), tmp_path / f"{name}.nii")
    (grid, right), (_, raised) = (glance(tmp_path / f"{name}.nii") for name in ("right", "raised"))
    assert grid.geometry.shape == tall.shape
    assert right.convincing
    assert right.total < tall.size / 20
    assert "below 0" in raised.fault


def test_a_glance_at_dicom_decodes_a_few_slices(hu: NDArray[np.float64], tmp_path: Path) -> None:
    for name, values in (("right", whole(hu)), ("raised", whole(hu + 1024))):
        folder = Slices(values).write(tmp_path / name)
        grid, seen = glance(folder)
        assert grid.geometry.shape == hu.shape
        assert seen.total == 5 * 64 * 64
        assert bool(seen.fault) == (name == "raised")
    with pytest.raises(BadInput, match="not HU"):
        read_hu(tmp_path / "raised")


@real_data
def test_real_ct_passes_and_the_same_in_other_numbers_does_not() -> None:
    """Six of the 221 head-and-neck patients (all passed when the bounds were chosen), an abdomen, a torso."""
    with (SHARED / "openkbp" / "cases.csv").open() as stream:
        heads = [SHARED / "openkbp" / row["image"] for row in csv.DictReader(stream)][::40]
    others = ("msd_task09_spleen/imagesTr/spleen_8.nii.gz", "totalsegmentator_example/example_ct_3mm.nii.gz")
    for path in (*heads, *(SHARED / other for other in others)):
        assert glance(path)[1].convincing, path
        hu = read_hu(path).hu.astype(np.float64)
        for kind in ("0 to 1", "0 to 255", "HU + 1024", "HU + 1000, noise", "HU / 1000", "z-scores", "counts"):
            assert GreyValues.of(whole(NO_HU[kind][0](hu))).fault, (path, kind)
