"""Who made the masks of an import: a program's output never becomes an expert's annotation without a question."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from sources import ABSENT, msd, nnunet, plain, refusal, totalsegmentator, volume

from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput, Faults
from smiler.domain.files import write_json
from smiler.domain.origin import NOTES, origin_of
from smiler.export.export import export
from smiler.export.pieces import ExportRequest
from smiler.formats import ImportOptions
from smiler.formats.base import LabelMap
from smiler.formats.importing import import_into
from smiler.formats.makers import Unattributed
from smiler.formats.programs import program_in

EXPERT, PROPOSALS = ImportOptions(taken_as="expert"), ImportOptions(taken_as="proposals")
ASKED = "a program may have drawn these masks: has an expert accepted them?"
DO = "say --as proposals if nobody has checked them, --as expert if an expert drew or accepted each"
NAMES = {"background": 0, "Liver": 1}


def only(folder: Path, organ: str = "liver") -> tuple[str, str, dict[str, object]]:
    """Cell, origin and recorded facts of an organ of the only case."""
    cohort = Cohort.open(folder)
    (case,) = cohort
    origin, note = origin_of(cohort, case, organ)
    return str(case.cell(organ)), origin, dict((note or {}).get("facts", {}))


def headed(source: Path, extension: bytes = b"", **fields: str) -> Path:
    """The one label map of a data set of nnU-Net's layout, with words in its header."""
    path = source / "labelsTr" / "a.nii.gz"
    image = nib.load(path)
    array = np.asarray(image.dataobj)
    made = nib.Nifti1Image(array, image.affine)
    for name, text in fields.items():
        made.header[name] = text
    if extension:
        made.header.extensions.append(nib.nifti1.Nifti1Extension(0, extension))
    nib.save(made, path)
    return source


def test_an_output_folder_of_totalsegmentator_asks(tmp_path: Path) -> None:
    source = totalsegmentator(tmp_path / "src", {"s1": {"liver": [1], "spleen": []}, "s2": {"liver": [1]}})
    text = refusal(source, tmp_path / "cohort")
    assert text == (
        f"SRC: {ASKED}; got 3 (case organ): s1 liver, s1 spleen, s2 liver; "
        f"signs: TotalSegmentator: the layout; do: {DO}"
    )


def test_proposals_are_proposals_and_say_where_they_come_from(tmp_path: Path) -> None:
    source = totalsegmentator(tmp_path / "src", {"s1": {"liver": [1], "spleen": []}})
    report = import_into(source, tmp_path / "cohort", PROPOSALS)
    mask = source / "s1" / "segmentations" / "liver.nii.gz"
    assert only(tmp_path / "cohort")[:2] == (f"auto:{mask}", "proposed")
    facts = only(tmp_path / "cohort")[2]
    assert facts == {"as": "proposals", "format": "totalsegmentator", "source": str(source), "sign": "the layout"}
    assert only(tmp_path / "cohort", "spleen")[0] == ""  # a program that found nothing says nothing
    assert "2 masks are taken as proposals, as asked" in report.notes
    assert json.loads((tmp_path / "cohort" / "imports.jsonl").read_text())["options"] == {"taken_as": "proposals"}


def test_an_experts_masks_in_that_layout_are_an_experts(tmp_path: Path) -> None:
    source = totalsegmentator(tmp_path / "src", {"s1": {"liver": [1], "spleen": []}})
    refused = refusal(source, tmp_path / "cohort", EXPERT)
    assert "declared organs without a voxel" in refused
    import_into(source, tmp_path / "cohort", ImportOptions(taken_as="expert", absent_means="absent"))
    assert only(tmp_path / "cohort")[1] == "expert"
    assert only(tmp_path / "cohort", "spleen")[0] == "absent"


def with_statistics(source: Path) -> Path:
    write_json(source / "labelsTr" / "statistics.json", {"liver": {"volume": 1, "intensity": 2}})
    return source


def with_report(source: Path) -> Path:
    write_json(source / "my_run.json", {"command": "TotalSegmentator -i ct.nii.gz -o a.nii.gz --ml --report"})
    return source


def with_arguments(source: Path) -> Path:
    write_json(source / "labelsTr" / "predict_from_raw_data_args.json", {})
    return source


def with_our_note(source: Path) -> Path:
    write_json(source / "labelsTr" / "a" / "provenance.json", {"made_by": "predict", "facts": {}})
    return source


def with_our_sidecar(source: Path) -> Path:
    about = {"made_by": "relabel", "parents": {}, "facts": {}, "tool": "smiler 0.1"}
    write_json(source / "labelsTr" / "a.json", {"organs": {"liver": about}})
    return source


TABLE = b'<?xml version="1.0"?><CaretExtension><LabelTable><Label Key="1">liver</Label></LabelTable></CaretExtension>'
SIGNS: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "descrip": (lambda s: headed(s, descrip="TotalSegmentator v2.4"), "TotalSegmentator", "the header of a.nii.gz"),
    "aux_file": (lambda s: headed(s, aux_file="nnUNet_results"), "nnU-Net", "the header of a.nii.gz"),
    "intent_name": (lambda s: headed(s, intent_name="MONAI Label"), "MONAI", "the header of a.nii.gz"),
    "extension": (lambda s: headed(s, TABLE), "TotalSegmentator", "the table of labels in the header of a.nii.gz"),
    "other words": (lambda s: headed(s, b"made by moosez 3.0"), "MOOSE", "the header of a.nii.gz"),
    "statistics": (with_statistics, "TotalSegmentator", "statistics.json beside it"),
    "report": (with_report, "TotalSegmentator", "my_run.json beside it"),
    "arguments": (with_arguments, "nnU-Net", "predict_from_raw_data_args.json beside it"),
    "our prediction": (with_our_note, "smiler", "provenance.json beside it"),
    "our proposal": (with_our_sidecar, "smiler 0.1", "a.json beside it"),
}


@pytest.mark.parametrize("name", SIGNS)
def test_what_names_a_program_asks_and_is_kept_on_record(tmp_path: Path, name: str) -> None:
    make, program, sign = SIGNS[name]
    source = make(nnunet(tmp_path / "src", {"a": [1]}, NAMES))
    text = refusal(source, tmp_path / "cohort")
    assert text == f"SRC: {ASKED}; got 1 (case organ): a liver; signs: {program}: {sign}; do: {DO}"
    import_into(source, tmp_path / "cohort", PROPOSALS)
    cell, origin, facts = only(tmp_path / "cohort")
    assert (cell, origin) == (f"auto:{source}/labelsTr/a.nii.gz#1", "proposed")
    if name != "our proposal":  # whose own note goes before
        assert (facts["program"], facts["sign"]) == (program, sign)
    report = import_into(source, tmp_path / "accepted", EXPERT)
    assert only(tmp_path / "accepted")[:2] == (f"{source}/labelsTr/a.nii.gz#1", "accepted")
    assert f"1 masks of {program} ({sign}) are taken as accepted by an expert, as asked" in report.notes
    export(Cohort.open(tmp_path / "accepted"), "bids", ExportRequest(tmp_path / "out"))
    (about,) = (tmp_path / "out").rglob("*_mask.json")
    assert json.loads(about.read_text())["Origin"] == "accepted"


@pytest.mark.parametrize(
    "name", ["nnUNet_results", "nnunet-predictions", "totalseg_out", "MONAILabel", "moose_2024", "TotalSegmentator"]
)
def test_a_folder_that_names_a_program_asks(tmp_path: Path, name: str) -> None:
    source = msd(tmp_path / name, {"a": [1]}, {"1": "liver"})
    assert f"the name '{name}'" in refusal(source, tmp_path / "cohort")
    import_into(source, tmp_path / "cohort", EXPERT)
    assert only(tmp_path / "cohort")[1] == "expert"  # a name proves nothing


@pytest.mark.parametrize("name", ["nnUNet_raw", "nnUNet_raw_data_base", "nnUNet_preprocessed", "monaco", "moosejaw"])
def test_names_of_training_data_and_of_places_ask_nothing(tmp_path: Path, name: str) -> None:
    assert program_in(name) == ""
    import_into(nnunet(tmp_path / name, {"a": [1]}, NAMES), tmp_path / "cohort")
    assert only(tmp_path / "cohort")[1] == "expert"


def test_a_name_above_the_source_asks_nothing(tmp_path: Path) -> None:
    import_into(plain(tmp_path / "TotalSegmentator" / "drawn", ["a"]), tmp_path / "cohort")
    assert only(tmp_path / "cohort")[1] == "expert"


def test_plain_folders_of_masks_with_words_in_a_header(tmp_path: Path) -> None:
    source = plain(tmp_path / "src", ["a"])
    path = source / "masks" / "Liver" / "a.nii.gz"
    image = nib.load(path)
    image.header["descrip"] = "nnU-Net v2"
    nib.save(image, path)
    assert "nnU-Net: the header of a.nii.gz" in refusal(source, tmp_path / "cohort")
    assert import_into(source, tmp_path / "cohort", PROPOSALS).added == ("a",)


def test_many_masks_named_as_its_structures_ask_wherever_they_lie(tmp_path: Path) -> None:
    from smiler.formats.numbering import LABEL_TABLES

    source = tmp_path / "src"
    volume(source / "ct.nii.gz")
    for name in list(LABEL_TABLES["totalsegmentator-v2"].values())[:25]:
        volume(source / "out" / f"{name}.nii.gz", [1])
    options = ImportOptions(images=Path("ct.nii.gz"), masks={"liver": Path("out/liver.nii.gz")})
    with pytest.raises(Unattributed, match="20 or more masks named as its structures"):
        import_into(source, tmp_path / "cohort", options, "folder")


def test_a_map_of_nested_labels_can_be_proposals(tmp_path: Path) -> None:
    source = msd(tmp_path / "src", {"a": [1, 2]}, {"1": "lobe", "2": "lobe thing"})
    import_into(nnunet(tmp_path / "n", {"a": [1, 2]}, {"background": 0, "gland": [1, 2], "nodule": 2}), tmp_path / "c",
                PROPOSALS)  # fmt: skip
    cohort = Cohort.open(tmp_path / "c")
    assert cohort.organs["nodule"].part_of == "gland"
    assert str(cohort.cases[0].cell("gland")) == f"auto:{tmp_path}/n/labelsTr/a.nii.gz#1+2"
    assert import_into(source, tmp_path / "d", PROPOSALS).added == ("a",)


def test_notes_of_masks_elsewhere_go_with_the_cohort(tmp_path: Path) -> None:
    source = nnunet(tmp_path / "c" / "data", {"a": [1]}, NAMES)
    import_into(source, tmp_path / "c", PROPOSALS)
    assert list(json.loads((tmp_path / "c" / NOTES).read_text())["masks"]) == ["data/labelsTr/a.nii.gz"]
    (tmp_path / "c").rename(tmp_path / "moved")
    assert only(tmp_path / "moved")[2]["as"] == "proposals"
    (tmp_path / "moved" / NOTES).write_text('{"notes": [], "masks": {"a": {"liver": 7}}}')
    with pytest.raises(BadInput, match="not a cohort's notes of masks"):
        only(tmp_path / "moved")


def test_both_questions_are_told_apart_and_together(tmp_path: Path) -> None:
    source = nnunet(tmp_path / "src", {"a": [1], "b": [1]}, NAMES | {"spleen": 2})
    headed(source, descrip="TotalSegmentator")
    with pytest.raises(Faults) as caught:
        import_into(source, tmp_path / "cohort")
    assert [type(fault).__name__ for fault in caught.value.faults] == ["Unattributed", "Ambiguous"]
    assert "(case organ): b spleen" in str(caught.value)
    import_into(source, tmp_path / "cohort", ImportOptions(taken_as="proposals"))


def test_an_export_of_smiler_needs_no_question(tmp_path: Path) -> None:
    import_into(nnunet(tmp_path / "src", {"a": [1]}, NAMES), tmp_path / "c")
    done = export(Cohort.open(tmp_path / "c"), "totalsegmentator", ExportRequest(tmp_path / "out"))
    import_into(done.folder, tmp_path / "again", ABSENT)
    assert only(tmp_path / "again")[1] == "expert"
    (done.folder / "smiler.json").unlink()
    assert ASKED in refusal(done.folder, tmp_path / "other")


def test_a_damaged_header_is_left_to_the_reading(tmp_path: Path) -> None:
    source = nnunet(tmp_path / "src", {"a": [1]}, NAMES)
    assert LabelMap.read(source / "labelsTr" / "a.nii.gz").values == {1}
    (source / "labelsTr" / "a.nii.gz").write_bytes(b"x" * 400)
    assert "not a NIfTI file" in refusal(source, tmp_path / "cohort")
