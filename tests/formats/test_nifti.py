"""NIfTI in: every faulty header is refused before its voxels are read, every good file comes out canonical."""

import gzip
import os
import random
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from smiler.domain.errors import BadInput
from smiler.formats.nifti import ReadOptions, read_ct, read_header, read_labels

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
real_data = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data beside the repository")
LPS_MM = np.diag([-0.8, -0.8, 2.0, 1.0])
DIM, DATATYPE, VOX_OFFSET, SLOPE, UNITS, QFORM, SFORM, SROW = 40, 70, 108, 112, 123, 252, 254, 280


def volume(shape: tuple[int, int, int] = (7, 6, 5), dtype: Any = np.int16) -> NDArray[Any]:
    return np.random.default_rng(3).integers(0, 100, shape).astype(dtype)


def save(path: Path, own: NDArray[Any], affine: Any = LPS_MM, kind: Any = nib.Nifti1Image) -> Path:
    nib.save(kind(own, affine, dtype=own.dtype), path)
    return path


def patch(path: Path, offset: int, form: str, *values: float) -> Path:
    """Overwrite header bytes of an existing .nii or .nii.gz file."""
    opener: Any = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rb") as stream:
        data = bytearray(stream.read())
    struct.pack_into(form, data, offset, *values)
    with opener(path, "wb") as stream:
        stream.write(data)
    return path


def refused(path: Path, *words: str, options: ReadOptions = ReadOptions(), read: Any = read_ct) -> None:  # noqa: B008
    with pytest.raises(BadInput) as caught:
        read(path, options)
    text = str(caught.value)
    assert str(path) in text
    for word in words:
        assert word in text


# 1: truncated files


@pytest.mark.parametrize("read", [read_ct, read_labels])
@pytest.mark.parametrize("keep", [9, 30, 0.3, 0.7, 0.95, -9, -1])
def test_a_truncated_gzip_file_is_refused(tmp_path: Path, read: Any, keep: float) -> None:
    path = save(tmp_path / "ct.nii.gz", volume((30, 30, 30)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if 0 < keep < 1 else int(keep)])
    refused(path, "truncated", read=read)


def test_a_truncated_plain_file_is_refused_from_its_header(tmp_path: Path) -> None:
    path = save(tmp_path / "ct.nii", volume())
    path.write_bytes(path.read_bytes()[:-1])
    refused(path, "truncated", read=read_header)
    path.write_bytes(path.read_bytes()[:300])
    refused(path, "truncated", read=read_header)


def test_a_gzip_file_that_ends_at_a_member_border_is_truncated(tmp_path: Path) -> None:
    path = save(tmp_path / "ct.nii.gz", volume((30, 30, 30)))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-100]))
    refused(path, "truncated", "100 bytes fewer")


def test_damaged_gzip_data_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "ct.nii.gz", volume((30, 30, 30)))
    whole = bytearray(path.read_bytes())
    for place in (len(whole) // 2, len(whole) - 6):  # the deflate stream, the checksum
        broken = bytearray(whole)
        broken[place] ^= 0x5A
        path.write_bytes(broken)
        refused(path, "gzip data are damaged")


# 2: gzip bombs

BOMB = """
import re, sys, time
from smiler.domain.errors import BadInput
from smiler.formats.nifti import read_ct
start = time.perf_counter()
try:
    read_ct(sys.argv[1])
except BadInput as error:
    seconds = time.perf_counter() - start
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())  # ru_maxrss would count the parent's
    print(seconds, int(peak[1]) / 1024, error)
"""


@pytest.mark.parametrize("datatype", [(2, 8), (4, 16)])
def test_a_gzip_bomb_is_refused_from_its_header(tmp_path: Path, datatype: tuple[int, int]) -> None:
    path = save(tmp_path / "bomb.nii", volume())
    patch(path, DIM, "<4h", 3, 2000, 2000, 2000)
    patch(path, DATATYPE, "<2h", *datatype)
    with gzip.open(tmp_path / "bomb.nii.gz", "wb", compresslevel=9) as stream:
        stream.write(path.read_bytes()[:352])
        for _ in range(200):
            stream.write(bytes(1 << 20))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BOMB, str(tmp_path / "bomb.nii.gz")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, megabytes, error = done.stdout.split(maxsplit=2)
    assert "promise" in error
    assert float(seconds) < 1
    assert float(megabytes) < 300


def test_a_file_that_inflates_beyond_its_header_is_read_no_further(tmp_path: Path) -> None:
    path = save(tmp_path / "ct.nii.gz", volume())
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(300 << 20), 1))
    start = time.perf_counter()
    refused(path, "longer than its header says")
    assert time.perf_counter() - start < 0.5


def test_the_cap_is_an_option(tmp_path: Path) -> None:
    refused(save(tmp_path / "ct.nii", volume()), "7x6x5", "max_bytes", options=ReadOptions(max_bytes=700))


# 3: dimensions


@pytest.mark.parametrize(
    ("dims", "words"),
    [
        ((3, 32767, 32767, 32767), "more bytes than allowed"),
        ((3, 7, -6, 5), "not positive"),
        ((3, 7, 0, 5), "not positive"),
        ((9, 7, 6, 5), "number of dimensions"),
        ((0, 7, 6, 5), "number of dimensions"),
        ((2, 7, 30, 1), "not three dimensions"),
        ((4, 7, 6, 1, 5), "not three dimensions"),
    ],
)
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_impossible_dimensions_are_refused(tmp_path: Path, dims: tuple[int, ...], words: str, suffix: str) -> None:
    path = patch(save(tmp_path / f"ct.{suffix}", volume()), DIM, f"<{len(dims)}h", *dims)
    for read in (read_header, read_ct, read_labels):
        refused(path, words, read=read)


def test_trailing_dimensions_of_one_are_allowed(tmp_path: Path) -> None:
    path = patch(save(tmp_path / "ct.nii", volume()), DIM, "<6h", 5, 7, 6, 5, 1, 1)
    assert read_ct(path).hu.shape == (5, 6, 7)


# 4: affines


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ((np.nan, 0, 0, 0), "not finite"),
        ((np.inf, 0, 0, 0), "not finite"),
        ((3e38, 0, 0, 0), "not finite"),
        ((0, 0, 0, 0), "singular"),
        ((-0.8, 0.1, 0, 0), "sheared"),
    ],
)
def test_a_nan_singular_or_sheared_affine_is_refused(tmp_path: Path, row: tuple[float, ...], word: str) -> None:
    path = patch(save(tmp_path / "ct.nii.gz", volume()), SROW, "<4f", *row)
    refused(path, word, read=read_header)


# 5: sform and qform


def test_a_file_without_sform_and_qform_needs_a_word(tmp_path: Path) -> None:
    path = patch(save(tmp_path / "ct.nii.gz", volume()), SFORM, "<h", 0)
    for orientation in ("refuse", "sform", "qform"):
        refused(path, "neither sform nor qform", "orientation", options=ReadOptions(orientation=orientation))
    ct = read_ct(path, ReadOptions(orientation="none"))
    assert ct.grid.axis_codes == "RAS"
    assert ct.geometry.spacing == pytest.approx((2, 0.8, 0.8))
    assert "neither sform nor qform" in ct.notes[0]


def test_sform_and_qform_that_disagree_need_a_word(tmp_path: Path) -> None:
    image = nib.Nifti1Image(volume(), LPS_MM)
    image.set_sform(LPS_MM, code=1)
    image.set_qform(np.diag([0.8, 0.8, 2.0, 1.0]), code=1)
    path = tmp_path / "ct.nii.gz"
    nib.save(image, path)
    refused(path, "sform and qform disagree", "mm between them")
    for orientation, codes in (("sform", "LPS"), ("qform", "RAS")):
        ct = read_ct(path, ReadOptions(orientation=orientation))
        assert ct.grid.axis_codes == codes
        assert f"{orientation} used, as asked" in ct.notes[0]


@pytest.mark.parametrize("shift", [0.02, 0.4, 2.0])
def test_a_shift_between_the_forms_is_no_rounding(tmp_path: Path, shift: float) -> None:
    image = nib.Nifti1Image(volume(), LPS_MM)
    image.set_sform(LPS_MM, code=1)
    image.set_qform(LPS_MM + shift * np.outer([1, 0, 0, 0], [0, 0, 0, 1]), code=1)
    nib.save(image, tmp_path / "ct.nii")
    refused(tmp_path / "ct.nii", "sform and qform disagree", read=read_header)


def test_float32_rounding_of_the_quaternion_is_no_disagreement(tmp_path: Path) -> None:
    """Writers store both forms; close to half turns the qform is known to a few 1e-4 rad only."""
    random_numbers = np.random.default_rng(5)
    for tilt in (0.0, 1e-4, 3e-4, 1e-3, 1e-2, 0.2) * 8:
        axis = random_numbers.normal(size=3)
        axis /= np.linalg.norm(axis)
        turn = nib.quaternions.angle_axis2mat(tilt, axis)
        affine = np.eye(4)
        affine[:3, :3] = np.round(np.diag([-1, -1, 1]) @ turn, 9) * (0.7, 0.7, 1.5)
        affine[:3, 3] = random_numbers.uniform(-500, 500, 3)
        image = nib.Nifti1Image(np.zeros((512, 512, 2), np.uint8), affine)
        image.set_sform(affine, code=1)
        image.set_qform(affine, code=1)
        nib.save(image, tmp_path / "ct.nii")
        assert read_header(tmp_path / "ct.nii").notes == ()


def test_a_qform_alone_is_enough(tmp_path: Path) -> None:
    image = nib.Nifti1Image(volume(), LPS_MM)
    image.set_qform(LPS_MM, code=1)
    image.set_sform(None, code=0)
    nib.save(image, tmp_path / "ct.nii")
    assert read_header(tmp_path / "ct.nii").axis_codes == "LPS"


# 6 and 7: values


def test_nan_and_inf_are_refused_or_clamped_and_counted(tmp_path: Path) -> None:
    own = volume(dtype=np.float32)
    own[0, 0, 0], own[1, 2, 3], own[6, 5, 4] = np.nan, np.inf, -np.inf
    path = save(tmp_path / "ct.nii.gz", own)
    refused(path, "NaN or infinite", "3 of them", "nonfinite = clamp")
    ct = read_ct(path, ReadOptions(nonfinite="clamp"))
    assert ct.notes == ("3 NaN or infinite voxels set to -1024 HU",)
    assert np.count_nonzero(ct.hu == -1024) == 3


def test_a_signalling_nan_is_a_nan_like_any_other(tmp_path: Path) -> None:
    path = patch(save(tmp_path / "ct.nii", volume(dtype=np.float32)), 352, "<I", 0x7F800001)
    refused(path, "NaN or infinite", "1 of them")
    refused(path, "not a whole number", "nan", read=read_labels)


def test_floats_become_whole_hu_and_what_changes_is_counted(tmp_path: Path) -> None:
    own = volume(dtype=np.float64)
    own[0, 0, :3] = 0.4, 40000, -1e30
    ct = read_ct(save(tmp_path / "ct.nii.gz", own))
    assert ct.hu.dtype == np.int16
    assert ct.grid.own(ct.hu)[0, 0, :3].tolist() == [0, 32767, -32768]
    assert ct.notes == (
        "2 voxels clipped to what int16 holds, -32768 to 32767 HU",
        "1 voxels rounded to whole HU",
    )


@pytest.mark.parametrize(
    ("slope", "inter", "expected"),
    [
        (2.0, -1024.0, lambda v: 2 * v - 1024),
        (0.0, 5.0, lambda v: v),
        (np.nan, np.nan, lambda v: v),
        (1.0, 0.0, lambda v: v),
    ],
)
def test_scaling_follows_the_standard(tmp_path: Path, slope: float, inter: float, expected: Any) -> None:
    own = volume()
    path = patch(save(tmp_path / "ct.nii.gz", own), SLOPE, "<2f", slope, inter)
    ct = read_ct(path)
    assert np.array_equal(ct.grid.own(ct.hu), expected(own))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (2.9999, ("not a whole number", "2.9999")),
        (np.nan, ("not a whole number", "nan")),
        (-1, ("not in 0 to 65535", "-1")),
    ],
)
def test_labels_that_are_no_labels_are_refused(tmp_path: Path, value: float, words: tuple[str, ...]) -> None:
    own = volume(dtype=np.float32)
    own[3, 3, 3] = value
    refused(save(tmp_path / "mask.nii.gz", own), *words, read=read_labels)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "<i4", ">i4", "u4", "i8", "f4", ">f8"])
def test_whole_numbers_of_any_type_are_labels(tmp_path: Path, dtype: str) -> None:
    own = volume(dtype=dtype)
    labels, grid = read_labels(save(tmp_path / "mask.nii.gz", own))
    assert labels.dtype in (np.uint8, np.uint16)
    assert np.array_equal(grid.own(labels), own)  # type: ignore[arg-type]


# other faults of the header and the file


@pytest.mark.parametrize(
    ("offset", "form", "values", "word"),
    [
        (DATATYPE, "<h", (128,), "RGB"),
        (DATATYPE, "<h", (32,), "complex"),
        (DATATYPE, "<h", (77,), "no such type"),
        (VOX_OFFSET, "<f", (348,), "vox_offset"),
        (VOX_OFFSET, "<f", (np.nan,), "vox_offset"),
        (VOX_OFFSET, "<f", (352.5,), "vox_offset"),
        (VOX_OFFSET, "<f", (352 + 16,), "truncated"),
        (VOX_OFFSET, "<f", (1e30,), "more bytes than allowed"),
        (SLOPE, "<2f", (2, np.inf), "scl_inter"),
        (UNITS, "<b", (1,), "metres"),
        (SFORM, "<h", (99,), "sform_code"),
        (344, "<4s", (b"ni1\0",), ".hdr/.img pair"),
        (344, "<4s", (b"xyz\0",), "no magic number"),
        (0, "<i", (42,), "not a NIfTI file"),
    ],
)
def test_a_faulty_header_field_is_named(tmp_path: Path, offset: int, form: str, values: Any, word: str) -> None:
    for suffix in ("nii", "nii.gz"):
        refused(patch(save(tmp_path / f"ct.{suffix}", volume()), offset, form, *values), word)


def test_a_path_that_is_no_volume_is_refused(tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.nii.gz", tmp_path / "text.nii"
    empty.touch()
    text.write_text("hello, this is no volume", encoding="utf-8")
    refused(tmp_path / "missing.nii.gz", "does not exist")
    refused(tmp_path, "a folder")
    refused(empty, "empty")
    refused(text, "not a NIfTI file", "convert")
    with pytest.raises(BadInput, match="not a path"):
        read_ct("a\x00b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "ct.nii.gz", volume())
    path.chmod(0)
    refused(path, "can't be read", "Permission denied")


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii")
    refused(tmp_path / "pipe.nii", "not a regular file")


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_only_zero_padding_may_follow_the_voxels(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"ct.{suffix}", volume())
    opener: Any = gzip.open if suffix == "nii.gz" else open
    for extra, word in ((bytes(100), ""), (bytes(600), "longer"), (b"\1", "longer")):
        save(path, volume())
        with opener(path, "ab") as stream:
            stream.write(extra)
        if word:
            refused(path, word)
        else:
            assert read_ct(path).notes == ("100 bytes of padding after the last voxel ignored",)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_any_mutation_of_the_header_is_read_or_refused(tmp_path: Path, kind: Any) -> None:
    rng = random.Random(11)
    good = bytearray(save(tmp_path / "ct.nii", volume(), kind=kind).read_bytes())
    size = 348 if kind is nib.Nifti1Image else 540
    path, refusals = tmp_path / "mutated.nii", 0
    for _ in range(300):
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(size)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        path.write_bytes(data)
        for read in (read_header, read_ct, read_labels):
            try:
                read(path)
            except BadInput:
                refusals += 1
    assert refusals > 100


# real volumes


@real_data
def test_the_liver_of_a_real_label_map_lies_on_the_right() -> None:
    folder = SHARED / "totalsegmentator_example"
    ct = read_ct(folder / "example_ct_3mm.nii.gz")
    labels, grid = read_labels(folder / "example_ct_3mm_seg_v1_104classes.nii.gz")
    assert grid.geometry.agrees(ct.geometry)
    assert ct.geometry.axis_codes == "SPL"
    liver, spleen = np.argwhere(labels == 5), np.argwhere(labels == 1)
    assert liver[:, 2].mean() < ct.hu.shape[2] / 2 < spleen[:, 2].mean()
    assert 0 < np.median(ct.hu[labels == 5]) < 200
    assert ct.notes == ()


@real_data
def test_a_real_msd_case_is_read() -> None:
    folder = SHARED / "msd_task09_spleen"
    ct = read_ct(folder / "imagesTr" / "spleen_8.nii.gz")
    labels, grid = read_labels(folder / "labelsTr" / "spleen_8.nii.gz")
    assert grid.geometry.agrees(ct.geometry)
    assert ct.grid.axis_codes == "LAS"
    # its side is not tested: by this file's header the whole patient is mirrored, liver on the left
    assert 50 < np.median(ct.hu[labels == 1]) < 200
