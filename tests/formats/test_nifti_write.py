"""NIfTI out: any orientation round-trips voxel by voxel, and what is written lies exactly on the CT file's grid."""

import itertools
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import aff2axcodes, apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from smiler.domain.errors import BadInput
from smiler.domain.geometry import Geometry
from smiler.formats.nifti import (
    Grid,
    grid_of,
    read_ct,
    read_header,
    read_labels,
    write_ct,
    write_labels,
    write_probability,
)

ORIENTATIONS = [
    np.array([[axis, sign] for axis, sign in zip(axes, signs, strict=True)])
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
CANONICAL = Geometry.canonical((5, 6, 7), (2.5, 0.7, 0.8))


def ct_of(shape: tuple[int, ...] = (5, 6, 7)) -> NDArray[np.int16]:
    return np.random.default_rng(1).integers(-1000, 1000, shape).astype(np.int16)


def reoriented(path: Path, hu: NDArray[Any], spacing: tuple[float, ...], orientation: Any, kind: Any) -> Path:
    """Store a canonical array (z, y, x) with its axes permuted and flipped; `spacing` (z, y, x) in mm."""
    lps = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    lps[:3, 3] = 31.25, -20.5, 100.0
    xyz = hu.transpose(2, 1, 0)
    image = kind(apply_orientation(xyz, orientation), lps @ inv_ornt_aff(orientation, xyz.shape))
    nib.save(image, path)
    return path


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.5, 0.75, 1.25, 3.0])] * 3),
    kind=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
)
def test_any_orientation_round_trips(orientation: Any, shape: Any, spacing: Any, kind: Any) -> None:
    hu = ct_of(shape)
    with tempfile.TemporaryDirectory() as folder:
        path = reoriented(Path(folder) / "ct.nii.gz", hu, spacing, orientation, kind)
        ct = read_ct(path)
        assert np.array_equal(ct.hu, hu)
        assert ct.hu.flags.c_contiguous
        assert ct.geometry.axis_codes == "SPL"
        assert ct.geometry.spacing == pytest.approx(spacing)
        assert ct.geometry.matrix[:3, 3] == pytest.approx((-31.25, 20.5, 100.0))
        labels = (hu > 0).astype(np.uint8)
        write_labels(Path(folder) / "mask.nii.gz", labels, ct.grid)
        again, grid = read_labels(Path(folder) / "mask.nii.gz")
        written, source = nib.load(Path(folder) / "mask.nii.gz"), nib.load(path)
        assert type(written) is kind
        assert np.array_equal(written.affine, source.affine)
        assert np.array_equal(np.asarray(written.dataobj), np.asarray(source.dataobj) > 0)
    assert np.array_equal(again, labels)
    assert grid.geometry == ct.geometry


def test_all_48_orientations_give_one_canonical_array(tmp_path: Path) -> None:
    hu = ct_of()
    for orientation in ORIENTATIONS:
        path = reoriented(tmp_path / "ct.nii", hu, (2.5, 0.7, 0.8), orientation, nib.Nifti1Image)
        ct = read_ct(path)
        own = nib.load(path)
        assert np.array_equal(ct.hu, hu)
        assert "".join(aff2axcodes(own.affine)) == ct.grid.axis_codes
        assert own.shape == ct.grid.shape
        assert np.array_equal(ct.grid.own(ct.hu), np.asarray(own.dataobj))
        assert np.array_equal(ct.grid.canonical(np.asarray(own.dataobj)), hu)


def test_an_oblique_volume_keeps_its_axes(tmp_path: Path) -> None:
    turn = nib.eulerangles.euler2mat(0.3, -0.2, 0.25)
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.8, 0.7, 2.0])
    own = ct_of()
    nib.save(nib.Nifti1Image(own, affine), tmp_path / "ct.nii.gz")
    ct = read_ct(tmp_path / "ct.nii.gz")
    expected = io_orientation(affine)
    assert [2 - ct.grid.axes.index(i) for i in range(3)] == expected[:, 0].tolist()
    index = (1, 2, 3)  # one voxel's place, by the file and by the canonical array
    where = np.argwhere(ct.hu == own[index])[0]
    lps = ct.geometry.matrix @ (*where, 1)
    assert lps * (-1, -1, 1, 1) == pytest.approx(affine @ (*index, 1), abs=1e-4)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["i2", "u1", "i4", "f4", "f8"])
def test_both_byte_orders_and_both_versions(tmp_path: Path, kind: Any, order: str, dtype: str) -> None:
    own = ct_of().clip(0).astype(np.uint8).astype(order + dtype)
    header = kind.header_class(endianness=order)
    header.set_data_dtype(own.dtype)
    nib.save(kind(own, np.diag([-1, -1, 2, 1.0]), header), tmp_path / "ct.nii.gz")
    ct = read_ct(tmp_path / "ct.nii.gz")
    assert ct.hu.dtype == np.dtype("=i2")
    assert np.array_equal(ct.grid.own(ct.hu), own)
    write_labels(tmp_path / "mask.nii.gz", ct.hu.astype(np.uint16), ct.grid)
    assert np.array_equal(np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj), own)


@pytest.mark.parametrize("codes", [(1, 1), (0, 1), (1, 0), (2, 4)])
def test_the_affine_written_is_bit_for_bit_the_ct_files(tmp_path: Path, codes: tuple[int, int]) -> None:
    turn = nib.eulerangles.euler2mat(0.01, -0.02, 3.1)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * (0.7, 0.7, 1.3), (123.456, -77.7, 33.1)
    image = nib.Nifti1Image(ct_of(), affine)
    image.header["qform_code"], image.header["sform_code"] = codes
    image.set_qform(affine, code=codes[0])
    image.set_sform(affine, code=codes[1])
    nib.save(image, tmp_path / "ct.nii.gz")
    ct = read_ct(tmp_path / "ct.nii.gz")
    write_labels(tmp_path / "mask.nii.gz", np.ones(ct.hu.shape, np.uint8), ct.grid)
    mask, source = nib.load(tmp_path / "mask.nii.gz"), nib.load(tmp_path / "ct.nii.gz")
    assert np.array_equal(mask.affine, source.affine)
    assert np.array_equal(mask.get_qform(), source.get_qform())
    for form in ("qform_code", "sform_code", "xyzt_units"):
        assert mask.header[form] == source.header[form]
    assert read_header(tmp_path / "mask.nii.gz").geometry == ct.geometry


def test_trailing_dimensions_of_one_are_written_back(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(ct_of()[..., None, None], np.diag([-1, -1, 1, 1.0])), tmp_path / "ct.nii")
    data = bytearray((tmp_path / "ct.nii").read_bytes())
    data[40:52] = np.array([5, 5, 6, 7, 1, 1], "<i2").tobytes()
    (tmp_path / "ct.nii").write_bytes(data)
    ct = read_ct(tmp_path / "ct.nii")
    write_labels(tmp_path / "mask.nii.gz", np.ones(ct.hu.shape, np.uint8), ct.grid)
    assert nib.load(tmp_path / "mask.nii.gz").shape == nib.load(tmp_path / "ct.nii").shape == (5, 6, 7, 1, 1)


def test_a_ct_of_a_geometry_alone_comes_back(tmp_path: Path) -> None:
    hu = ct_of()
    write_ct(tmp_path / "ct.nii.gz", hu, CANONICAL)
    ct = read_ct(tmp_path / "ct.nii.gz")
    assert np.array_equal(ct.hu, hu)
    assert ct.geometry.agrees(CANONICAL)
    assert ct.geometry == grid_of(CANONICAL).geometry
    assert ct.grid == grid_of(CANONICAL)
    assert ct.grid.axis_codes == "LPS"
    assert ct.notes == ()


def test_equal_arrays_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_ct(tmp_path / name, ct_of(), CANONICAL)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_nothing_of_the_ct_headers_text_is_written(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ct_of(), np.diag([-1, -1, 1, 1.0]))
    image.header["descrip"] = image.header["db_name"] = image.header["aux_file"] = b"DOE JANE"
    nib.save(image, tmp_path / "ct.nii.gz")
    ct = read_ct(tmp_path / "ct.nii.gz")
    write_labels(tmp_path / "mask.nii.gz", np.zeros(ct.hu.shape, np.uint8), ct.grid)
    header = nib.load(tmp_path / "mask.nii.gz").header
    assert {bytes(header[name].item()) for name in ("descrip", "db_name", "aux_file")} == {b""}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_probabilities_are_stored_as_scaled_bytes(tmp_path: Path, dtype: Any) -> None:
    values = np.random.default_rng(2).random((5, 6, 7)).astype(dtype)
    write_probability(tmp_path / "p.nii.gz", values, grid_of(CANONICAL))
    image = nib.load(tmp_path / "p.nii.gz")
    assert image.header.get_data_dtype() == np.uint8
    assert np.abs(image.get_fdata().transpose(2, 1, 0) - values).max() <= 0.5 / 255 + 1e-4


def bad_writes(path: Path, grid: Grid) -> list[tuple[Any, str]]:
    good, half = np.zeros((5, 6, 7), np.uint8), np.full((5, 6, 7), 0.5, np.float32)
    return [
        (lambda: write_labels(path, good.astype(np.int32), grid), "uint8 or uint16"),  # type: ignore[arg-type]
        (lambda: write_labels(path, good[1:], grid), "does not fit the grid"),
        (lambda: write_labels(path.with_name("mask.nii"), good, grid), ".nii.gz"),
        (lambda: write_ct(path, good, CANONICAL), "HU are int16"),  # type: ignore[arg-type]
        (lambda: write_probability(path, half * 3, grid), "between 0 and 1"),
        (lambda: write_probability(path, half * np.nan, grid), "between 0 and 1"),
        (lambda: write_probability(path, good, grid), "are floats"),  # type: ignore[arg-type]
        (lambda: grid_of(Geometry.of((5, 6, 7), np.eye(4))), "not the geometry of a canonical array"),
    ]


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    for write, words in bad_writes(tmp_path / "mask.nii.gz", grid_of(CANONICAL)):
        with pytest.raises(BadInput, match=words.replace(".", r"\.")):
            write()
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mask.nii.gz"
    write_labels(path, np.ones((5, 6, 7), np.uint8), grid_of(CANONICAL))
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(BadInput, match="No space left on device"):
        write_labels(path, np.zeros((5, 6, 7), np.uint8), grid_of(CANONICAL))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
