"""Masks as other tools write them: label maps, fractional ones, long contours; one bad mask costs that mask."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import Lines, Slices, bare, ct, outlines, points, saved, segmentation, structure_set
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from sources import refusal

from smiler.domain.cells import Status
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.formats import ImportOptions
from smiler.formats.dicom.client import write_masks
from smiler.formats.dicom.segments import Segment
from smiler.formats.importing import import_into
from smiler.formats.labels import read_case_labels
from smiler.formats.volumes import read_header, read_labels

SHAPE = (7, 10, 12)


def boxes() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    liver, spleen = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
    liver[1:5, 2:7, 2:6] = True
    spleen[2:4, 4:8, 7:10] = True
    return liver, spleen


LIVER, SPLEEN = boxes()
BITS = LIVER.astype(np.int32) | SPLEEN.astype(np.int32) << 1


def study(root: Path, *objects: Dataset, made: Slices | None = None) -> Path:
    (made or Slices(ct())).write(root / "ct")
    for number, ds in enumerate(objects):
        saved(ds, root / f"masks{number}.dcm")
    return root


def voxels(cohort: Cohort, case: Case) -> dict[str, int]:
    """What the cohort's masks hold, read as training does."""
    labels = read_case_labels(cohort, case, read_header(cohort.image_path(case)).geometry)
    return {key: int((labels.drawn >> cohort.organs.index(key) & 1).sum()) for key in cohort.organs.keys}


def imported(source: Path, cohort: Path, **options: Any) -> tuple[dict[str, int], str]:
    """Voxels of each organ of the one case, and the notes."""
    report = import_into(source, cohort, ImportOptions(**options))
    opened = Cohort.open(cohort)
    (case,) = opened
    return voxels(opened, case), "\n".join(report.notes)


BOTH = {"liver": int(LIVER.sum()), "spleen": int(SPLEEN.sum())}


def renumbered(seg: Any, numbers: dict[int, int], background: int | None = 0) -> Any:
    """A label map with other numbers."""
    table = np.arange(256, dtype=np.uint8)
    table[list(numbers)] = list(numbers.values())
    seg.PixelData = table[np.frombuffer(seg.PixelData, np.uint8)].tobytes()
    for row in seg.SegmentSequence:
        row.SegmentNumber = numbers.get(int(row.SegmentNumber), int(row.SegmentNumber))
    if background is None:
        del seg.PixelPaddingValue
    else:
        seg.PixelPaddingValue = background
    return seg


@pytest.mark.parametrize("numbers", [{}, {1: 3, 2: 7}, {1: 200, 2: 5}])
@pytest.mark.parametrize("background", [0, None])
def test_a_label_map_is_read_without_its_background(
    tmp_path: Path, numbers: dict[int, int], background: int | None
) -> None:
    seg = segmentation(Slices(ct()), BITS, {1: "Liver", 2: "Spleen"}, "LABELMAP")
    source = study(tmp_path / "src", renumbered(seg, numbers, background))
    assert imported(source, tmp_path / "cohort") == (BOTH, "")
    (case,) = Cohort.open(tmp_path / "cohort")
    assert case.cell("liver").labels == (numbers.get(1, 1),)
    assert set(Cohort.open(tmp_path / "cohort").organs.keys) == {"liver", "spleen"}


def test_a_label_map_whose_background_is_another_number(tmp_path: Path) -> None:
    seg = segmentation(Slices(ct()), BITS, {1: "Liver", 2: "Spleen"}, "LABELMAP")
    source = study(tmp_path / "src", renumbered(seg, {0: 9}, 9))
    assert imported(source, tmp_path / "cohort")[0] == BOTH


def test_a_label_map_whose_number_0_is_an_organ_is_refused(tmp_path: Path) -> None:
    seg = segmentation(Slices(ct()), BITS, {1: "Liver", 2: "Spleen"}, "LABELMAP")
    seg = renumbered(seg, {0: 9, 1: 0}, 9)
    text = refusal(study(tmp_path / "src", seg), tmp_path / "cohort")
    assert "number 0 of a label map stands for an organ; got segment 0, 'Liver'" in text


def test_voxels_of_a_number_that_nobody_described_are_refused(tmp_path: Path) -> None:
    seg = segmentation(Slices(ct()), BITS, {1: "Liver", 2: "Spleen"}, "LABELMAP")
    seg.SegmentSequence = [row for row in seg.SegmentSequence if row.SegmentNumber != 2]
    text = refusal(study(tmp_path / "src", seg), tmp_path / "cohort")
    assert "case P1, patient 'P1', SRC/masks0.dcm: the segmentation holds segments that nobody described; got 2" in text


def other_patient(k: int, ds: Dataset) -> None:
    ds.PatientID, ds.StudyInstanceUID = "P2", "1.2.88"


def test_a_label_map_beside_another_patients_segmentation_is_not_lost(tmp_path: Path) -> None:
    late = Slices(ct(seed=3), series="1.2.9", mend=other_patient)
    study(tmp_path / "src" / "one", segmentation(Slices(ct()), BITS, {1: "Liver", 2: "Spleen"}, "LABELMAP"))
    study(tmp_path / "src" / "two", segmentation(late, BITS, {1: "Liver"}), made=late)
    import_into(tmp_path / "src", tmp_path / "cohort")
    cohort = Cohort.open(tmp_path / "cohort")
    assert voxels(cohort, cohort.case("P1")) == BOTH
    assert voxels(cohort, cohort.case("P2")) == {**BOTH, "spleen": 0}


@pytest.mark.parametrize(
    ("sop_class", "what"),
    [
        ("1.2.840.10008.5.1.4.1.1.66.5", "Surface Segmentation"),
        ("1.2.840.10008.5.1.4.1.1.481.11", "RT Segment Annotation"),
        ("1.2.840.10008.5.1.4.1.1.66.99", "SEG"),
    ],
)
def test_masks_of_a_kind_that_can_not_be_read_are_named_with_their_patient(
    tmp_path: Path, sop_class: str, what: str
) -> None:
    made = Slices(ct())
    seg = segmentation(made, BITS, {1: "Liver"})
    strange = segmentation(made, BITS, {1: "Spleen"})
    strange.SOPClassUID = strange.file_meta.MediaStorageSOPClassUID = sop_class
    text = refusal(study(tmp_path / "src", seg, strange), tmp_path / "cohort")
    assert f"SRC/masks1.dcm, patient 'P1': masks of a kind that can't be read; got {what}" in text


@pytest.mark.parametrize("data", [b"", b"<html>"])
def test_a_file_that_should_hold_masks_and_is_none_is_named(tmp_path: Path, data: bytes) -> None:
    source = study(tmp_path / "src", segmentation(Slices(ct()), BITS, {1: "Liver"}))
    (source / "spleen.dcm").write_bytes(data)
    assert "SRC/spleen.dcm: the DICOM file can't be read; got not DICOM" in refusal(source, tmp_path / "cohort")


def test_masks_of_another_patient_or_frame_of_reference_are_refused(tmp_path: Path) -> None:
    seg = segmentation(Slices(ct()), BITS, {1: "Liver"})
    seg.PatientID = "P7"
    text = refusal(study(tmp_path / "a", seg), tmp_path / "cohort")
    assert "masks0.dcm, patient 'P7': the DICOM-SEG refers to a CT series of another patient" in text
    seg.PatientID, seg.FrameOfReferenceUID = "P1", "1.2.66"
    text = refusal(study(tmp_path / "b", seg), tmp_path / "cohort")
    assert "masks0.dcm, patient 'P1': the DICOM-SEG lies in another frame of reference than its CT series" in text


def test_masks_without_preamble_are_read(tmp_path: Path) -> None:
    made = Slices(ct())
    made.write(tmp_path / "src" / "ct")
    rois: list[tuple[str, Lines | None]] = [("Liver", outlines(made, LIVER)), ("Spleen", outlines(made, SPLEEN))]
    bare(structure_set(made, rois), tmp_path / "src" / "rs")
    assert imported(tmp_path / "src", tmp_path / "cohort")[0] == BOTH


def test_a_fractional_segmentation_of_two_values_is_a_binary_one(tmp_path: Path) -> None:
    seg = segmentation(Slices(ct()), BITS, {1: "Liver", 2: "Spleen"}, "FRACTIONAL")
    found, notes = imported(study(tmp_path / "src", seg), tmp_path / "cohort")
    assert found == BOTH
    assert "fractional segmentation that holds two values only is read as a binary one" in notes


def test_one_segment_of_true_fractions_costs_that_segment(tmp_path: Path) -> None:
    seg = segmentation(Slices(ct()), BITS, {1: "Liver", 2: "Spleen"}, "FRACTIONAL")
    pixels = np.frombuffer(seg.PixelData, np.uint8).reshape(-1, 10, 12).copy()
    first = [
        int(f.SegmentIdentificationSequence[0].ReferencedSegmentNumber) for f in seg.PerFrameFunctionalGroupsSequence
    ]
    frame = first.index(2)
    pixels[frame][pixels[frame] > 0] = 100
    seg.PixelData = pixels.tobytes()
    found, notes = imported(study(tmp_path / "src", seg), tmp_path / "cohort")
    assert found == {"liver": BOTH["liver"]}
    assert "organ spleen is unannotated" in notes
    assert "only binary segmentations say what is drawn" in notes


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_contour_of_more_than_65534_bytes_is_read(tmp_path: Path, syntax: Any) -> None:
    made = Slices(ct())
    dense: Lines = []
    for kind, xyz in outlines(made, LIVER):
        closed = np.vstack([xyz, xyz[:1]])
        at = np.linspace(0, len(xyz), 3000, endpoint=False)
        dense.append((kind, np.column_stack([np.interp(at, np.arange(len(closed)), closed[:, a]) for a in range(3)])))
    source = study(
        tmp_path / "src", structure_set(made, [("Liver", dense), ("Spleen", outlines(made, SPLEEN))], syntax)
    )
    assert imported(source, tmp_path / "cohort")[0] == BOTH


def test_a_long_contour_is_written_as_anyone_reads_it(tmp_path: Path) -> None:
    shape = (2, 512, 512)
    series = Slices(np.zeros(shape, dtype=np.int16)).write(tmp_path / "ct")
    bits = np.zeros(shape, dtype=np.int32)
    bits[1, 50:450, 50:450] = 1
    for column in range(60, 440, 20):  # a comb: one outline of 16,420 points
        bits[1, 60:450, column : column + 10] = 0
    grid = read_header(series)
    segments = [Segment("liver", "liver", "", "AUTOMATIC")]
    write_masks(tmp_path / "rs.dcm", series, bits, grid, segments, "rtstruct")
    with pydicom.config.disable_value_validation():
        rs = pydicom.dcmread(tmp_path / "rs.dcm")
    contour = rs.ROIContourSequence[0].ContourSequence[0]
    assert contour["ContourData"].VR == "DS"
    assert len(contour.ContourData) == 3 * contour.NumberOfContourPoints > 3 * 16_000
    assert np.array_equal(read_labels(tmp_path / "rs.dcm", geometry=grid.geometry).mask([1]), bits)


def beyond(made: Slices) -> Lines:
    """A couch: in the plane of a slice, larger than the image."""
    return [("CLOSED_PLANAR", points(made, 3, np.array([[-30.0, 2], [40, 2], [40, 30], [-30, 30]])))]


def between(made: Slices) -> Lines:
    return [("CLOSED_PLANAR", points(made, 3.4, np.array([[2.0, 2], [6, 2], [6, 6]])))]


def above(made: Slices) -> Lines:
    return [("CLOSED_PLANAR", points(made, 30, np.array([[2.0, 2], [6, 2], [6, 6]])))]


BAD = {"Couch": (beyond, "reaches beyond the CT"), "Between": (between, "between the CT's slices")}
BAD |= {"Above": (above, "reaches beyond the CT")}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("organs", [(), ("liver", "spleen")])
def test_one_bad_roi_costs_that_roi(tmp_path: Path, name: str, organs: tuple[str, ...]) -> None:
    made, (lines, why) = Slices(ct()), BAD[name]
    rois = [("Liver", outlines(made, LIVER)), (name, lines(made)), ("Spleen", outlines(made, SPLEEN))]
    found, notes = imported(
        study(tmp_path / "src", structure_set(made, list(rois))), tmp_path / "cohort", organs=organs
    )
    assert found == BOTH
    assert (f"ROI 2 '{name}': a contour" in notes and why in notes) == (not organs)


def test_an_roi_that_was_asked_for_and_is_bad_is_unannotated_and_told(tmp_path: Path) -> None:
    made = Slices(ct())
    rois = [("Liver", outlines(made, LIVER) + beyond(made)), ("Spleen", outlines(made, SPLEEN))]
    source = study(tmp_path / "src", structure_set(made, list(rois)))
    found, notes = imported(source, tmp_path / "cohort", organs=("liver", "spleen"))
    assert found == {"spleen": BOTH["spleen"]}
    assert "organ liver is unannotated, since its mask can't be used: ROI 1 'Liver': a contour reaches beyond" in notes
    (case,) = Cohort.open(tmp_path / "cohort")
    assert case.cell("liver").status is Status.UNANNOTATED


def test_a_structure_set_without_one_good_roi_is_refused(tmp_path: Path) -> None:
    made = Slices(ct())
    text = refusal(study(tmp_path / "src", structure_set(made, [("Liver", beyond(made))])), tmp_path / "cohort")
    assert "case P1, patient 'P1', SRC/masks0.dcm, ROI 'Liver': a contour reaches beyond the CT" in text


def test_a_cell_of_an_roi_that_went_bad_is_a_fault_of_that_cell_alone(tmp_path: Path) -> None:
    made = Slices(ct())
    rois = [("Liver", outlines(made, LIVER) + beyond(made)), ("Spleen", outlines(made, SPLEEN))]
    source = study(tmp_path / "src", structure_set(made, list(rois)))
    drawn = read_labels(source / "masks0.dcm", geometry=read_header(source / "ct").geometry)
    assert int(drawn.mask([2]).sum()) == BOTH["spleen"]
    with pytest.raises(BadInput, match=r"masks0.dcm, segment or ROI 1: a contour reaches beyond the CT"):
        drawn.mask([1])


SHORT = {1: np.array([[4.0, 4]]), 2: np.array([[4.0, 4], [6, 4]])}


@pytest.mark.parametrize("count", SHORT)
def test_a_contour_of_one_or_two_points_encloses_nothing(tmp_path: Path, count: int) -> None:
    made = Slices(ct())
    short: Lines = [("CLOSED_PLANAR", points(made, 3, SHORT[count]))]
    inside = structure_set(made, [("Liver", outlines(made, LIVER) + short), ("Spleen", outlines(made, SPLEEN))])
    found, notes = imported(study(tmp_path / "a", inside), tmp_path / "one")
    assert found == BOTH
    assert "ROI 'Liver': 1 contour that encloses nothing (points, open lines) left out" in notes
    alone = [("Liver", outlines(made, LIVER)), ("ISO", short), ("Spleen", outlines(made, SPLEEN))]
    found, notes = imported(study(tmp_path / "b", structure_set(made, list(alone))), tmp_path / "two")
    assert found == BOTH
    assert "ROI 2 'ISO' encloses nothing (points, open lines): left out" in notes
    rois = [("Liver", short), ("Spleen", outlines(made, SPLEEN))]
    found, notes = imported(
        study(tmp_path / "c", structure_set(made, list(rois))), tmp_path / "three", organs=("liver", "spleen")
    )
    assert found == {"spleen": BOTH["spleen"]}
    assert "ROI 1 'Liver' encloses nothing (points, open lines): so that liver is unannotated" in notes


def test_marks_are_no_organs(tmp_path: Path) -> None:
    made = Slices(ct())
    wire = points(made, 3, np.array([[1.0, 1], [5, 1], [5, 5]]))
    rois = [("Liver", outlines(made, LIVER)), ("ISO", [("POINT", wire[:1])]), ("Wire", [("OPEN_PLANAR", wire)])]
    found, notes = imported(study(tmp_path / "src", structure_set(made, list(rois))), tmp_path / "cohort")
    assert found == {"liver": BOTH["liver"]}
    assert "'ISO' encloses nothing" in notes
    assert "'Wire' encloses nothing" in notes


def test_a_contour_that_lost_points_is_refused(tmp_path: Path) -> None:
    made = Slices(ct())
    ds = structure_set(made, [("Liver", outlines(made, LIVER)), ("Spleen", outlines(made, SPLEEN))])
    contour = ds.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = contour.ContourData[:12]
    found, notes = imported(study(tmp_path / "src", ds), tmp_path / "cohort")
    assert found == {"spleen": BOTH["spleen"]}
    assert f"a contour is not whole (4 of {contour.NumberOfContourPoints} points)" in notes


def halves(made: Slices) -> list[tuple[str, Lines | None]]:
    left, right = LIVER.copy(), LIVER.copy()
    left[:, :, 4:] = False
    right[:, :, :4] = False
    return [("Liver", outlines(made, left)), ("liver", outlines(made, right)), ("Spleen", outlines(made, SPLEEN))]


def test_two_rois_of_one_name_are_named_and_united_if_the_user_says_so(tmp_path: Path) -> None:
    made = Slices(ct())
    source = study(tmp_path / "src", structure_set(made, halves(made)))
    text = refusal(source, tmp_path / "cohort")
    assert "case P1, organ liver: several masks for one organ; got ROI 1 'Liver', ROI 2 'liver' of SRC/masks0" in text
    assert "--same-organ unite" in text
    assert imported(source, tmp_path / "cohort", same_organ="unite")[0] == BOTH
    (case,) = Cohort.open(tmp_path / "cohort")
    assert case.cell("liver").labels == (1, 2)


def test_an_empty_roi_beside_one_of_the_same_name_says_nothing(tmp_path: Path) -> None:
    made = Slices(ct())
    rois = [("Liver", None), ("Liver", outlines(made, LIVER)), ("Spleen", outlines(made, SPLEEN))]
    found, notes = imported(study(tmp_path / "src", structure_set(made, list(rois))), tmp_path / "cohort")
    assert found == BOTH
    assert "ROI 1 'Liver' is empty; another one has the mask of" in notes


NAMES = {
    "jis": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "J 1"),
    "utf-8": ("ISO_IR 192", "Müller^Zoë=王^小东", "Ü/12 3"),
    "gb": ("GB18030", "Wang^XiaoDong=王^小东", "王"),
    "latin": ("ISO_IR 100", "Buc^Jérôme", "é"),
    "korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", "K1"),
    "no such": ("UTF-8", "Test^One", "P1"),
    "none": (None, "Test^One", "P1"),
}


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
@pytest.mark.parametrize("name", NAMES)
def test_patients_and_organs_of_any_script_come_through(tmp_path: Path, name: str, kind: str) -> None:
    charset, person, patient = NAMES[name]

    def mend(k: int, ds: Dataset) -> None:
        if charset is not None:
            ds.SpecificCharacterSet = charset
        ds.PatientName, ds.PatientID = person, patient

    with pydicom.config.disable_value_validation():
        series = Slices(ct(), mend=mend).write(tmp_path / "ct")
    segments = [Segment("liver", "Leber (肝)", "10200004", "AUTOMATIC")]
    grid = read_header(series)
    write_masks(tmp_path / "o.dcm", series, LIVER.astype(np.int32), grid, segments, kind)
    made = pydicom.dcmread(tmp_path / "o.dcm")
    assert str(made.PatientName) == person
    assert made.PatientID == patient
    title = made.SegmentSequence[0].SegmentLabel if kind == "dicom-seg" else made.StructureSetROISequence[0].ROIName
    assert title == "Leber (肝)"
    assert np.array_equal(read_labels(tmp_path / "o.dcm", geometry=grid.geometry).mask([1]), LIVER)


ODD = {"PatientSex": "U", "PatientBirthDate": "00000000", "StudyDate": "20200230", "StudyTime": "25:61"}


@pytest.mark.parametrize("key", ODD)
def test_an_odd_optional_value_is_no_reason_to_write_nothing(tmp_path: Path, key: str) -> None:
    with pydicom.config.disable_value_validation():
        series = Slices(ct(), mend=lambda k, ds: setattr(ds, key, ODD[key])).write(tmp_path / "ct")
    grid = read_header(series)
    segments = [Segment("liver", "Liver", "10200004", "AUTOMATIC")]
    write_masks(tmp_path / "o.dcm", series, LIVER.astype(np.int32), grid, segments, "dicom-seg")
    assert pydicom.dcmread(tmp_path / "o.dcm")[key].value in ("", None)
    assert np.array_equal(read_labels(tmp_path / "o.dcm", geometry=grid.geometry).mask([1]), LIVER)
