"""Importers on small files: what every format keeps, and each layout with its refusals."""

import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from sources import ABSENT, EXPERT, MAKE, files_of, ledger, msd, nnunet, plain, refusal, totalsegmentator, volume

from smiler.domain.cells import SliceRange
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.formats import FORMATS, ImportOptions, detect
from smiler.formats.importing import import_into
from smiler.formats.layouts import LAYOUT_FORMATS
from smiler.formats.nnunet import slice_ranges
from smiler.formats.numbering import label_table

# --- what every format keeps ---------------------------------------------------------------------------------------


def test_there_is_a_maker_for_every_format() -> None:
    assert {*MAKE, *LAYOUT_FORMATS, "ircadb", "dicom", "bids"} == set(FORMATS)


@pytest.mark.parametrize("name", MAKE)
def test_a_format_recognises_only_its_own_layout(name: str, tmp_path: Path) -> None:
    source = MAKE[name](tmp_path / "src", ["a"])
    assert [fmt.name for fmt in FORMATS.values() if fmt.recognises(source)] == [name] == [detect(source).name]
    assert FORMATS[name].name == name
    assert FORMATS[name].title
    assert "\n" not in FORMATS[name].title


@pytest.mark.parametrize("name", MAKE)
def test_a_format_reads_lazily_and_raises_faults_when_the_good_cases_are_through(name: str, tmp_path: Path) -> None:
    source = MAKE[name](tmp_path / "src", ["p1", "p2", "p3"])
    for path in files_of(source, "p2"):
        path.write_bytes(path.read_bytes()[:60])
    cases = FORMATS[name].read(source, ImportOptions())
    assert [next(cases).id, next(cases).id] == ["p1", "p3"]
    with pytest.raises(BadInput, match="truncated"):
        next(cases)
    assert "truncated" in refusal(source, tmp_path / "cohort")


@pytest.mark.parametrize("name", MAKE)
def test_a_mask_without_a_voxel_is_absent_or_unannotated_as_the_user_says(name: str, tmp_path: Path) -> None:
    source = MAKE[name](tmp_path / "src", ["p1", "p2"])
    for path in files_of(source, "p2"):
        volume(path)
    cohort = tmp_path / "cohort"
    text = refusal(source, cohort, EXPERT)
    assert "declared organs without a voxel: absent, or did nobody look?; got 1 (case organ): p2 liver; do:" in text
    assert "--absent-means absent if" in text
    assert "--absent-means unannotated if" in text
    import_into(source, cohort, ImportOptions(absent_means="absent", taken_as="expert"))
    assert str(Cohort.open(cohort).case("p2").cell("liver")) == "absent"
    import_into(source, tmp_path / "other", ImportOptions(absent_means="unannotated", taken_as="expert"))
    assert str(Cohort.open(tmp_path / "other").case("p2").cell("liver")) == ""


@pytest.mark.parametrize("name", MAKE)
def test_files_of_a_mac_and_hidden_ones_are_skipped(name: str, tmp_path: Path) -> None:
    source = MAKE[name](tmp_path / "src", ["a"])
    for folder in [p for p in source.rglob("*") if p.is_dir()]:
        (folder / "._a.nii.gz").write_bytes(b"shadow")
    assert import_into(source, tmp_path / "cohort", EXPERT).added == ("a",)


@pytest.mark.parametrize("name", MAKE)
def test_an_empty_source_and_unwanted_options_are_refused(name: str, tmp_path: Path) -> None:
    source = MAKE[name](tmp_path / "src", ["a"])
    assert "the source has no such organ; got 'spleen'" in refusal(
        source, tmp_path / "cohort", ImportOptions(organs=("spleen",))
    )
    if name != "folder":
        text = refusal(source, tmp_path / "cohort", ImportOptions(labels={5: "liver"}))
        assert "only the folder format takes files and label tables; do: add --format folder" in text


def test_an_unknown_layout_lists_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    text = refusal(tmp_path / "src", tmp_path / "cohort")
    assert text.startswith("SRC: can't tell the format; got none of the known layouts; do: say --format; looked for")
    assert all(fmt.looks_for in text for fmt in FORMATS.values())
    MAKE["totalsegmentator"](MAKE["msd"](tmp_path / "two", ["a"]), ["a"])
    assert "got the layouts of msd and totalsegmentator" in refusal(tmp_path / "two", tmp_path / "cohort")
    assert "the source does not exist" in refusal(tmp_path / "none", tmp_path / "cohort")
    assert "choose among nnunet, msd" in refusal(tmp_path / "src", tmp_path / "cohort", fmt="nnUnet")


# --- nnU-Net -------------------------------------------------------------------------------------------------------


def test_nnunet_labels_and_regions(tmp_path: Path) -> None:
    labels = {"background": 0, "Liver": [1, 2], "hepatic_tumor": 2, "Kidney Right": 3, "lobe": [4], "both": [4, 5]}
    source = nnunet(tmp_path / "src", {"c1": [1, 2, 3, 4], "c2": [1, 2, 3]}, labels)
    report = import_into(source, tmp_path / "cohort", ABSENT)
    assert ledger(tmp_path / "cohort", source) == (
        "case,patient,image,liver,liver_tumor,kidney_right,lobe,both\n"
        "c1,c1,SRC/imagesTr/c1_0000.nii.gz,SRC/labelsTr/c1.nii.gz#1+2,SRC/labelsTr/c1.nii.gz#2,"
        "SRC/labelsTr/c1.nii.gz#3,SRC/labelsTr/c1.nii.gz#4,SRC/labelsTr/c1.nii.gz#4+5\n"
        "c2,c2,SRC/imagesTr/c2_0000.nii.gz,SRC/labelsTr/c2.nii.gz#1+2,SRC/labelsTr/c2.nii.gz#2,"
        "SRC/labelsTr/c2.nii.gz#3,absent,absent\n"
    )
    organs = Cohort.open(tmp_path / "cohort").organs
    assert (organs["liver_tumor"].part_of, organs["lobe"].part_of) == ("liver", "both")
    assert report.added == ("c1", "c2")
    assert [line.split(" ")[0] for line in report.conflicts] == ["both"]


def test_nnunet_ignored_slices_become_slice_ranges(tmp_path: Path) -> None:
    source = nnunet(tmp_path / "src", {"whole": [1, 2]}, {"background": 0, "liver": 1, "spleen": 2, "ignore": 9})
    for name, planes in {"part": {0: 9, 4: 9, 5: 9, 2: 1}, "none": dict.fromkeys(range(6), 9)}.items():
        volume(source / "imagesTr" / f"{name}_0000.nii.gz")
        volume(source / "labelsTr" / f"{name}.nii.gz", planes=planes)
    report = import_into(source, tmp_path / "cohort", ABSENT)
    rows = ledger(tmp_path / "cohort", source).splitlines()
    assert rows[1] == "none,none,SRC/imagesTr/none_0000.nii.gz,,"
    assert rows[2].endswith("SRC/labelsTr/part.nii.gz#1@1:4,SRC/labelsTr/part.nii.gz#2@1:4")
    assert rows[3].endswith("SRC/labelsTr/whole.nii.gz#1,SRC/labelsTr/whole.nii.gz#2")
    assert report.notes == ("none: every slice carries the ignore label",)
    volume(source / "labelsTr" / "part.nii.gz", [9, 1])
    import_into(source, tmp_path / "other", ABSENT)
    cell = Cohort.open(tmp_path / "other").case("part").cell("liver")
    assert (cell.labels, cell.ignored, cell.ranges) == ((1,), 9, ())


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ([3], "3:4"),
        ([0, 1, 2], "0:3"),
        ([0, 5, 10], "0:11:5"),
        ([0, 1, 4, 5], "0:2 4:6"),
        ([0, 2, 3, 7], "0:1 2:4 7:8"),
    ],
)
def test_slice_numbers_as_ranges(known: list[int], text: str) -> None:
    ranges: tuple[SliceRange, ...] = slice_ranges(known)
    assert " ".join(map(str, ranges)) == text
    assert sorted(z for r in ranges for z in range(r.start, r.stop, r.step)) == known


def test_nnunet_dataset_key_and_channels(tmp_path: Path) -> None:
    image, label = volume(tmp_path / "x" / "i.nii.gz"), volume(tmp_path / "x" / "l.nii.gz", [1])
    channels = {"0": "CT", "1": "PET"}
    dataset = {"p-1": {"images": ["../x/i.nii.gz", "../x/pet.nii.gz"], "label": str(label)}}
    source = nnunet(tmp_path / "src", {}, {"liver": 1}, dataset=dataset, channel_names=channels)
    report = import_into(source, tmp_path / "cohort")
    assert (tmp_path / "cohort" / "cases.csv").read_text() == (f"case,patient,image,liver\np-1,p-1,{image},{label}#1\n")
    assert report.notes == ("p-1: only channel 0 (CT) of 2 is read",)
    nnunet(source, {}, {"liver": 1}, channel_names={"0": "PET", "1": "CT"})
    assert "channel 0 is not called CT" in refusal(source, tmp_path / "other")
    nnunet(source, {"a": [1]}, {"liver": 1}, channel_names={"0": "noNorm"})
    assert import_into(source, tmp_path / "other").notes == (
        "a: the image's channel is called 'noNorm': its values are taken as HU",
    )


EVIL = ["../../evil", "<script>", "a/b", ".hidden", "x" * 200]
UNSHOWN = ["a\x00b", "a\u200fb", "", " "]


def test_ids_that_are_no_file_names_never_become_a_path(tmp_path: Path) -> None:
    image, label = volume(tmp_path / "i.nii.gz"), volume(tmp_path / "l.nii.gz", [1])
    row = {"images": [str(image)], "label": str(label)}
    dataset = dict.fromkeys([*UNSHOWN, "fine"], row)
    dataset["lost"] = {"images": [f"{image}\x00\u200f"], "label": str(label)}
    source = nnunet(tmp_path / "src", {}, {"liver": 1}, dataset=dataset)
    text = refusal(source, tmp_path / "cohort")
    assert text.count("not a usable case id") == len(UNSHOWN)
    assert all(f"case {name!r}: not a usable case id" in text for name in UNSHOWN)
    assert text.isascii()
    assert "\x00" not in text
    assert "case 'lost': the file does not exist; got" in text
    nnunet(source, {}, {"liver": 1}, dataset=dict.fromkeys(EVIL, row))
    added = import_into(source, tmp_path / "cohort").added
    assert len(set(added)) == len(EVIL)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*-[0-9a-f]{8}", name) for name in added)


NAMES = ["pat 1", "pat_1", "pat  1", "肝臓 01", "Müller (CT)", "Ю", "a.b-c", "(copy)"]


@pytest.mark.parametrize("name", ["nnunet", "msd", "totalsegmentator", "folder"])
def test_a_name_that_is_no_case_id_becomes_one_of_its_own_and_is_noted(name: str, tmp_path: Path) -> None:
    source, cohort = MAKE[name](tmp_path / "src", NAMES), tmp_path / "cohort"
    report = import_into(source, cohort, EXPERT)
    assert set(report.added) == {
        *("pat_1-bea76e34", "pat_1", "pat_1-1497a0a5", "01-eb6ec8ad", "Muller_CT-e1e6cf6f", "case-595e4481"),
        *("a.b-c", "copy-780dc199"),
    }
    assert report.notes[0].startswith("names that can't be case ids: ")
    assert "'肝臓 01' is 01-eb6ec8ad" in report.notes[0]
    images = {case.id: case.image for case in Cohort.open(cohort)}
    assert "肝臓 01" in images["01-eb6ec8ad"]
    assert all(case.patient == case.id and str(case.cell("liver")) for case in Cohort.open(cohort))
    more = import_into(MAKE[name](tmp_path / "more", ["x", *NAMES]), tmp_path / "other", EXPERT)
    assert set(report.added) < set(more.added)  # the same id, whatever lies beside it


def test_a_pattern_finds_the_patient_in_the_name_as_the_source_has_it(tmp_path: Path) -> None:
    source = MAKE["nnunet"](tmp_path / "src", ["王 1", "王 2", "b 1"])
    import_into(source, tmp_path / "cohort", ImportOptions(patient_pattern="(.+) ", prefix="x_"))
    assert [case.patient for case in Cohort.open(tmp_path / "cohort")] == ["b", "王", "王"]


def test_accents_that_a_mac_wrote_apart_are_the_same_name(tmp_path: Path) -> None:
    source = MAKE["nnunet"](tmp_path / "src", ["\u00e9"])
    (source / "labelsTr" / "\u00e9.nii.gz").rename(source / "labelsTr" / "e\u0301.nii.gz")
    assert len(import_into(source, tmp_path / "cohort").added) == 1


def test_nnunet_refusals(tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    source = nnunet(tmp_path / "src", {"a": [1, 7], "b": [1]}, {"background": 0, "liver": 1})
    volume(source / "imagesTr" / "lonely_0000.nii.gz")
    volume(source / "labelsTr" / "orphan.nii.gz")
    text = refusal(source, cohort)
    assert "case a, SRC/labelsTr/a.nii.gz: the label map holds undeclared labels; got 7" in text
    assert "case 'lonely': an image or its label map is missing; got SRC/imagesTr/lonely_0000.nii.gz" in text
    assert "case 'orphan': an image or its label map is missing; got SRC/labelsTr/orphan.nii.gz" in text
    for label in (0, "1", [1, 1], [], True, -1):
        text = refusal(nnunet(tmp_path / "bad", {}, {"liver": label}), cohort)
        assert f"SRC/dataset.json: not a label; got 'liver': {label!r}; do: give a whole number" in text
    assert "ignore needs one value of its own" in refusal(nnunet(tmp_path / "ign", {}, {"a": 1, "ignore": 1}), cohort)
    text = refusal(nnunet(tmp_path / "png", {}, {"liver": 1}, file_ending=".png"), cohort)
    assert "no such files are read; got file_ending '.png'; do: convert the files; smiler reads .nii.gz, .nii" in text
    assert "the source has no cases" in refusal(nnunet(tmp_path / "none", {}, {"liver": 1}), cohort)
    listed = nnunet(tmp_path / "listed", {}, {"liver": 1}, dataset={"a": {"images": []}, "b": 3})
    assert refusal(listed, cohort).count("not a case of dataset.json") == 2


def test_an_organ_named_twice_and_a_tumour_of_nothing_are_refused(tmp_path: Path) -> None:
    source = nnunet(tmp_path / "src", {"a": [1, 2, 3], "b": [1, 2, 3]}, {"Liver": 1, "hepar": 2, "tumor": 3})
    text = refusal(source, tmp_path / "cohort")
    assert text.count("organ liver: two masks for one organ; got 'Liver' and 'hepar'") == 1
    assert text.count("organ 'tumor': the name doesn't say of which organ") == 1
    (tmp_path / "own.toml").write_text('liver_tumor = ["tumor"]\nhepar = ["hepar"]\n')
    report = import_into(source, tmp_path / "cohort", ImportOptions(synonyms=tmp_path / "own.toml"))
    assert report.organs_added == ("liver", "hepar", "liver_tumor")


# --- Medical Segmentation Decathlon --------------------------------------------------------------------------------


def test_msd_tumours_lie_in_their_organ(tmp_path: Path) -> None:
    source = msd(tmp_path / "src", {"liver_0": [1, 2]}, {"1": "liver", "2": "cancer"}, missing=["liver_1", "liver_2"])
    report = import_into(source, tmp_path / "cohort")
    assert ledger(tmp_path / "cohort", source) == (
        "case,patient,image,liver,liver_tumor\n"
        "liver_0,liver_0,SRC/imagesTr/liver_0.nii.gz,SRC/labelsTr/liver_0.nii.gz#1+2,SRC/labelsTr/liver_0.nii.gz#2\n"
    )
    assert report.notes == ("liver_0: 2 of 3 listed cases are not on disk: liver_1, liver_2",)
    assert Cohort.open(tmp_path / "cohort").organs["liver_tumor"].part_of == "liver"


@pytest.mark.parametrize(
    ("labels", "cells"),
    [
        ({"1": "pancreas", "2": "cancer"}, {"pancreas": (1, 2), "pancreas_tumor": (2,)}),
        ({"1": "Liver", "2": "liver tumour"}, {"liver": (1, 2), "liver_tumor": (2,)}),
        ({"1": "spleen", "2": "liver"}, {"spleen": (1,), "liver": (2,)}),
        ({"1": "pancreas", "2": "liver tumour"}, {"pancreas": (1,), "liver_tumor": (2,)}),
    ],
)
def test_msd_conventions(labels: Mapping[str, str], cells: Mapping[str, tuple[int, ...]], tmp_path: Path) -> None:
    import_into(msd(tmp_path / "src", {"a": [1, 2]}, labels), tmp_path / "cohort")
    assert {k: c.labels for k, c in Cohort.open(tmp_path / "cohort").case("a").cells.items()} == cells


def test_msd_refusals(tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    vessels = msd(tmp_path / "vessels", {"a": [1, 2]}, {"1": "Vessel", "2": "Tumour"})
    assert "organ 'Tumour': the name doesn't say of which organ" in refusal(vessels, cohort)
    gone = msd(tmp_path / "gone", {}, {"1": "liver"}, missing=["a", "b"])
    assert "none of the listed files is there; got a, b" in refusal(gone, cohort)
    assert "undeclared labels; got 3" in refusal(msd(tmp_path / "u", {"a": [1, 3]}, {"1": "liver"}), cohort)
    source = msd(tmp_path / "src", {"a": [1]}, {"1": "liver"})
    manifest = json.loads((source / "dataset.json").read_text())
    rows = [{"image": "../../x.nii.gz", "label": "a"}, {"image": 3}, "a"]
    for change, text in [
        ({"training": rows}, "the path leaves the data set"),
        ({"training": "all"}, "training lists pairs of image and label"),
        ({"modality": {"0": "MRI"}}, "smiler reads CT with one channel; got modality {'0': 'MRI'}"),
        ({"labels": {"0": "background", "1": 5}}, "not a label table"),
    ]:
        (source / "dataset.json").write_text(json.dumps(manifest | change))
        assert text in refusal(source, cohort)
    (source / "dataset.json").write_text("{")
    assert "not readable JSON" in refusal(source, cohort, fmt="msd")


# --- TotalSegmentator ----------------------------------------------------------------------------------------------


def test_totalsegmentator_a_missing_file_is_unannotated(tmp_path: Path) -> None:
    masks = {"s1": {"liver": [1], "kidney_left": [1]}, "s2": {"liver": [255], "gallbladder": []}, "s3": {}}
    source = totalsegmentator(tmp_path / "src", masks)
    (source / "notes").mkdir()
    report = import_into(source, tmp_path / "cohort", ImportOptions(absent_means="absent", taken_as="expert"))
    assert ledger(tmp_path / "cohort", source) == (
        "case,patient,image,kidney_left,liver,gallbladder\n"
        "s1,s1,SRC/s1/ct.nii.gz,SRC/s1/segmentations/kidney_left.nii.gz,SRC/s1/segmentations/liver.nii.gz,\n"
        "s2,s2,SRC/s2/ct.nii.gz,,SRC/s2/segmentations/liver.nii.gz,absent\n"
        "s3,s3,SRC/s3/ct.nii.gz,,,\n"
    )
    assert report.notes == ("s3: no organ is annotated",)
    assert import_into(source / "s1", tmp_path / "one", EXPERT).added == ("s1",)


def test_totalsegmentator_refusals(tmp_path: Path) -> None:
    source = totalsegmentator(tmp_path / "src", {"s1": {"liver": [1, 2]}, "s2": {"liver": [1]}})
    (source / "s2" / "ct.nii.gz").unlink()
    volume(source / "s3" / "ct.nii.gz")
    volume(source / "s3" / "segmentations" / "liver.nii.gz", [1])
    volume(source / "s3" / "segmentations" / "liver.nii", [1])
    text = refusal(source, tmp_path / "cohort")
    assert "case s1: a mask holds one organ; got labels 1, 2 in SRC/s1/segmentations/liver.nii.gz" in text
    assert "case 's2': masks without an image; got SRC/s2; do: add ct.nii.gz" in text
    assert "case s3, organ liver: two files for one case; got SRC/s3/segmentations/liver.nii" in text


def test_only_wanted_organs_are_read(tmp_path: Path) -> None:
    source = totalsegmentator(tmp_path / "src", {"s1": {"liver": [1], "tumor": [1], "spleen": [1]}})
    (source / "s1" / "segmentations" / "spleen.nii.gz").write_bytes(b"damaged")
    options = ImportOptions(organs=("Liver",), taken_as="expert")
    assert import_into(source, tmp_path / "cohort", options).organs_added == ("liver",)


def test_more_organs_than_a_cohort_holds(tmp_path: Path) -> None:
    source = totalsegmentator(tmp_path / "src", {"s1": {f"rib_{i}": [1] for i in range(33)}})
    assert "a cohort has 1 to 31 organs; got 33: rib_0" in refusal(source, tmp_path / "cohort")


# --- plain folders -------------------------------------------------------------------------------------------------


def test_folder_of_masks(tmp_path: Path) -> None:
    source = plain(tmp_path / "src", ["a", "b"])
    volume(source / "masks" / "gall bladder" / "b.nii", [3])
    import_into(source, tmp_path / "cohort")
    assert ledger(tmp_path / "cohort", source) == (
        "case,patient,image,liver,gallbladder\n"
        "a,a,SRC/images/a_0000.nii.gz,SRC/masks/Liver/a.nii.gz,\n"
        "b,b,SRC/images/b_0000.nii.gz,SRC/masks/Liver/b.nii.gz,SRC/masks/gall bladder/b.nii\n"
    )
    options = ImportOptions(images=Path("images"), masks={"hepar": Path("masks/Liver")})
    assert import_into(source, tmp_path / "other", options, "folder").organs_added == ("liver",)


def test_folder_of_label_maps(tmp_path: Path) -> None:
    for name, values in {"a": [1, 2, 9], "b": [1, 2, 9]}.items():
        volume(tmp_path / "src" / "images" / f"{name}_0000.nii.gz")
        volume(tmp_path / "src" / "labels" / f"{name}.nii.gz", values)
    options = ImportOptions(labels={1: "lung", 2: "lung"})
    report = import_into(tmp_path / "src", tmp_path / "cohort", options)
    assert ledger(tmp_path / "cohort", tmp_path / "src").splitlines()[1:] == [
        "a,a,SRC/images/a_0000.nii.gz,SRC/labels/a.nii.gz#1+2",
        "b,b,SRC/images/b_0000.nii.gz,SRC/labels/b.nii.gz#1+2",
    ]
    assert report.notes == ("a, b: labels without a name are left out: 9",)


def test_folder_refusals(tmp_path: Path) -> None:
    source, cohort = plain(tmp_path / "src", ["a", "b"]), tmp_path / "cohort"
    volume(source / "labels" / "b.nii.gz", [1])
    volume(source / "labels" / "c.nii.gz", [1])
    text = refusal(source, cohort, ImportOptions(labels={1: "liver"}))
    assert "case 'c': no image of that name; got SRC/labels/c.nii.gz" in text
    assert "case 'a': no label map of that name; got SRC/images/a_0000.nii.gz" in text
    no_table = ImportOptions(labelmaps=Path("labels"))
    assert "a label map needs a label table; do: add --labels with totalsegmentator-v1" in refusal(
        source, cohort, no_table
    )
    table_only = ImportOptions(labels={1: "liver"}, masks={"liver": Path("masks/Liver")})
    assert "a label table without label maps" in refusal(source, cohort, table_only)
    volume(source / "images" / "a.nii.gz")
    assert "--image: two files for one case" in refusal(source, cohort)
    nothing = ImportOptions(images=Path("nowhere"))
    assert "--image: no image or mask there; got SRC/nowhere; do: give" in refusal(source, cohort, nothing)
    bare = plain(tmp_path / "bare", ["a"])
    (bare / "masks").rename(bare / "other")
    assert "no masks and no label maps; do: give --mask ORGAN=PATH" in refusal(bare, cohort, fmt="folder")


# --- names and JSON as people have them ----------------------------------------------------------------------------


def test_version_1_of_nnunet_lists_a_file_without_its_channel(tmp_path: Path) -> None:
    source = msd(tmp_path / "src", {"a": [1], "b": [1]}, {"1": "liver"})
    for name in "ab":
        (source / "imagesTr" / f"{name}.nii.gz").rename(source / "imagesTr" / f"{name}_0000.nii.gz")
    import_into(source, tmp_path / "cohort")
    assert ledger(tmp_path / "cohort", source).splitlines()[1:] == [
        "a,a,SRC/imagesTr/a_0000.nii.gz,SRC/labelsTr/a.nii.gz#1",
        "b,b,SRC/imagesTr/b_0000.nii.gz,SRC/labelsTr/b.nii.gz#1",
    ]


def test_version_2_of_nnunet_without_channel_numbers_is_read_with_a_note(tmp_path: Path) -> None:
    source = nnunet(tmp_path / "src", {"a": [1], "c_0001": [1]}, {"liver": 1})
    (source / "imagesTr" / "a_0000.nii.gz").rename(source / "imagesTr" / "a.nii.gz")
    volume(source / "imagesTr" / "c_0001_0001.nii.gz")  # another channel
    (source / "imagesTr" / "c_0001_0000.nii.gz").rename(source / "imagesTr" / "c_0001.nii.gz")
    report = import_into(source, tmp_path / "cohort")
    assert report.added == ("a", "c_0001")
    assert report.notes == ("a, c_0001: the image's name lacks the channel number _0000",)


@pytest.mark.parametrize("name", [*MAKE, "btcv"])
def test_capitals_in_an_ending_and_another_ending_make_no_difference(name: str, tmp_path: Path) -> None:
    if name == "btcv":
        for folder, stem in (("img", "img0001"), ("label", "label0001")):
            volume(tmp_path / "src" / folder / f"{stem}.nii.gz", [1, 6] if folder == "label" else ())
    source = tmp_path / "src" if name == "btcv" else MAKE[name](tmp_path / "src", ["a"])
    before = ledger_of(source, tmp_path / "one")
    for number, path in enumerate(sorted(source.rglob("*.nii.gz"))):
        if number % 2:
            path.rename(str(path).replace(".nii.gz", ".NII.GZ"))
        else:
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
    after = ledger_of(source, tmp_path / "two")
    assert after.replace(".NII.GZ", ".nii.gz").replace(".nii,", ".nii.gz,").replace(".nii#", ".nii.gz#") == before


def ledger_of(source: Path, cohort: Path) -> str:
    import_into(source, cohort, ImportOptions(absent_means="absent", taken_as="expert"))
    return ledger(cohort, source).replace(".nii\n", ".nii.gz\n").replace(".NII.GZ\n", ".nii.gz\n")


def test_files_that_do_not_end_as_dataset_json_says_are_read_with_a_note(tmp_path: Path) -> None:
    source = nnunet(tmp_path / "src", {"a": [1]}, {"liver": 1}, file_ending=".nrrd")
    report = import_into(source, tmp_path / "cohort")
    assert report.notes == ("a: dataset.json says .nrrd, the files end in .nii.gz",)
    rows = {"a": {"images": ["imagesTr/a_0000.mha"], "label": "labelsTr/a.mha"}}
    listed = nnunet(tmp_path / "src", {"a": [1]}, {"liver": 1}, dataset=rows)
    report = import_into(listed, tmp_path / "other")
    assert report.notes == ("a: files have other endings than dataset.json says",)
    volume(source / "labelsTr" / "a.nii", [1])
    assert "case 'a': two files for one case; got SRC/labelsTr/a.nii and SRC/labelsTr/a.nii.gz" in refusal(
        nnunet(source, {"a": [1]}, {"liver": 1}, file_ending=".mha"), tmp_path / "third"
    )


TWICE = {
    "dataset.json": '{"channel_names": {"0": "CT"}, "labels": {"liver": 1, "spleen": 2, "liver": 3}}',
    "smiler.json": '{"organs": [], "organs": [], "cases": {}}',
}


@pytest.mark.parametrize("name", TWICE)
def test_a_key_twice_in_a_json_file_is_refused_by_key_and_file(name: str, tmp_path: Path) -> None:
    source = nnunet(tmp_path / "src", {"a": [1]}, {"liver": 1})
    (source / name).write_text(TWICE[name])
    key = "liver" if name == "dataset.json" else "organs"
    assert f"SRC/{name}: a key stands twice in a table; got '{key}'; do: keep the right one" in refusal(
        source, tmp_path / "cohort"
    )


def test_a_number_twice_in_a_numbered_table_is_refused(tmp_path: Path) -> None:
    source = msd(tmp_path / "src", {"a": [1]}, {"1": "liver"})
    manifest = (source / "dataset.json").read_text().replace('"1": "liver"', '"1": "liver", "1": "spleen"')
    (source / "dataset.json").write_text(manifest)
    assert "SRC/dataset.json: a key stands twice in a table; got '1'" in refusal(source, tmp_path / "cohort")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["nnunet", "msd"])
def test_a_byte_order_mark_makes_no_format_unknown(name: str, encoding: str, tmp_path: Path) -> None:
    source = MAKE[name](tmp_path / "src", ["a"])
    text = (source / "dataset.json").read_text()
    (source / "dataset.json").write_bytes(text.encode(encoding))
    assert import_into(source, tmp_path / "cohort").added == ("a",)


def test_a_broken_data_set_among_good_ones_is_named_not_skipped(tmp_path: Path) -> None:
    for number, name in ((1, "a"), (2, "b"), (3, "c")):
        nnunet(tmp_path / "raw" / f"Dataset00{number}_X", {name: [1]}, {"liver": 1})
    (tmp_path / "raw" / "Dataset002_X" / "dataset.json").write_text("{")
    msd(tmp_path / "raw" / "Dataset003_X", {"c": [1]}, {"1": "liver"})
    text = refusal(tmp_path / "raw", tmp_path / "cohort")
    assert "SRC/Dataset002_X/dataset.json: the file is not readable JSON" in text
    assert "SRC/Dataset003_X/dataset.json: the labels are numbered, as in version 1" in text


# --- more organs than a cohort holds -------------------------------------------------------------------------------


def test_more_organs_than_a_cohort_holds_are_all_named_before_anything_is_asked(tmp_path: Path) -> None:
    names = [f"rib_{i}_{side}" for side in ("left", "right") for i in range(1, 13)]
    names += [f"vertebrae_l{i}" for i in range(1, 6)] + ["liver", "spleen", "pancreas", "aorta"]
    source = nnunet(tmp_path / "src", {"a": [1]}, {name: i for i, name in enumerate(names, start=1)})
    text = refusal(source, tmp_path / "cohort")
    assert text == (
        f"SRC: a cohort has 1 to 31 organs; got 33: {', '.join(names)}; "
        "do: choose up to 31 of them, as in --organs rib_1_left,rib_2_left,rib_3_left"
    )
    chosen = ImportOptions(absent_means="absent", organs=tuple(names[:29]))
    assert import_into(source, tmp_path / "cohort", chosen).organs_added == tuple(names[:29])
    more = nnunet(tmp_path / "more", {"b": [1]}, {"liver": 1, "spleen": 2, "pancreas": 3})
    text = refusal(more, tmp_path / "cohort", ABSENT)
    assert "got 3, beside the 29 that the cohort has: liver, spleen, pancreas; do: choose up to 2 of them" in text


def test_organs_of_a_whole_label_table_are_chosen_by_the_names_of_its_authors(tmp_path: Path) -> None:
    volume(tmp_path / "src" / "images" / "a.nii.gz")
    volume(tmp_path / "src" / "labels" / "a.nii.gz", [10, 27, 98])
    wanted = ("lung_upper_lobe_left", "vertebrae_L5", "rib_left_7", "adrenal_gland_left")
    options = ImportOptions(labels=label_table("totalsegmentator-v2"), organs=wanted, absent_means="absent")
    import_into(tmp_path / "src", tmp_path / "cohort", options)
    case = Cohort.open(tmp_path / "cohort").case("a")
    cells = {key: str(cell).rpartition("#")[2] for key, cell in case.cells.items()}
    assert cells == {"lung_upper_lobe_left": "10", "vertebrae_l5": "27", "rib_7_left": "98", "adrenal_left": "absent"}


def test_a_source_of_another_format_than_said_is_called_by_its_name(tmp_path: Path) -> None:
    source = plain(tmp_path / "src", ["a"])
    for fmt, what in (("dicom", "the source has no cases"), ("nnunet", "the format needs a dataset.json")):
        text = refusal(source, tmp_path / "cohort", fmt=fmt)
        assert text == f"SRC: {what}; got a folder of images and masks; do: smiler import SRC my-cohort --format folder"
    (tmp_path / "ct").mkdir()
    image = volume(tmp_path / "ct" / "x.nii.gz")
    assert refusal(tmp_path / "ct", tmp_path / "cohort").startswith(
        "SRC: no data set that is known; got a folder of volumes, such as x.nii.gz; do: smiler import SRC my-cohort"
    )
    assert "no data set that is known; got a file with one volume" in refusal(image, tmp_path / "cohort")
    assert "do: did you mean" in refusal(tmp_path / "srcc", tmp_path / "cohort")
