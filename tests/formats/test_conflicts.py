"""What an import reports and never merges silently: conventions, the same CT twice, data sets that share patients."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from sources import EXPERT, msd, nnunet, refusal, totalsegmentator, volume
from test_layouts import make

from smiler.audit.audit import audit_cohort
from smiler.domain.cohort import Cohort
from smiler.formats import ImportOptions
from smiler.formats.importing import import_into


def noise(path: Path, seed: int, axes: str = "LPS") -> None:
    """A CT that is no other; with other axes, the same voxels in another order."""
    array = np.random.default_rng(seed).integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    if axes == "RPS":
        array, affine = array[::-1], np.diag([1.0, -1.0, 2.0, 1.0])
        affine[0, 3] = -3.0
    nib.save(nib.Nifti1Image(array, affine), path)  # type: ignore[no-untyped-call,attr-defined]


def test_kidneys_joined_in_one_source_and_split_in_another(tmp_path: Path) -> None:
    import_into(make("kits", tmp_path / "kits", (1,)), tmp_path / "cohort")
    split = totalsegmentator(tmp_path / "ts", {"s1": {"kidney_left": [1], "kidney_right": [0, 1]}})
    report = import_into(split, tmp_path / "cohort", EXPERT)
    (text,) = [text for text in report.conflicts if "kidney" in text]
    assert "kidney is drawn as one in case_00001 and as kidney_left, kidney_right in s1" in text
    cohort = Cohort.open(tmp_path / "cohort")
    assert str(cohort.case("s1").cell("kidney")) == ""
    assert audit_cohort(cohort).ok


def test_portal_vein_with_and_without_the_splenic_vein(tmp_path: Path) -> None:
    import_into(
        totalsegmentator(tmp_path / "a", {"a": {"portal_vein_and_splenic_vein": [1]}}), tmp_path / "cohort", EXPERT
    )
    report = import_into(totalsegmentator(tmp_path / "b", {"b": {"portalvein": [1]}}), tmp_path / "cohort", EXPERT)
    assert any("portal_vein_and_splenic_vein is drawn as one in a" in text for text in report.conflicts)


@pytest.mark.parametrize("axes", ["LPS", "RPS"])
def test_the_same_voxels_under_two_ids_are_reported(tmp_path: Path, axes: str) -> None:
    first = msd(tmp_path / "one", {"liver_1": [1], "liver_2": [1]}, {"1": "liver"})
    other = nnunet(tmp_path / "two", {"case_7": [1]}, {"background": 0, "liver": 1})
    noise(first / "imagesTr" / "liver_1.nii.gz", 1)
    noise(first / "imagesTr" / "liver_2.nii.gz", 2)
    noise(other / "imagesTr" / "case_7_0000.nii.gz", 2, axes)
    assert import_into(first, tmp_path / "cohort").conflicts == ()
    report = import_into(other, tmp_path / "cohort")
    expected = "cases liver_2, case_7: the same CT, voxel by voxel; give them one patient in cases.csv"
    assert [text for text in report.conflicts if text.startswith(expected)]
    assert any(note.startswith(expected) for note in audit_cohort(Cohort.open(tmp_path / "cohort")).notes)


def test_data_sets_with_patients_in_common_are_named(tmp_path: Path) -> None:
    import_into(make("lits", tmp_path / "lits", (1,)), tmp_path / "cohort")
    report = import_into(make("ctorg", tmp_path / "ctorg", (5,)), tmp_path / "cohort")
    assert any("CT-ORG is mostly made of LiTS" in text for text in report.conflicts)
    rows = [json.loads(line) for line in (tmp_path / "cohort" / "imports.jsonl").read_text().splitlines()]
    assert [(row["format"], row["cases"]) for row in rows] == [("lits", ["1"]), ("ctorg", ["5"])]


def test_another_organ_of_the_same_image_is_added_to_its_case(tmp_path: Path) -> None:
    source = tmp_path / "src"
    volume(source / "images" / "p1.nii.gz")
    volume(source / "liver.nii.gz", [1])
    volume(source / "spleen.nii.gz", [0, 1])
    for organ in ("liver", "spleen"):
        masks = {organ: Path(f"{organ}.nii.gz")}
        import_into(source, tmp_path / "cohort", ImportOptions(images=Path("images/p1.nii.gz"), masks=masks), "folder")
    (case,) = Cohort.open(tmp_path / "cohort")
    assert {key for key, cell in case.cells.items() if cell.path} == {"liver", "spleen"}
    again = ImportOptions(images=Path("images/p1.nii.gz"), masks={"liver": Path("spleen.nii.gz")})
    assert "the cohort has these cases already" in refusal(source, tmp_path / "cohort", again, "folder")


def test_a_damaged_record_of_imports_is_named(tmp_path: Path) -> None:
    import_into(make("lits", tmp_path / "lits", (1,)), tmp_path / "cohort")
    (tmp_path / "cohort" / "imports.jsonl").write_text("{]\n")
    text = refusal(make("ctorg", tmp_path / "ctorg", (5,)), tmp_path / "cohort")  # and nothing was written
    assert "imports.jsonl, line 1: the line is not JSON" in text
