"""DICOM sources: 3D-IRCADb with its zip files, and studies with SEG and RTSTRUCT beside their CT."""

import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import Slices, blobs, ct, enhanced
from sources import refusal

from smiler.audit.audit import audit_cohort
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.organs import OrganSet
from smiler.formats import ImportOptions, detect
from smiler.formats.anatomy import organ_of
from smiler.formats.dicom.client import write_masks
from smiler.formats.dicom.segments import Drawn, segments_of
from smiler.formats.importing import import_into
from smiler.formats.labels import read_case_labels
from smiler.formats.study import organ_name
from smiler.formats.volumes import read_ct, read_header

SHAPE = (7, 10, 12)
KEYS = ("liver", "liver_tumor", "spleen", "stomach")


def mask_series(folder: Path, mask: np.ndarray) -> None:  # type: ignore[type-arg]
    Slices(mask.astype(np.int16), slope=1.0, intercept=0.0, series="1.2." + str(len(folder.name))).write(folder)


def ircadb(root: Path, *, zipped: bool) -> Path:
    """Two tumours in a liver; the vein is a mask of 255s."""
    case = root / "3Dircadb1.4"
    Slices(ct()).write(case / "PATIENT_DICOM")
    z, y, x = np.indices(SHAPE)
    liver = (y > 2) & (x > 3)
    mask_series(case / "MASKS_DICOM" / "liver", liver * 255)
    mask_series(case / "MASKS_DICOM" / "livertumor1", (z == 2) & (y == 5) & (x == 6))
    mask_series(case / "MASKS_DICOM" / "livertumor2", (z == 4) & (y == 6) & (x == 8))
    mask_series(case / "MASKS_DICOM" / "skin", np.ones(SHAPE, dtype=bool))
    if zipped:
        for kind in ("PATIENT_DICOM", "MASKS_DICOM"):
            with zipfile.ZipFile(case / f"{kind}.zip", "w") as archive:
                for file in sorted((case / kind).rglob("*")):
                    if file.is_file():
                        archive.write(file, f"{kind}/{file.relative_to(case / kind)}")
                        file.unlink()
    return root


@pytest.mark.parametrize("zipped", [False, True])
def test_ircadb_masks_are_read_in_place_and_tumours_are_united(tmp_path: Path, zipped: bool) -> None:
    source = ircadb(tmp_path / "src", zipped=zipped)
    assert detect(source).name == "ircadb"
    report = import_into(source, tmp_path / "cohort")
    assert any("says no organ: skin" in note for note in report.notes)
    cohort = Cohort.open(tmp_path / "cohort")
    (case,) = cohort
    assert cohort.organs.keys == ("liver", "liver_tumor")
    assert cohort.organs["liver_tumor"].part_of == "liver"
    assert case.cell("liver_tumor").path.endswith("livertumor*")
    labels = read_case_labels(cohort, case, read_header(cohort.image_path(case)).geometry)
    assert int((labels.drawn >> 1 & 1).sum()) == 2
    assert int((labels.drawn & 1).sum()) == 7 * 7 * 8
    assert audit_cohort(cohort).ok


def study(root: Path, kind: str = "dicom-seg", drawn: Drawn = "MANUAL") -> tuple[Path, np.ndarray]:  # type: ignore[type-arg]
    organs = OrganSet(tuple(organ_of(key, KEYS) for key in KEYS))
    series = Slices(ct()).write(root / "CT")
    grid = read_header(series)
    bits = blobs(grid.geometry.shape, 2, seed=9)
    bits = np.where(bits & 2, bits | 1, bits).astype(np.int32)  # the tumour lies in the liver
    bits[0, 0, 0] = 8  # the stomach; no spleen
    write_masks(root / "masks" / "organs.dcm", series, bits, grid, segments_of(organs, KEYS, drawn), kind)
    return root, bits


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
def test_masks_beside_a_series_become_its_annotations(tmp_path: Path, kind: str) -> None:
    source, bits = study(tmp_path / "src", kind)
    assert detect(source).name == "dicom"
    import_into(source, tmp_path / "cohort", ImportOptions(absent_means="absent"))
    cohort = Cohort.open(tmp_path / "cohort")
    (case,) = cohort
    assert (case.id, case.patient) == ("P1", "P1")
    assert str(case.cell("spleen")) == "absent"
    labels = read_case_labels(cohort, case, read_header(cohort.image_path(case)).geometry)
    for i, key in enumerate(KEYS):
        assert np.array_equal(labels.drawn >> cohort.organs.index(key) & 1, bits >> i & 1), key
    assert audit_cohort(cohort).ok


def test_a_described_empty_segment_of_an_expert_asks_and_is_absent(tmp_path: Path) -> None:
    source, _ = study(tmp_path / "src")
    assert "P1 spleen" in refusal(source, tmp_path / "cohort")


def test_what_a_program_drew_is_a_proposal_unless_the_user_says_else(tmp_path: Path) -> None:
    source, _ = study(tmp_path / "src", drawn="AUTOMATIC")
    report = import_into(source, tmp_path / "cohort")
    (case,) = Cohort.open(tmp_path / "cohort")
    assert case.cell("liver").auto
    assert str(case.cell("spleen")) == ""
    assert any("taken as proposals" in note and "--automatic-means annotated" in note for note in report.notes)
    said = ImportOptions(automatic_means="annotated", absent_means="unannotated")
    import_into(source, tmp_path / "other", said)
    (case,) = Cohort.open(tmp_path / "other")
    assert not case.cell("liver").auto
    assert case.cell("liver").labels == (1,)


def test_a_segmentation_of_no_series_there_is_named(tmp_path: Path) -> None:
    source, _ = study(tmp_path / "src")
    Slices(ct(), series="1.9.9").write(tmp_path / "other" / "CT")
    (tmp_path / "other" / "organs.dcm").write_bytes((source / "masks" / "organs.dcm").read_bytes())
    for file in (tmp_path / "other" / "CT").iterdir():
        ds = pydicom.dcmread(file)
        ds.FrameOfReferenceUID = "1.7"
        ds.save_as(file)
    assert "refers to no CT series there" in refusal(tmp_path / "other", tmp_path / "cohort")


def test_several_series_of_a_patient_are_several_cases(tmp_path: Path) -> None:
    Slices(ct()).write(tmp_path / "src")
    late = Slices(ct(seed=3), series="1.2.9", mend=lambda k, ds: setattr(ds, "SeriesNumber", 7))
    late.write(tmp_path / "src", name=lambda k: f"late{k}")
    text = refusal(tmp_path / "src", tmp_path / "cohort")
    assert "nothing is annotated in the source" in text


def test_a_cohort_without_any_organ_can_be_merged_into_one_that_has_some(tmp_path: Path) -> None:
    source, _ = study(tmp_path / "src")
    import_into(source, tmp_path / "cohort", ImportOptions(absent_means="absent"))
    Slices(ct(seed=3), series="1.2.9", mend=lambda k, ds: setattr(ds, "PatientID", "P2")).write(tmp_path / "two" / "a")
    early = Slices(ct(seed=4), series="1.2.8", mend=lambda k, ds: setattr(ds, "PatientID", "P2"))
    early.write(tmp_path / "two" / "a", name=lambda k: f"early{k}")
    report = import_into(tmp_path / "two", tmp_path / "cohort")
    assert report.added == ("P2_3", "P2_3_2")
    cohort = Cohort.open(tmp_path / "cohort")
    assert {case.patient for case in cohort} == {"P1", "P2"}
    assert "SeriesInstanceUID=1.2.8" in cohort.case("P2_3").image
    assert audit_cohort(cohort).ok


def with_organ(tmp_path: Path) -> Path:
    source, _ = study(tmp_path / "src")
    import_into(source, tmp_path / "cohort", ImportOptions(absent_means="absent"))
    return tmp_path / "cohort"


def other(k: int, ds: pydicom.Dataset) -> None:
    ds.PatientID = "P2"


def test_a_series_in_several_folders_is_read_whole(tmp_path: Path) -> None:
    made = Slices(ct(seed=3), series="1.2.9", mend=other)
    for k in range(7):
        folder = tmp_path / "two" / f"D{k // 4}"
        folder.mkdir(parents=True, exist_ok=True)
        made.dataset(k).save_as(folder / f"i{k}", enforce_file_format=True)
    cohort = with_organ(tmp_path)
    import_into(tmp_path / "two", cohort)
    opened = Cohort.open(cohort)
    assert np.array_equal(read_ct(opened.image_path(opened.case("P2"))).hu, made.hu)


def test_two_enhanced_series_are_two_cases(tmp_path: Path) -> None:
    for n in (1, 2):
        enhanced(Slices(ct(seed=n), series=f"1.2.{n}", mend=other), tmp_path / "two" / str(n), list(range(7)))
    report = import_into(tmp_path / "two", with_organ(tmp_path))
    assert len(report.added) == 2


def test_one_broken_file_is_named_and_no_traceback(tmp_path: Path) -> None:
    source, _ = study(tmp_path / "src")
    data = (source / "CT" / "image_3").read_bytes()
    (source / "CT" / "image_3").write_bytes(data[: len(data) // 2])
    text = refusal(source, tmp_path / "cohort")
    assert "image_3" in text


@pytest.mark.parametrize(
    ("segment", "name"),
    [
        ({"names": ["Segment_1", "Kidney"], "snomed": "64033007", "side": "left"}, "kidney_left"),
        ({"names": ["Segment_1", "Kidney"], "snomed": "64033007", "side": ""}, "kidney"),
        ({"names": ["Kidney"], "snomed": "", "side": "right"}, "kidney_right"),
        ({"names": ["Liver tumour", "Neoplasm"], "snomed": "108369006", "side": ""}, "liver_tumor"),
        ({"names": ["Thing"], "snomed": "", "side": "left"}, "Thing left"),
    ],
)
def test_a_segment_is_named_by_its_code_and_side(segment: dict[str, object], name: str) -> None:
    assert organ_name({"key": "", "number": 1, **segment}, ImportOptions()) == name


@pytest.mark.parametrize(("first", "second"), [("MANUAL", "AUTOMATIC"), ("AUTOMATIC", "MANUAL"), ("MANUAL", "MANUAL")])
def test_a_segmentation_and_a_structure_set_of_the_same_organs(tmp_path: Path, first: Drawn, second: Drawn) -> None:
    source, bits = study(tmp_path / "src", "dicom-seg", first)
    organs = OrganSet(tuple(organ_of(key, KEYS) for key in KEYS))
    segments = segments_of(organs, KEYS, second)
    write_masks(source / "masks" / "rs.dcm", source / "CT", bits, read_header(source / "CT"), segments, "rtstruct")
    import_into(source, tmp_path / "cohort", ImportOptions(absent_means="absent"))
    (case,) = Cohort.open(tmp_path / "cohort")
    assert not case.cell("liver").auto
    assert case.cell("liver").path.endswith("organs.dcm" if first == "MANUAL" else "rs.dcm")
    if first == second:
        write_masks(
            source / "masks" / "rs.dcm", source / "CT", bits & ~1, read_header(source / "CT"), segments, "rtstruct"
        )
        assert "two masks for one organ, and they differ" in refusal(source, tmp_path / "other")


def test_a_truncated_slice_is_found_without_decoding_a_pixel(tmp_path: Path) -> None:
    source, _ = study(tmp_path / "src")
    data = (source / "CT" / "image_3").read_bytes()
    (source / "CT" / "image_3").write_bytes(data[:-40])
    with pytest.raises(BadInput, match=r"image_3.*truncated: 200 of 240 bytes"):
        read_header(source / "CT")
