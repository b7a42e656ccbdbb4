"""Importers on small files: what every format keeps, and each layout with its refusals."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from sources import ABSENT, MAKE, files_of, ledger, msd, nnunet, plain, refusal, totalsegmentator, volume

from smiler.domain.cells import SliceRange
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.formats import FORMATS, ImportOptions, detect
from smiler.formats.importing import import_into
from smiler.formats.layouts import LAYOUT_FORMATS
from smiler.formats.nnunet import slice_ranges

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
    text = refusal(source, cohort)
    assert "declared organs without a voxel: absent, or did nobody look?; got 1 (case organ): p2 liver; do:" in text
    assert "--absent-means absent if" in text
    assert "--absent-means unannotated if" in text
    import_into(source, cohort, ABSENT)
    assert str(Cohort.open(cohort).case("p2").cell("liver")) == "absent"
    import_into(source, tmp_path / "other", ImportOptions(absent_means="unannotated"))
    assert str(Cohort.open(tmp_path / "other").case("p2").cell("liver")) == ""


@pytest.mark.parametrize("name", MAKE)
def test_files_of_a_mac_and_hidden_ones_are_skipped(name: str, tmp_path: Path) -> None:
    source = MAKE[name](tmp_path / "src", ["a"])
    for folder in [p for p in source.rglob("*") if p.is_dir()]:
        (folder / "._a.nii.gz").write_bytes(b"shadow")
    assert import_into(source, tmp_path / "cohort").added == ("a",)


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


EVIL = ["../../evil", "<script>", "a\x00b", "a\u200fb", "a/b", "", ".hidden", "x" * 200]


def test_ids_that_are_no_file_names_never_become_a_path(tmp_path: Path) -> None:
    image, label = volume(tmp_path / "i.nii.gz"), volume(tmp_path / "l.nii.gz", [1])
    dataset = {name: {"images": [str(image)], "label": str(label)} for name in [*EVIL, "fine"]}
    dataset["lost"] = {"images": [f"{image}\x00\u200f"], "label": str(label)}
    source = nnunet(tmp_path / "src", {}, {"liver": 1}, dataset=dataset)
    text = refusal(source, tmp_path / "cohort")
    assert text.count("not a usable case id") == len(EVIL)
    assert all(f"case {name!r}: not a usable case id" in text for name in EVIL)
    assert text.isascii()
    assert "\x00" not in text
    assert "case 'lost': the file does not exist; got" in text


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
    assert "only NIfTI is read" in refusal(nnunet(tmp_path / "mha", {}, {"liver": 1}, file_ending=".mha"), cohort)
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
    report = import_into(source, tmp_path / "cohort", ABSENT)
    assert ledger(tmp_path / "cohort", source) == (
        "case,patient,image,kidney_left,liver,gallbladder\n"
        "s1,s1,SRC/s1/ct.nii.gz,SRC/s1/segmentations/kidney_left.nii.gz,SRC/s1/segmentations/liver.nii.gz,\n"
        "s2,s2,SRC/s2/ct.nii.gz,,SRC/s2/segmentations/liver.nii.gz,absent\n"
        "s3,s3,SRC/s3/ct.nii.gz,,,\n"
    )
    assert report.notes == ("s3: no organ is annotated",)
    assert import_into(source / "s1", tmp_path / "one").added == ("s1",)


def test_totalsegmentator_refusals(tmp_path: Path) -> None:
    source = totalsegmentator(tmp_path / "src", {"s1": {"liver": [1, 2]}, "s2": {"liver": [1]}})
    (source / "s2" / "ct.nii.gz").unlink()
    (source / "s3 (copy)" / "segmentations").mkdir(parents=True)
    volume(source / "s3 (copy)" / "ct.nii.gz")
    text = refusal(source, tmp_path / "cohort")
    assert "case s1: a mask holds one organ; got labels 1, 2 in SRC/s1/segmentations/liver.nii.gz" in text
    assert "case 's2': masks without an image; got SRC/s2; do: add ct.nii.gz" in text
    assert "case 's3 (copy)': not a usable case id" in text


def test_only_wanted_organs_are_read(tmp_path: Path) -> None:
    source = totalsegmentator(tmp_path / "src", {"s1": {"liver": [1], "tumor": [1], "spleen": [1]}})
    (source / "s1" / "segmentations" / "spleen.nii.gz").write_bytes(b"damaged")
    assert import_into(source, tmp_path / "cohort", ImportOptions(organs=("Liver",))).organs_added == ("liver",)


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
