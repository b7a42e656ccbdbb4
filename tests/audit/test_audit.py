"""The audit of cohorts on disk: counts, coverage, volumes, and every fault of every case at once."""

import json
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from audit_cohorts import ORGANS, SPACING, add_case, body, cohort_of

from smiler.audit.audit import Audit, AuditOptions, Coverage, audit_cohort
from smiler.domain.cohort import Case, Cohort
from smiler.domain.evidence import Code, from_masks
from smiler.domain.geometry import Geometry
from smiler.domain.organs import Organ, OrganSet
from smiler.formats.labels import LabelOptions
from smiler.formats.nifti import ReadOptions, grid_of, write_ct, write_labels

ALL = {"liver": "MAP#1+2", "tumour": "MAP#2", "spleen": "MAP#3", "pancreas": "MAP#4"}
VOXELS = body().size


@pytest.fixture
def mixed(tmp_path: Path) -> Cohort:
    """Every kind of cell."""
    return cohort_of(
        tmp_path,
        [
            add_case(tmp_path, "c1", ALL),
            add_case(tmp_path, "c2", {"tumour": "MAP#2", "spleen": "absent", "pancreas": "MAP#4@0:4"}),
            add_case(tmp_path, "c3", {"liver": "MAP#1+2@0:3", "spleen": "auto:MAP#3"}),
        ],
    )


def faults_of(audit: Audit) -> list[str]:
    return [str(fault) for fault in audit.faults]


def test_coverage_is_the_ledgers(mixed: Cohort) -> None:
    audit = audit_cohort(mixed)
    assert audit.ok, faults_of(audit)
    assert audit.cases == ("c1", "c2", "c3")
    assert audit.organs == ORGANS.keys
    a, p, o, m, u = Coverage.ANNOTATED, Coverage.PARTIAL, Coverage.ABSENT, Coverage.AUTO, Coverage.UNANNOTATED
    assert audit.coverage == ((a, a, a, a), (u, a, o, p), (p, u, m, u))
    assert [audit.alpha(key) for key in audit.organs] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1 / 3])
    assert audit.alpha("spleen") == mixed.missing_share("spleen")


def test_every_voxel_of_every_case_has_one_code(mixed: Cohort) -> None:
    for codes in audit_cohort(mixed).voxels.values():
        assert sum(codes.values()) == 3 * VOXELS


def test_a_complete_case_has_the_codes_of_its_masks(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, [add_case(tmp_path, "c1", ALL)])
    values = {"liver": (1, 2), "tumour": (2,), "spleen": (3,), "pancreas": (4,)}
    masks = {key: np.isin(body(), labels) for key, labels in values.items()}
    codes = from_masks(masks, {key: cohort.cases[0].status(key) for key in masks}, ORGANS)
    voxels = audit_cohort(cohort).voxels
    for key, row in zip(ORGANS.keys, codes, strict=True):
        assert voxels[key] == {code: int((row == code).sum()) for code in Code}


def test_parts_absences_and_slice_ranges_speak_for_other_organs(tmp_path: Path) -> None:
    cells = {"tumour": "MAP#2", "spleen": "absent", "pancreas": "MAP#4@0:4"}
    voxels = audit_cohort(cohort_of(tmp_path, [add_case(tmp_path, "c2", cells)])).voxels
    slice_voxels = VOXELS // 6
    assert voxels["liver"][Code.IMPLIED] == 2  # the tumour's
    assert voxels["liver"][Code.EXCLUDED] == 2  # the pancreas's
    assert voxels["spleen"][Code.NEGATIVE] == VOXELS
    assert voxels["pancreas"][Code.POSITIVE] == 2
    assert voxels["pancreas"][Code.NEGATIVE] == 4 * slice_voxels - 2
    assert voxels["pancreas"][Code.UNKNOWN] == 2 * slice_voxels


def test_a_proposal_counts_only_where_nothing_is_known(tmp_path: Path) -> None:
    cells = {"liver": "MAP#1+2", "spleen": "auto:MAP#1+3"}
    voxels = audit_cohort(cohort_of(tmp_path, [add_case(tmp_path, "c1", cells)])).voxels
    assert voxels["spleen"][Code.PSEUDO] == int((body() == 3).sum())
    assert voxels["spleen"][Code.EXCLUDED] == int(np.isin(body(), (1, 2)).sum())


def test_volumes_are_those_of_organs_drawn_on_all_slices(mixed: Cohort) -> None:
    volumes = audit_cohort(mixed).volumes_ml
    voxel_ml = 2.0 * 1.0 * 1.0 / 1000
    liver = int(np.isin(body(), (1, 2)).sum()) * voxel_ml
    assert volumes["c1", "liver"] == pytest.approx(liver)
    assert set(volumes) == {*(("c1", key) for key in ORGANS.keys), ("c2", "tumour")}


def test_the_baselines_wrong_negatives_are_the_mean_organ_in_every_case_where_nobody_looked(tmp_path: Path) -> None:
    small = body()
    small[1, 1, 0] = 0
    cases = [
        add_case(tmp_path, "c1", {"liver": "MAP#1+2"}),
        add_case(tmp_path, "c2", {"liver": "MAP#1+2"}, small),
        add_case(tmp_path, "c3", {"spleen": "MAP#3", "pancreas": "MAP#4@0:4"}),
        add_case(tmp_path, "c4", {"liver": "auto:MAP#1"}),
        add_case(tmp_path, "c5", {"liver": "absent"}),
    ]
    audit = audit_cohort(cohort_of(tmp_path, cases))
    liver = int(np.isin(body(), (1, 2)).sum())
    assert audit.expected_false_negatives("liver") == round((liver - 0.5) * 2)
    assert audit.expected_false_negatives("spleen") == 4 * int((body() == 3).sum())
    assert audit.expected_false_negatives("pancreas") == 4 * 2  # drawn on some slices only, for want of better
    assert audit.expected_false_negatives("tumour") == 0  # drawn nowhere: nothing to estimate from


# --- faults and notes


def test_faults_of_several_cases_are_listed_at_once(tmp_path: Path) -> None:
    shifted = Geometry.of(body().shape, [[0, 0, 1, 0.5], [0, 1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1]])
    cases = [
        add_case(tmp_path, "c1", {"liver": "gone.nii.gz", "spleen": "MAP#7"}),
        add_case(tmp_path, "c2", ALL),
        add_case(tmp_path, "c3", {"spleen": "MAP#3"}),
        add_case(tmp_path, "c4", {"liver": "MAP#1+2+3", "spleen": "MAP#3"}),
    ]
    write_labels(tmp_path / "c3_map.nii.gz", body(), grid_of(shifted))
    audit = audit_cohort(cohort_of(tmp_path, cases))
    assert not audit.ok
    assert faults_of(audit) == [
        "case c1, organ liver, file gone.nii.gz: the file does not exist",
        "case c1, organ spleen, file c1_map.nii.gz: the organ is annotated and its mask is empty;"
        " got no voxel of label 7; do: write absent if an expert looked and it is not there, else leave the cell empty",
        "case c3, organ spleen, file c3_map.nii.gz: the mask does not lie on the CT's grid;"
        " got mask axes LPS, CT axes LPS, 0.5 mm apart:"
        " mask SPL (6, 5, 8) at 2.000x1.000x1.000 mm, origin (0.50, 0.00, 0.00),"
        " CT SPL (6, 5, 8) at 2.000x1.000x1.000 mm, origin (0.00, 0.00, 0.00);"
        " do: see whether it is this CT's mask; if so: smiler audit --fix-geometry copy (or resample)",
        "case c4, organ liver, spleen, file c4_map.nii.gz: two organs that exclude each other share voxels;"
        " got 4 voxels; do: mend the masks, declare part_of or overlaps, or set overlap = first",
    ]
    assert sum(audit.voxels["liver"].values()) == VOXELS  # c2 alone can be read
    assert len(audit.coverage) == 4


def test_a_missing_image_does_not_hide_the_faults_of_its_masks(tmp_path: Path) -> None:
    case = add_case(tmp_path, "c1", {"liver": "MAP#1", "tumour": "gone.nii.gz", "spleen": "MAP#3"})
    (tmp_path / "c1.nii.gz").unlink()
    (tmp_path / "c1_map.nii.gz").write_bytes((tmp_path / "c1_map.nii.gz").read_bytes()[:-20])
    audit = audit_cohort(cohort_of(tmp_path, [case]))
    image, broken, gone = faults_of(audit)
    assert image == "case c1, image, file c1.nii.gz: the file does not exist"
    assert broken.startswith("case c1, organ liver, spleen, file c1_map.nii.gz: the file is truncated")
    assert gone == "case c1, organ tumour, file gone.nii.gz: the file does not exist"
    assert audit.voxels["liver"] == dict.fromkeys(Code, 0)


def test_only_a_deep_audit_reads_the_cts_voxels(tmp_path: Path) -> None:
    labels = np.zeros((8, 256, 256), np.uint8)
    labels[2, 40:80, 40:80] = 1
    case, image = add_case(tmp_path, "c1", {"liver": "MAP#1"}, labels), tmp_path / "c1.nii.gz"
    noise = np.random.default_rng(0).integers(-1000, 1000, labels.shape).astype(np.int16)
    write_ct(image, noise, Geometry.canonical(labels.shape, SPACING))
    image.write_bytes(image.read_bytes()[:-10])
    cohort = cohort_of(tmp_path, [case])
    assert audit_cohort(cohort).ok
    (fault,) = faults_of(audit_cohort(cohort, AuditOptions(deep=True)))
    assert fault.startswith("case c1, image, file c1.nii.gz: the file is truncated")


def test_a_deep_audit_finds_nan_and_notes_what_is_clamped(tmp_path: Path) -> None:
    case = add_case(tmp_path, "c1", ALL)
    values = np.zeros(body().shape[::-1], np.float32)
    values[0, 0, :3] = np.nan
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "c1.nii.gz")
    cohort = cohort_of(tmp_path, [case])
    (fault,) = faults_of(audit_cohort(cohort, AuditOptions(deep=True)))
    assert fault.startswith("case c1, image, file c1.nii.gz: voxels are NaN or infinite; got 3 of them")
    clamped = audit_cohort(cohort, AuditOptions(deep=True, reading=ReadOptions(nonfinite="clamp")))
    assert clamped.ok
    assert "case c1, image, file c1.nii.gz: 3 NaN or infinite voxels set to -1024 HU" in clamped.notes


def test_label_values_that_no_cell_claims_are_noted(tmp_path: Path) -> None:
    cases = [add_case(tmp_path, "c1", ALL), add_case(tmp_path, "c2", {"liver": "MAP#1+2"})]
    notes = audit_cohort(cohort_of(tmp_path, cases)).notes
    assert "case c1, file c1_map.nii.gz: no cell claims label values 9" in notes
    assert "case c2, file c2_map.nii.gz: no cell claims label values 3, 4, 9" in notes


def test_the_readers_notes_are_handed_on(tmp_path: Path) -> None:
    case = add_case(tmp_path, "c1", {"liver": "MAP#1+2@0:2"})
    notes = audit_cohort(cohort_of(tmp_path, [case])).notes
    outside = int(np.isin(body()[2:], (1, 2)).sum())
    assert f"case c1, organ liver, file c1_map.nii.gz: {outside} voxels outside the annotated slices ignored" in notes


def test_overlaps_settled_as_asked_are_counted_and_noted(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, [add_case(tmp_path, "c1", {"liver": "MAP#1+2+4", "pancreas": "MAP#4+3"})])
    audit = audit_cohort(cohort, AuditOptions(labels=LabelOptions(overlap="first")))
    assert audit.ok
    assert audit.voxels["pancreas"][Code.POSITIVE] == int((body() == 3).sum())
    assert any("2 voxels of both liver and pancreas" in note for note in audit.notes)


def test_organs_and_cases_that_teach_nothing_are_noted(tmp_path: Path) -> None:
    cases = [add_case(tmp_path, "c1", {"liver": "MAP#1"}), add_case(tmp_path, "c2", {"spleen": "auto:MAP#3"})]
    notes = audit_cohort(cohort_of(tmp_path, cases)).notes
    assert "organ spleen: annotated in no case, so that it can't be learned" in notes
    assert "no expert has looked for any organ in 1 of 2 cases: c2" in notes
    assert not any(note.startswith("organ liver") for note in notes)


def test_a_cohort_without_cases_is_a_fault(tmp_path: Path) -> None:
    audit = audit_cohort(cohort_of(tmp_path, []))
    assert faults_of(audit) == [f"{tmp_path / 'cases.csv'}: the cohort has no case; do: smiler import SOURCE COHORT"]
    assert audit.alpha("liver") == 0


# --- plausibility


def test_a_mirrored_case_is_noted_with_case_organ_and_numbers(tmp_path: Path) -> None:
    mirrored = np.ascontiguousarray(body()[:, :, ::-1])
    cases = [add_case(tmp_path, "c1", ALL), add_case(tmp_path, "c2", ALL, mirrored)]
    notes = [note for note in audit_cohort(cohort_of(tmp_path, cases)).notes if "mirrored" in note]
    assert notes == [
        "case c2, organ liver: may be mirrored: its centre is at 0.86 of the image's width"
        " (0 = patient's right, 1 = left) and is expected on the right",
        "case c2, organ spleen: may be mirrored: its centre is at 0.14 of the image's width"
        " (0 = patient's right, 1 = left) and is expected on the left",
    ]


def rods(folder: Path, lengths: Iterable[int], ranges: str = "") -> Cohort:
    """One organ in each case: a rod of so many voxels."""
    organs = OrganSet((Organ("aorta", "Aorta"),))
    cases = []
    for number, length in enumerate(lengths):
        labels = np.zeros((2, 10, 20), np.uint8)
        labels[0].reshape(-1)[:length] = 1
        cases.append(add_case(folder, f"c{number}", {"aorta": f"MAP#1{ranges}"}, labels))
    return cohort_of(folder, cases, organs)


def test_a_volume_far_from_the_others_is_noted(tmp_path: Path) -> None:
    audit = audit_cohort(rods(tmp_path, [100, 110, 95, 105, 90, 120, 100, 8]))
    assert audit.notes == ("case c7, organ aorta: 0.016 ml lies 25.5 sd below the other 7 cases (mean 0.2049 ml)",)


@pytest.mark.parametrize(
    ("lengths", "ranges"),
    [
        ([100, 110, 95, 105, 90, 120, 8], ""),  # too few to say
        ([100, 110, 95, 105, 90, 120, 100, 130], ""),  # within
        ([100, 100, 100, 100, 100, 100, 100, 101], ""),  # no spread at all
        ([100, 110, 95, 105, 90, 120, 100, 8], "@0:1"),  # a part of an organ has no volume to compare
    ],
)
def test_volumes_that_say_nothing_are_not_noted(tmp_path: Path, lengths: list[int], ranges: str) -> None:
    assert audit_cohort(rods(tmp_path, lengths, ranges)).notes == ()


# --- as JSON, and while it runs


def test_json_has_exactly_its_shape(mixed: Cohort) -> None:
    audit = audit_cohort(mixed)
    found = json.loads(json.dumps(audit.to_json()))
    assert list(found) == [
        *("cases", "organs", "titles", "coverage", "alpha", "voxels"),
        *("expected_false_negatives", "volumes_ml", "faults", "notes"),
    ]
    assert found["titles"] == {"liver": "Liver", "tumour": "Tumour", "spleen": "Spleen", "pancreas": "pancreas"}
    assert found["coverage"][1] == ["unannotated", "annotated", "absent", "partial"]
    assert list(found["voxels"]["liver"]) == ["positive", "negative", "excluded", "implied", "pseudo", "unknown"]
    assert found["voxels"]["liver"]["implied"] == audit.voxels["liver"][Code.IMPLIED] == 2
    assert found["volumes_ml"]["tumour"] == pytest.approx({"c1": 0.004, "c2": 0.004})
    assert found["volumes_ml"]["pancreas"] == pytest.approx({"c1": 0.004})
    assert found["alpha"]["liver"] == pytest.approx(1 / 3)
    assert found["faults"] == []
    assert found["notes"] == list(audit.notes)


class Steps:
    """Progress that remembers."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.seen: list[Any] = []
        self.stop_after = stop_after

    def track(self, items: Iterable[Any], title: str, total: int) -> Iterator[Any]:
        self.title, self.total = title, total
        for item in items:
            self.seen.append(item)
            if len(self.seen) == self.stop_after:
                raise KeyboardInterrupt
            yield item

    def note(self, text: str) -> None:
        raise AssertionError(text)


def test_progress_counts_every_case(mixed: Cohort) -> None:
    steps = Steps()
    audit_cohort(mixed, progress=steps)
    assert (steps.title, steps.total, len(steps.seen)) == ("auditing", 3, 3)


def test_a_user_who_stops_does_not_wait_for_the_other_cases(tmp_path: Path) -> None:
    case = add_case(tmp_path, "c1", ALL)
    many = [Case(f"c{n}", "p", case.image, case.cells) for n in range(500)]
    steps = Steps(stop_after=3)
    with pytest.raises(KeyboardInterrupt):
        audit_cohort(cohort_of(tmp_path, many), progress=steps)
    assert len(steps.seen) == 3
    assert threading.active_count() < 10
