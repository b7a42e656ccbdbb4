"""A DICOM series is one right volume or one clear sentence."""

import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import ORIENTATIONS, Slices, ct, enhanced
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from smiler.domain.errors import BadInput
from smiler.formats.volumes import ReadOptions, content, read_ct, read_header


def refused(path: Path, *words: str, options: ReadOptions | None = None) -> BadInput:
    with pytest.raises(BadInput) as error:
        read_ct(path, options or ReadOptions())
    for word in words:
        assert word in str(error.value), str(error.value)
    return error.value


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_every_voxel_lies_where_the_slices_say(tmp_path: Path, name: str) -> None:
    right, down = ORIENTATIONS[name]
    made = Slices(ct(), right, down)
    read = read_ct(made.write(tmp_path / "s"))
    rng = np.random.default_rng(1)
    to_index = np.linalg.inv(read.geometry.matrix)
    for _ in range(40):
        k, r, c = (int(rng.integers(n)) for n in made.hu.shape)
        position = np.array(made.origin) + k * made.spacing[0] * made.normal
        position = position + r * made.spacing[1] * np.array(down) + c * made.spacing[2] * np.array(right)
        index = to_index @ [*position, 1]
        assert np.allclose(index, np.rint(index), atol=1e-3)
        z, y, x = np.rint(index[:3]).astype(int)
        assert read.hu[z, y, x] == made.hu[k, r, c]
    assert read.geometry.axis_codes == "SPL"
    assert read_header(tmp_path / "s").geometry.agrees(read.geometry)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_compressed_slices_have_the_same_values(tmp_path: Path, syntax: str) -> None:
    large = ct((3, 64, 70))
    plain = read_ct(Slices(large).write(tmp_path / "a"))
    packed = read_ct(Slices(large, syntax=syntax).write(tmp_path / "b"))
    assert np.array_equal(plain.hu, packed.hu)
    assert plain.geometry == packed.geometry


def test_neither_names_nor_instance_numbers_order_the_slices(tmp_path: Path) -> None:
    def reverse(k: int, ds: Dataset) -> None:
        ds.InstanceNumber = 100 - k

    plain = read_ct(Slices(ct()).write(tmp_path / "a"))
    shuffled = Slices(ct(), mend=reverse).write(tmp_path / "b", name=lambda k: f"z{(k * 3) % 7}.dcm")
    assert np.array_equal(plain.hu, read_ct(shuffled).hu)


def test_a_zip_file_and_a_zip_in_a_zip_read_like_the_folder(tmp_path: Path) -> None:
    folder = Slices(ct()).write(tmp_path / "PATIENT_DICOM")
    inner = tmp_path / "PATIENT_DICOM.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"PATIENT_DICOM/{file.name}")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(inner, "p1/PATIENT_DICOM.zip")
    plain = read_ct(folder)
    for path in (inner, inner / "PATIENT_DICOM", tmp_path / "all.zip" / "p1", tmp_path / "all.zip" / "p1" / inner.name):
        assert np.array_equal(read_ct(path).hu, plain.hu), path
        assert content(path)
    refused(tmp_path / "all.zip" / "p2", "does not exist")


def test_a_missing_slice_is_refused_with_its_place(tmp_path: Path) -> None:
    folder = Slices(ct()).write(tmp_path / "s")
    (folder / "image_3").unlink()
    refused(folder, "slices are missing", "45.00 to 50.00", "usual distance 2.5")


def test_varying_spacing_is_refused(tmp_path: Path) -> None:
    def push(k: int, ds: Dataset) -> None:
        ds.ImagePositionPatient = [-20.0, -30.0, 40 + 2.5 * k + (0.9 if k > 3 else 0.0)]

    refused(Slices(ct(), mend=push).write(tmp_path / "s"), "not equally far apart", "47.50 to 50.90")


def test_a_tilted_series_is_refused_or_resampled_upright(tmp_path: Path) -> None:
    def tilt(k: int, ds: Dataset) -> None:
        ds.ImagePositionPatient = [-20.0, -30.0 + 1.25 * k, 40 + 2.5 * k]

    flat = np.zeros((7, 20, 12), dtype=np.int16)
    flat[:, 8] = 500
    folder = Slices(flat, mend=tilt).write(tmp_path / "s")
    refused(folder, "gantry tilt", "26.6 degrees", "--set reading.detilt=true")
    upright = read_ct(folder, ReadOptions(detilt=True))
    assert [int(np.argmax(plane[:, 5])) for plane in upright.hu] == [8 + k for k in range(7)]
    assert "26.6 degrees resampled upright" in upright.notes[0]


def test_two_phases_in_one_series_are_refused(tmp_path: Path) -> None:
    folder = Slices(ct()).write(tmp_path / "s")
    other = Slices(ct(seed=5))
    for k in range(2):
        ds = other.dataset(k)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.save_as(folder / f"b{k}", enforce_file_format=True)
    refused(folder, "several acquisitions", "2 times", "z = 40.00, 42.50")


def test_a_slice_that_is_there_twice_is_read_once_and_told(tmp_path: Path) -> None:
    folder = Slices(ct()).write(tmp_path / "s")
    shutil.copy(folder / "image_2", folder / "copy")
    read = read_ct(folder)
    assert np.array_equal(read.hu, ct())
    assert any("1 slices are there twice" in note for note in read.notes)


def test_localizers_and_other_objects_are_skipped_and_listed(tmp_path: Path) -> None:
    folder = Slices(ct()).write(tmp_path / "s")
    scout = Slices(ct((1, 30, 30))).dataset(0)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.save_as(folder / "scout", enforce_file_format=True)
    report = Slices(ct()).dataset(0)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.Modality = "SR"
    report.save_as(folder / "report", enforce_file_format=True)
    (folder / "readme.txt").write_text("hello")
    read = read_ct(folder)
    assert np.array_equal(read.hu, ct())
    assert read.notes == ("3 files skipped: readme.txt (not DICOM), report (SR), scout (localizer)",)


def test_one_of_several_series_is_chosen_by_its_uid(tmp_path: Path) -> None:
    folder = Slices(ct()).write(tmp_path / "s")
    late = Slices(ct(seed=2), series="1.2.3")
    late.write(folder, name=lambda k: f"late_{k}")
    error = refused(folder, "several series", "7 slices of 10x12")
    assert "SeriesInstanceUID=" in error.do
    assert np.array_equal(read_ct(folder / "SeriesInstanceUID=1.2.3").hu, late.hu)


@pytest.mark.parametrize(("slope", "intercept"), [(0.0, -1024.0), (None, -1024.0), (None, None)])
def test_without_a_rescale_there_are_no_hu(tmp_path: Path, slope: float | None, intercept: float | None) -> None:
    volume = np.abs(ct())
    folder = Slices(volume, slope=slope, intercept=intercept).write(tmp_path / "s")
    refused(folder, "RescaleSlope", f"slope {slope}")
    if intercept is None:
        assert np.array_equal(read_ct(folder, ReadOptions(rescale="none")).hu, volume)


def test_every_slice_has_its_own_rescale_and_padding_is_air(tmp_path: Path) -> None:
    def mend(k: int, ds: Dataset) -> None:
        ds.RescaleIntercept = -1024 + k
        ds.PixelPaddingValue = 7

    volume = ct()
    volume[:, 0, 0] = -1024 + 7
    read = read_ct(Slices(volume, mend=mend).write(tmp_path / "s"))
    expected = volume + np.arange(7, dtype=np.int16)[:, None, None]
    expected[volume == -1017] = -1024
    assert np.array_equal(read.hu, expected)
    assert any("padding set to -1024 HU" in note for note in read.notes)


def test_an_anonymised_series_without_uids_is_read(tmp_path: Path) -> None:
    def strip(k: int, ds: Dataset) -> None:
        for key in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID"):
            setattr(ds, key, "")

    assert np.array_equal(read_ct(Slices(ct(), mend=strip).write(tmp_path / "s")).hu, ct())


def test_truncated_pixels_are_refused(tmp_path: Path) -> None:
    folder = Slices(ct()).write(tmp_path / "s")
    data = (folder / "image_4").read_bytes()
    (folder / "image_4").write_bytes(data[:-60])
    refused(folder, "image_4")


def test_rows_65535_take_no_memory(tmp_path: Path) -> None:
    def boast(k: int, ds: Dataset) -> None:
        ds.Rows = ds.Columns = 65535

    refused(Slices(ct(), mend=boast).write(tmp_path / "s"), "allowed", options=ReadOptions(max_bytes=1 << 30))
    refused(
        Slices(ct((1, 4, 4)), mend=boast).write(tmp_path / "t"), "truncated", options=ReadOptions(max_bytes=1 << 40)
    )


def test_sequences_nested_400_deep_end_in_a_sentence(tmp_path: Path) -> None:
    def nest(k: int, ds: Dataset) -> None:
        inner = Dataset()
        for _ in range(400):
            outer = Dataset()
            outer.ReferencedSeriesSequence = [inner]
            inner = outer
        ds.ReferencedSeriesSequence = [inner]

    folder = Slices(ct()).write(tmp_path / "s")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        Slices(ct((1, 10, 12)), mend=nest).write(folder, name=lambda k: "deep")
    finally:
        sys.setrecursionlimit(limit)
    refused(folder, "deep", "nested more than 64 deep")
    assert read_ct(Slices(ct()).write(tmp_path / "t")).hu.shape == (7, 10, 12)  # the reader lives on


def test_an_element_that_promises_4_gigabytes_is_refused(tmp_path: Path) -> None:
    folder = Slices(ct()).write(tmp_path / "s")
    data = (folder / "image_4").read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00OW") + 8
    (folder / "image_4").write_bytes(data[:at] + (0xFFFFFFF0).to_bytes(4, "little") + data[at + 4 :])
    refused(folder, "image_4", "truncated", "240 of 4294967280 bytes")


def test_an_unknown_transfer_syntax_is_named(tmp_path: Path) -> None:
    def process14(k: int, ds: Dataset) -> None:
        ds.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.70")
        ds.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
        ds["PixelData"].is_undefined_length = True

    refused(Slices(ct(), mend=process14).write(tmp_path / "s"), "no decoder", "JPEG Lossless", "1.2.840.10008.1.2.4.70")


def test_names_that_lead_out_of_a_zip_file_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../../evil", b"x")
    refused(tmp_path / "evil.zip", "does not exist")


def test_a_uid_that_looks_like_a_path_stays_a_text(tmp_path: Path) -> None:
    def evil(k: int, ds: Dataset) -> None:
        ds.SeriesInstanceUID = "../../../evil"
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.PatientID = "<script>\u202e"

    with pydicom.config.disable_value_validation():
        folder = Slices(ct(), mend=evil).write(tmp_path / "s")
    assert np.array_equal(read_ct(folder).hu, ct())
    assert not (tmp_path.parent / "evil").exists()


def test_frames_of_an_enhanced_object_are_read_by_position(tmp_path: Path) -> None:
    made = Slices(ct())
    plain = read_ct(made.write(tmp_path / "plain"))
    read = read_ct(enhanced(made, tmp_path / "e", [3, 0, 6, 1, 5, 2, 4]))
    assert np.array_equal(read.hu, plain.hu)
    assert read.geometry.agrees(plain.geometry)


def test_two_phases_in_one_enhanced_object_are_refused(tmp_path: Path) -> None:
    late = Slices(ct(seed=4))
    folder = enhanced(Slices(ct()), tmp_path / "e", [*range(7), *range(7)], late)
    refused(folder, "several acquisitions", "7 times")


def test_acquisitions_half_a_slice_apart_are_refused(tmp_path: Path) -> None:
    def number(k: int, ds: Dataset) -> None:
        ds.AcquisitionNumber = 1 + k % 2

    def blocks(k: int, ds: Dataset) -> None:
        ds.AcquisitionNumber = 1 + k // 4

    refused(Slices(ct(), mend=number).write(tmp_path / "s"), "several acquisitions", "take turns")
    assert read_ct(Slices(ct(), mend=blocks).write(tmp_path / "t")).hu.shape == (7, 10, 12)
