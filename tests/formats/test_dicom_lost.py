"""A series that lost slices, or has odd ones, is refused by name; what was left out of a reading is told."""

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import Mend, Slices, bare, ct, enhanced, outlines, saved, structure_set
from pydicom.dataset import Dataset
from sources import refusal

from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.formats import detect
from smiler.formats.importing import import_into
from smiler.formats.volumes import ReadOptions, is_nifti, read_ct, read_header

SHAPE = (7, 10, 12)


def refused(path: Path, *words: str) -> str:
    """The refusal of reading only the headers: an import finds it too."""
    with pytest.raises(BadInput) as caught:
        read_header(path)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("which", ["all", "some"])
def test_slices_without_preamble_are_slices(tmp_path: Path, implicit: bool, which: str) -> None:
    made = Slices(ct())
    made.write(tmp_path / "s")
    for k in range(7 if which == "all" else 3):
        bare(made.dataset(k), tmp_path / "s" / f"image_{k}", implicit=implicit)
    read = read_ct(tmp_path / "s")
    assert np.array_equal(read.hu, made.hu)
    assert read.notes == ()
    assert detect(tmp_path / "s").name == "dicom"
    assert not is_nifti(tmp_path / "s" / "image_0")


def test_a_slice_that_begins_with_dicm_or_its_file_meta_is_a_slice(tmp_path: Path) -> None:
    folder = Slices(ct()).write(tmp_path / "s")
    for k, start in ((2, 128), (3, 132)):
        data = (folder / f"image_{k}").read_bytes()
        (folder / f"image_{k}").write_bytes(data[start:])
    assert np.array_equal(read_ct(folder).hu, ct())


def test_what_only_begins_like_dicom_is_refused_not_skipped(tmp_path: Path) -> None:
    folder = Slices(ct()).write(tmp_path / "s")
    (folder / "other").write_bytes(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100")
    refused(folder, "other", "can't be read", "neither SOPClassUID nor Modality")


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x00" * 300])
def test_a_file_that_is_named_like_the_slices_and_is_none_is_a_lost_slice(tmp_path: Path, content: bytes) -> None:
    folder = Slices(ct()).write(tmp_path / "s")
    (folder / "image_6").write_bytes(content)  # the last one: the others lie regularly
    refused(folder, "slices of the series are missing", "1 files that are named like slices", "image_6 (not DICOM)")
    read = read_ct(folder, ReadOptions(incomplete="accept"))
    assert np.array_equal(read.hu, ct()[:6])
    assert any("image_6" in note and "as asked" in note for note in read.notes)


def test_a_link_that_leads_nowhere_is_a_lost_slice(tmp_path: Path) -> None:
    folder = Slices(ct()).write(tmp_path / "s")
    (folder / "image_6").unlink()
    (folder / "image_6").symlink_to(tmp_path / "store" / "annexed")
    refused(folder, "slices of the series are missing", "image_6 (a link that leads nowhere)")


def test_a_text_beside_the_slices_is_skipped_and_told(tmp_path: Path) -> None:
    folder = Slices(ct()).write(tmp_path / "s")
    (folder / "readme.txt").write_text("hello")
    assert read_ct(folder).notes == ("1 files skipped: readme.txt (not DICOM)",)


def test_fewer_slices_than_images_in_acquisition(tmp_path: Path) -> None:
    def told(k: int, ds: Dataset) -> None:
        ds.ImagesInAcquisition, ds.AcquisitionNumber = 7, 1

    folder = Slices(ct(), mend=told).write(tmp_path / "s")
    assert read_header(folder).notes == ()
    (folder / "image_0").unlink()
    refused(folder, "6 slices are there, and ImagesInAcquisition says 7", "reading.incomplete=accept")


def test_a_part_of_a_multi_frame_object_is_missing(tmp_path: Path) -> None:

    folder = enhanced(Slices(ct()), tmp_path / "e", list(range(7)))
    ds = pydicom.dcmread(folder / "enhanced.dcm")
    ds.ConcatenationUID, ds.InConcatenationNumber, ds.InConcatenationTotalNumber = "1.2.3", 1, 2
    ds.save_as(folder / "enhanced.dcm")
    refused(folder, "slices of the series are missing", "1 of 2 parts of a multi-frame object")


def test_a_dicomdir_lists_more_images_than_are_there(tmp_path: Path) -> None:
    made = Slices(ct())
    made.write(tmp_path / "s" / "CT")
    (tmp_path / "s" / "CT" / "image_6").unlink()
    ds = made.dataset(0)
    del ds.PixelData
    ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    del ds.SOPClassUID
    series = Dataset()
    series.DirectoryRecordType, series.SeriesInstanceUID = "SERIES", made.series
    ds.DirectoryRecordSequence = [series]
    for k in range(7):
        image = Dataset()
        image.DirectoryRecordType = "IMAGE"
        image.ReferencedSOPInstanceUIDInFile = made.dataset(k).SOPInstanceUID
        ds.DirectoryRecordSequence.append(image)
    ds.save_as(tmp_path / "s" / "DICOMDIR", enforce_file_format=True)
    refused(tmp_path / "s", "slices of the series are missing", "1 images that the DICOMDIR lists are not there")
    made.write(tmp_path / "s" / "CT")
    assert read_ct(tmp_path / "s").notes == ()


def test_masks_tell_that_slices_are_missing(tmp_path: Path) -> None:
    made = Slices(ct())
    made.write(tmp_path / "src" / "ct")
    saved(structure_set(made, [("Liver", None)]), tmp_path / "src" / "rs.dcm")
    (tmp_path / "src" / "ct" / "image_6").unlink()
    text = refusal(tmp_path / "src", tmp_path / "cohort")
    assert "slices of the series are missing; got 1 slices to which the RTSTRUCT SRC/rs.dcm refers" in text


@pytest.mark.parametrize("key", ["Rows", "PixelSpacing", "ImageOrientationPatient", "FrameOfReferenceUID"])
def test_one_odd_slice_is_named_with_what_is_odd(tmp_path: Path, key: str) -> None:
    odd = {
        "Rows": 5,
        "PixelSpacing": [1, 1],
        "ImageOrientationPatient": [0, 1, 0, 1, 0, 0],
        "FrameOfReferenceUID": "1.2",
    }

    def mend(k: int, ds: Dataset) -> None:
        if k == 4:
            setattr(ds, key, odd[key])

    folder = Slices(ct(), mend=mend).write(tmp_path / "s")
    refused(folder, "several series or acquisitions", f"image_4: another {key}", "take the odd files out")
    assert "image_4" in refusal(tmp_path / "s", tmp_path / "cohort")


def test_one_slice_that_lies_beside_the_others_is_no_tilt(tmp_path: Path) -> None:
    def push(k: int, ds: Dataset) -> None:
        ds.ImagePositionPatient[0] += 3 * (k == 5)

    text = refused(Slices(ct(), mend=push).write(tmp_path / "s"), "slices lie beside the others", "image_5 (3.00 mm)")
    assert "tilt" not in text


def own_uid(k: int, ds: Dataset) -> None:
    ds.SeriesInstanceUID = f"1.2.3.{k + 1}"


def own_frame(k: int, ds: Dataset) -> None:
    own_uid(k, ds)
    ds.FrameOfReferenceUID = f"1.2.4.{k + 1}"


def test_slices_that_each_have_a_series_uid_of_their_own_are_one_series(tmp_path: Path) -> None:
    made = Slices(ct(), mend=own_uid)
    folder = made.write(tmp_path / "src" / "ct")
    read = read_ct(folder)
    assert np.array_equal(read.hu, made.hu)
    assert read.notes == ("7 slices that each have a SeriesInstanceUID of their own are read as one series",)
    box = np.zeros(SHAPE, dtype=bool)
    box[2:4, 3:6, 3:6] = True

    saved(structure_set(made, [("Liver", outlines(made, box))]), tmp_path / "src" / "rs.dcm")
    report = import_into(tmp_path / "src", tmp_path / "cohort")
    assert any("SeriesInstanceUID of their own" in note for note in report.notes)
    (case,) = Cohort.open(tmp_path / "cohort")
    assert case.image == str(folder)


def test_slices_that_nothing_joins_are_named_for_what_they_are(tmp_path: Path) -> None:
    folder = Slices(ct(), mend=own_frame).write(tmp_path / "s")
    what = "each slice has a SeriesInstanceUID of its own"
    refused(folder, what, "7 series of one slice")
    assert what in refusal(folder, tmp_path / "cohort")


def test_single_slices_beside_a_series_do_not_join_it(tmp_path: Path) -> None:
    folder = Slices(ct()).write(tmp_path / "s" / "a")
    Slices(ct((3, 10, 12)), series="1.9", mend=own_uid).write(tmp_path / "s" / "b")
    refused(tmp_path / "s", "several series", "7 slices of 10x12")
    assert read_header(folder).shape == (12, 10, 7)


@pytest.mark.parametrize(("rows", "columns"), [(40_000, 2), (2, 40_000)])
def test_more_pixels_than_nifti_1_counts(tmp_path: Path, rows: int, columns: int) -> None:
    made = Slices(ct((2, rows, columns)))
    assert np.array_equal(read_ct(made.write(tmp_path / "s")).hu, made.hu)


def test_rows_65535_are_refused_from_the_headers(tmp_path: Path) -> None:
    def boast(k: int, ds: Dataset) -> None:
        ds.Rows = 65535

    refused(Slices(ct(), mend=boast).write(tmp_path / "s"), "image_0: truncated: pixels are missing")
    assert "truncated" in refusal(tmp_path / "s", tmp_path / "cohort")


def test_a_slice_without_pixels_is_refused_from_its_header(tmp_path: Path) -> None:
    def empty(k: int, ds: Dataset) -> None:
        if k == 3:
            del ds.PixelData

    refused(Slices(ct(), mend=empty).write(tmp_path / "s"), "image_3: the slice has no pixels")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_slice_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    folder = Slices(ct()).write(tmp_path / "s")
    (folder / "image_2").chmod(0)
    refused(folder, "image_2: the file can't be read")


PEOPLE: dict[str, Mend] = {
    "PatientBirthDate": lambda k, ds: setattr(ds, "PatientBirthDate", "19500101"),
    "PatientSex": lambda k, ds: setattr(ds, "PatientSex", "F"),
    "PatientName": lambda k, ds: setattr(ds, "PatientName", "Other^One"),
}


@pytest.mark.parametrize("key", [*PEOPLE, "StudyInstanceUID"])
def test_one_patient_id_for_several_people_is_told(tmp_path: Path, key: str) -> None:
    def first(k: int, ds: Dataset) -> None:
        ds.PatientBirthDate, ds.PatientSex = "19600101", "M"

    def second(k: int, ds: Dataset) -> None:
        first(k, ds)
        if key == "StudyInstanceUID":
            ds.StudyInstanceUID = "1.2.77"
        else:
            PEOPLE[key](k, ds)

    for name, mend in (("a", first), ("b", second)):
        made = Slices(ct(), series=f"1.2.{ord(name)}", mend=mend)
        made.write(tmp_path / "src" / name)
        box = np.zeros(SHAPE, dtype=bool)
        box[2:4, 3:6, 3:6] = True

        saved(structure_set(made, [("Liver", outlines(made, box))]), tmp_path / "src" / name / "rs.dcm")
    report = import_into(tmp_path / "src", tmp_path / "cohort")
    (note,) = (note for note in report.notes if "PatientID 'P1'" in note)
    assert note.startswith("P1_3, P1_3_2: ")
    assert "--patient-pattern" in note
    expected = "2 studies have the PatientID" if key == "StudyInstanceUID" else f"several by {key}"
    assert expected in note
    assert {case.patient for case in Cohort.open(tmp_path / "cohort")} == {"P1"}
