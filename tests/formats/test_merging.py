"""Several sources become one cohort by the names of their organs, and the ledger is written whole or not at all."""

from pathlib import Path

import pytest
from sources import ABDOMINAL, EXPERT, MAKE, ledger, msd, nnunet, plain, refusal, volume

from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.organs import OrganSet
from smiler.formats import ImportOptions
from smiler.formats.importing import Ambiguous, ImportReport, import_into
from smiler.formats.numbering import label_table

DATA = Path(__file__).parents[3] / "shared" / "data"


def test_two_sources_merge_by_organ(tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    first = MAKE["totalsegmentator"](cohort / "data", ["s1"])
    second = msd(tmp_path / "src", {"p7_1": [1, 2], "p7_2": [1, 2]}, {"1": "liver", "2": "cancer"})
    assert import_into(first, cohort, EXPERT) == ImportReport(("s1",), ("liver",), (), ())
    seen: list[str] = []
    report = import_into(second, cohort, ImportOptions(patient_pattern=r"^(p\d+)_"), on_case=seen.append)
    assert report == ImportReport(("p7_1", "p7_2"), ("liver_tumor",), (), ())
    assert seen == ["p7_1", "p7_2"]
    assert ledger(cohort, second) == (
        "case,patient,image,liver,liver_tumor\n"
        "s1,s1,data/s1/ct.nii.gz,data/s1/segmentations/Liver.nii.gz,\n"
        "p7_1,p7,SRC/imagesTr/p7_1.nii.gz,SRC/labelsTr/p7_1.nii.gz#1+2,SRC/labelsTr/p7_1.nii.gz#2\n"
        "p7_2,p7,SRC/imagesTr/p7_2.nii.gz,SRC/labelsTr/p7_2.nii.gz#1+2,SRC/labelsTr/p7_2.nii.gz#2\n"
    )
    text = refusal(second, cohort)
    assert "the cohort has these cases already; got 2: p7_1, p7_2; do: remove their rows from cases.csv first" in text


MANIFEST = """# what we agreed on in May
format = 1
name = "of the clinic"

[[organ]]
key = "liver"
title = "Leber"
colour = "#aa5522"
overlaps = ["vein"]

[[organ]]
key = "vein"
"""


@pytest.mark.parametrize("ledger_text", ["case,patient,image,liver,vein\n", None])
def test_a_cohort_without_rows_keeps_what_its_manifest_says(tmp_path: Path, ledger_text: str | None) -> None:
    """Also one whose writer was killed before the ledger came."""
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "cohort.toml").write_text(MANIFEST)
    if ledger_text:
        (tmp_path / "cohort" / "cases.csv").write_text(ledger_text)
    import_into(nnunet(tmp_path / "one", {"a": [1]}, {"liver": 1}), tmp_path / "cohort")
    assert (tmp_path / "cohort" / "cohort.toml").read_text() == MANIFEST
    import_into(nnunet(tmp_path / "two", {"b": [1]}, {"spleen": 1}), tmp_path / "cohort")
    found = Cohort.open(tmp_path / "cohort")
    liver = found.organs["liver"]
    assert (found.name, found.organs.keys) == ("of the clinic", ("liver", "vein", "spleen"))
    assert (liver.title, liver.colour, liver.overlaps) == ("Leber", "#aa5522", {"vein"})
    assert [case.id for case in found] == ["a", "b"]


@pytest.mark.parametrize("rows", ["case,patient,image,liver,vein\n", None])
def test_sealed_truth_without_rows_is_refused(tmp_path: Path, rows: str | None) -> None:
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "cohort.toml").write_text(MANIFEST.replace("format = 1", "format = 1\nsealed = true"))
    if rows:
        (tmp_path / "cohort" / "cases.csv").write_text(rows)
    text = refusal(nnunet(tmp_path / "one", {"a": [1]}, {"liver": 1}), tmp_path / "cohort")
    assert "this cohort is sealed truth" in text


def test_nobody_can_take_an_empty_cohort_for_none(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a cohort may be there without a case"):
        bool(Cohort(tmp_path, OrganSet.of("liver"), ()))


@pytest.mark.parametrize("sign", ["recipe.toml", ".smiler-export", "sweep.json", "review/ledger.sqlite"])
def test_a_cohort_is_not_begun_in_anothers_place(tmp_path: Path, sign: str) -> None:
    (tmp_path / "cohort" / sign).parent.mkdir(parents=True)
    (tmp_path / "cohort" / sign).write_text("")
    text = refusal(nnunet(tmp_path / "one", {"a": [1]}, {"liver": 1}), tmp_path / "cohort")
    assert "lies there; do: choose another folder" in text


def test_a_whole_that_comes_later_takes_its_part(tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    import_into(nnunet(tmp_path / "one", {"a": [1]}, {"liver_tumor": 1}), cohort)
    assert Cohort.open(cohort).organs["liver_tumor"].part_of is None
    import_into(nnunet(tmp_path / "two", {"b": [1]}, {"liver": 1}), cohort)
    assert Cohort.open(cohort).organs["liver_tumor"].part_of == "liver"


def test_relations_of_old_organs_follow_new_ones_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    first = nnunet(tmp_path / "one", {"a": [1, 2, 3]}, {"kidney": [1, 2, 3], "kidney_cyst_left": 2, "kidney_tumor": 3})
    import_into(first, cohort)
    before = (cohort / "cohort.toml").read_text()
    second = nnunet(tmp_path / "two", {"b": [1]}, {"kidney_left": 1})
    import_into(second, cohort)
    organs = Cohort.open(cohort).organs
    assert organs["kidney_cyst_left"].part_of == "kidney_left"
    assert organs["kidney_left"].part_of == organs["kidney_tumor"].part_of == "kidney"
    assert not organs.exclusive("kidney_tumor", "kidney_left")
    rest = (cohort / "cases.csv").read_text().splitlines()[:2]
    (cohort / "cases.csv").write_text("\n".join(line.removesuffix(",") for line in rest).replace(",kidney_left", ""))
    (cohort / "cohort.toml").write_text(before.replace('part_of = "kidney"\n', ""))
    import_into(second, cohort)
    assert Cohort.open(cohort).organs["kidney_cyst_left"].part_of is None


def test_a_disagreement_about_tumours_is_reported(tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    import_into(msd(tmp_path / "in", {"a": [1, 2]}, {"1": "liver", "2": "cancer"}), cohort)
    report = import_into(nnunet(tmp_path / "out", {"b": [1, 2]}, {"liver": 1, "liver_tumor": 2}), cohort)
    assert report.conflicts == (
        "liver leaves out liver_tumor in b; it includes it in a. Where the part lies in the organ, "
        "write the organ's cells as PATH#1+2",
    )
    assert import_into(nnunet(tmp_path / "third", {"c": [1]}, {"liver": 1}), cohort).conflicts == ()
    other = import_into(nnunet(tmp_path / "d", {"d": [1]}, {"gizzard": 1}), cohort)
    assert other.conflicts[0].startswith("gizzard is not in the table of organs: it is taken to exclude every")


def test_one_label_for_two_exclusive_organs_is_refused(tmp_path: Path) -> None:
    source = nnunet(tmp_path / "src", {"a": [1, 2, 3]}, {"liver": [1, 2], "spleen": [2, 3]})
    text = refusal(source, tmp_path / "cohort")
    assert "case a, organs liver and spleen: two organs that exclude each other have one label; got" in text
    one = ImportOptions(masks={"liver": Path("masks/Liver"), "spleen": Path("masks/Liver")})
    assert "have one label" in refusal(plain(tmp_path / "p", ["a"]), tmp_path / "cohort", one, "folder")


def test_ids_that_differ_in_capitals_only_are_refused(tmp_path: Path) -> None:
    image, label = str(volume(tmp_path / "i.nii.gz")), str(volume(tmp_path / "l.nii.gz", [1]))
    dataset = {name: {"images": [image], "label": label} for name in ("a", "A", "b")}
    text = refusal(nnunet(tmp_path / "src", {}, {"liver": 1}, dataset=dataset), tmp_path / "cohort")
    assert "case ids that are used twice (capitals don't count); got a, A" in text


def test_paths_that_the_ledger_can_not_hold_are_refused(tmp_path: Path) -> None:
    source = MAKE["totalsegmentator"](tmp_path / "s\u200frc", ["s1"])
    assert "can't stand in the ledger" in refusal(source, tmp_path / "cohort")
    cohort = tmp_path / "cohort"
    inside = MAKE["totalsegmentator"](cohort / "auto:x", ["s1"])
    assert "case s1: the path can't stand in the ledger" in refusal(inside, cohort)
    hashed = MAKE["nnunet"](tmp_path / "a#1@0:2", ["p1"])
    import_into(hashed, cohort)
    assert Cohort.open(cohort).mask_path(Cohort.open(cohort).case("p1"), "liver") == hashed / "labelsTr" / "p1.nii.gz"


def test_patients_and_their_pattern(tmp_path: Path) -> None:
    source = MAKE["nnunet"](tmp_path / "src", ["p1_a", "p1_b", "x"])
    text = refusal(source, tmp_path / "cohort", ImportOptions(patient_pattern=r"p(\d)_"))
    assert text == "case 'x': the pattern finds no patient in the case id; do: change --patient-pattern or leave it out"
    for pattern, what in (
        ("(", "not a regular expression"),
        ("a", "exactly one group"),
        ("(a)(b)", "exactly one group"),
    ):
        with pytest.raises(BadInput, match=what):
            ImportOptions(patient_pattern=pattern)
    with pytest.raises(BadInput, match="not a label table"):
        ImportOptions(labels={0: "liver"})


def test_many_ambiguous_organs_are_counted(tmp_path: Path) -> None:
    source = nnunet(tmp_path / "src", {f"c{i:02}": [1] for i in range(11)}, {"liver": 1, "spleen": 2, "aorta": 3})
    text = refusal(source, tmp_path / "cohort")
    assert "got 22 (case organ): c00 spleen, c00 aorta," in text
    assert "c09 aorta and 2 more; do:" in text
    with pytest.raises(Ambiguous) as caught:
        import_into(source, tmp_path / "cohort")
    assert caught.value.pairs[:2] == (("c00", "spleen"), ("c00", "aorta"))


def test_a_damaged_cohort_stays_as_it_is(tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    import_into(MAKE["nnunet"](tmp_path / "src", ["a"]), cohort)
    (cohort / "cohort.toml").unlink()
    assert "not a cohort: the file does not exist" in refusal(MAKE["msd"](tmp_path / "two", ["b"]), cohort)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot write the file"):
        import_into(tmp_path / "two", tmp_path / "file")


@pytest.mark.skipif(not DATA.is_dir(), reason="no sample CT in ../shared/data")
def test_real_cts_with_different_organs_make_one_cohort(tmp_path: Path) -> None:
    options = ImportOptions(
        images=Path("example_ct_3mm.nii.gz"),
        labelmaps=Path("example_ct_3mm_seg_v2fast_117classes.nii.gz"),
        labels=label_table("totalsegmentator-v2"),
        organs=ABDOMINAL,
        absent_means="unannotated",
        taken_as="expert",
    )
    import_into(DATA / "totalsegmentator_example", tmp_path, options, "folder")
    report = import_into(DATA / "msd_task09_spleen", tmp_path)
    assert report == ImportReport(("spleen_8",), (), (), ())
    cohort = Cohort.open(tmp_path)
    assert [case.status("spleen").value for case in cohort] == ["annotated", "annotated"]
    assert [case.status("liver").value for case in cohort] == ["annotated", "unannotated"]
    assert str(cohort.case("example_ct_3mm").cell("liver")).endswith("_seg_v2fast_117classes.nii.gz#5")
