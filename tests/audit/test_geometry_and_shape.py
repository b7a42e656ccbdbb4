"""Masks off the CT's grid are mended with a record; forms, sides and grey values far from anatomy's are noted."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from audit_cohorts import add_case, body, cohort_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from smiler.audit.audit import AuditOptions, audit_cohort
from smiler.audit.fix import fix_geometry, nearest
from smiler.audit.shape import shapes_of
from smiler.domain.cells import parse_cell
from smiler.domain.cohort import Case, Cohort
from smiler.domain.geometry import Geometry
from smiler.domain.organs import OrganSet
from smiler.formats.labels import Labels, read_case_labels
from smiler.formats.nifti import grid_of, write_ct, write_labels
from smiler.formats.volumes import read_header


def shifted(path: Path, by: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> None:
    """The same voxels, the header moved by so many mm."""
    kind: Any = nib
    image = kind.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += by
    kind.save(kind.Nifti1Image(np.asarray(image.dataobj), affine), path)


def test_a_header_is_copied_and_the_record_says_so(tmp_path: Path) -> None:
    case = add_case(tmp_path, "c1", {"liver": "MAP#1+2", "spleen": "MAP#3", "pancreas": "absent"})
    cohort = cohort_of(tmp_path, [case])
    cohort.save()
    before = read_case_labels(cohort, case, read_header(tmp_path / "c1.nii.gz").geometry).drawn
    shifted(tmp_path / "c1_map.nii.gz")
    assert "does not lie on the CT's grid" in str(audit_cohort(cohort).faults[0])
    (fixed,) = fix_geometry(Cohort.open(tmp_path), "copy")
    assert (fixed.case, fixed.source) == ("c1", "c1_map.nii.gz")
    mended = Cohort.open(tmp_path)
    assert str(mended.case("c1").cell("liver")) == f"{fixed.path}#1+2"
    assert audit_cohort(mended).ok
    after = read_case_labels(mended, mended.case("c1"), read_header(tmp_path / "c1.nii.gz").geometry).drawn
    assert np.array_equal(before, after)
    about = json.loads((tmp_path / fixed.path).with_name(Path(fixed.path).name.replace(".nii.gz", ".json")).read_text())
    assert about["made_by"] == "fix-geometry"
    assert about["facts"]["apart_mm"] == "1"
    assert fix_geometry(mended, "copy") == []


def test_a_mask_of_another_size_is_resampled_and_never_copied(tmp_path: Path) -> None:
    case = add_case(tmp_path, "c1", {"liver": "half.nii.gz"})
    fine = np.repeat(np.repeat(np.repeat((body() == 1).astype(np.uint8), 2, 0), 2, 1), 2, 2)
    ct = read_header(tmp_path / "c1.nii.gz").geometry
    step = np.diag([0.5, 0.5, 0.5, 1.0])
    step[:3, 3] = -0.25
    write_labels(tmp_path / "half.nii.gz", fine, grid_of(Geometry.of(fine.shape, ct.matrix @ step)))
    cohort = cohort_of(tmp_path, [case])
    cohort.save()
    assert fix_geometry(cohort, "copy") == []
    assert len(fix_geometry(cohort, "resample")) == 1
    mended = Cohort.open(tmp_path)
    assert np.array_equal(read_case_labels(mended, mended.case("c1"), ct).drawn == 1, body() == 1)


def test_files_of_two_cases_that_spell_alike_stay_apart(tmp_path: Path) -> None:
    """Case p1 with a mask 0_x.nii.gz, and case p1_0 with x.nii.gz: both were fixed/p1_0_0_x.nii.gz."""
    cases = [add_case(tmp_path, "p1", {"liver": "0_x.nii.gz"}), add_case(tmp_path, "p1_0", {"liver": "x.nii.gz"})]
    for name, value in (("0_x.nii.gz", 1), ("x.nii.gz", 2)):
        grid = grid_of(read_header(tmp_path / "p1.nii.gz").geometry)
        write_labels(tmp_path / name, (body() == value).astype(np.uint8), grid)
        shifted(tmp_path / name)
    cohort_of(tmp_path, cases).save()
    fixed = fix_geometry(Cohort.open(tmp_path), "copy")
    assert len({row.path.lower() for row in fixed}) == 2
    mended = Cohort.open(tmp_path)
    for case, value in (("p1", 1), ("p1_0", 2)):
        drawn = read_case_labels(mended, mended.case(case), read_header(tmp_path / f"{case}.nii.gz").geometry).drawn
        assert np.array_equal(drawn == 1, body() == value)


def test_a_mask_that_was_mended_is_never_written_over(tmp_path: Path) -> None:
    name = f"{'c1_0_' * 13}.nii.gz"  # a name that was cut became its own source's
    cohort_of(tmp_path, [add_case(tmp_path, "c1", {"liver": name})]).save()
    grid = grid_of(read_header(tmp_path / "c1.nii.gz").geometry)
    write_labels(tmp_path / name, (body() > 0).astype(np.uint8), grid)
    seen = {}
    for _ in range(3):
        shifted(tmp_path / "c1.nii.gz")
        (fixed,) = fix_geometry(Cohort.open(tmp_path), "copy")
        assert fixed.source != fixed.path
        for path, content in seen.items():
            assert (tmp_path / path).read_bytes() == content
        seen[fixed.path] = (tmp_path / fixed.path).read_bytes()
    assert len(seen) == 3


def test_what_a_person_wrote_while_masks_were_mended_stays(tmp_path: Path) -> None:
    case = add_case(tmp_path, "c1", {"liver": "MAP#1+2", "spleen": "MAP#3", "pancreas": ""})
    cohort_of(tmp_path, [case]).save()
    early = Cohort.open(tmp_path)
    shifted(tmp_path / "c1_map.nii.gz")

    class Person:
        notes: list[str] = []  # noqa: RUF012

        def track(self, items: Any, title: str, total: int) -> Any:
            yield from items
            now = Cohort.open(tmp_path)
            cells = {"spleen": parse_cell("absent"), "pancreas": parse_cell("absent")}
            replace(now, cases=(now.case("c1").with_cells(cells),)).save()

        def note(self, text: str) -> None:
            self.notes.append(text)

    (fixed,) = fix_geometry(early, "copy", progress=Person())
    mended = Cohort.open(tmp_path).case("c1")
    assert {key: str(cell) for key, cell in mended.cells.items()} == {
        "liver": f"{fixed.path}#1+2", "spleen": "absent", "pancreas": "absent",
    }  # fmt: skip
    assert Person.notes == ["changed by others meanwhile, and left so: c1 spleen"]


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.integers(0, 999))
def test_nearest_neighbour_is_what_a_voxel_by_voxel_search_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = Geometry.canonical(rng.integers(2, 5, 3).tolist(), rng.uniform(0.5, 3, 3).tolist())
    b = Geometry.canonical(rng.integers(2, 5, 3).tolist(), rng.uniform(0.5, 3, 3).tolist())
    codes = rng.integers(1, 9, a.shape).astype(np.uint8)
    out = nearest(codes, a, b)
    for index in np.ndindex(*b.shape):
        at = np.linalg.inv(a.matrix) @ b.matrix @ [*index, 1]
        near = np.rint(at[:3]).astype(int)
        if np.abs(at[:3] - np.floor(at[:3]) - 0.5).min() < 1e-6:
            continue
        inside = all(0 <= n < size for n, size in zip(near, a.shape, strict=True))
        assert out[index] == (codes[tuple(near)] if inside else 0)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.integers(0, 999))
def test_shapes_are_what_scipy_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(2, 7, 3).tolist())
    drawn = rng.integers(0, 4, shape).astype(np.int32) * (rng.random(shape) < 0.3)
    hu = rng.integers(-100, 100, shape).astype(np.int16)
    labels = Labels(drawn.astype(np.int32), np.zeros(shape, np.int32), np.full(shape[0], 3, np.int32))
    found = shapes_of(labels, OrganSet.of("a", "b"), hu)
    for k, key in enumerate(("a", "b")):
        mask: NDArray[np.bool_] = (drawn >> k & 1).astype(bool)
        if not mask.any():
            assert key not in found
            continue
        pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        assert found[key].pieces == count
        assert found[key].largest == pytest.approx(sizes.max() / sizes.sum())
        assert found[key].hu == pytest.approx(hu[mask].mean())
        assert ("lowest slice" in found[key].borders) == mask[0].any()
        assert ("left" in found[key].borders) == mask[:, :, -1].any()


def torso(folder: Path, name: str, liver_hu: int = 90, split: bool = False, flip: bool = False) -> Case:
    """A liver of 1.7 l, kidneys below it and a spleen in an image of 24 l, at 4 mm."""
    shape = (60, 80, 80)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[35:55, 20:52, 10:50] = 1
    labels[8:25, 40:52, 15:30] = 2
    labels[8:25, 40:52, 52:66] = 3
    labels[36:54, 45:60, 60:76] = 4
    if split:
        labels[35:55, 30:35] = 0
    labels = labels[::-1].copy() if flip else labels
    hu = np.where(labels == 1, liver_hu, np.where(labels > 0, 110, -100)).astype(np.int16)
    hu[0, 0, 0] = len(name)
    geometry = Geometry.canonical(shape, (4.0, 4.0, 4.0))
    write_ct(folder / f"{name}.nii.gz", hu, geometry)
    write_labels(folder / f"{name}_map.nii.gz", labels, grid_of(geometry))
    keys = ("liver", "kidney_right", "kidney_left", "spleen")
    cells = {key: parse_cell(f"{name}_map.nii.gz#{n}") for n, key in enumerate(keys, start=1)}
    return Case(name, name, f"{name}.nii.gz", cells)


TORSO = OrganSet.of("liver", "kidney_right", "kidney_left", "spleen")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"liver_hu": -800}, "organ liver: its mean is -800 HU, where 89 are usual"),
        ({"split": True}, "organ liver: in 2 pieces, the largest with 63 % of its voxels"),
        ({"flip": True}, "may be upside down: liver below kidney_right, spleen below kidney_left"),
    ],
)
def test_what_is_far_from_anatomy_is_noted(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    cohort = Cohort(tmp_path, TORSO, (torso(tmp_path, "c1", **change),))
    audit = audit_cohort(cohort, AuditOptions(deep=True))
    assert audit.ok
    if words:
        assert any(words in note for note in audit.notes), audit.notes
    else:
        assert audit.notes == ()
    shallow = audit_cohort(cohort)
    assert not any("HU" in note for note in shallow.notes)


def test_a_volume_far_from_the_usual_is_noted_only_where_the_organ_is_whole(tmp_path: Path) -> None:
    case = torso(tmp_path, "c1")
    labels = np.zeros((60, 80, 80), dtype=np.uint8)
    labels[30:32, 30:33, 20:23] = 1
    write_labels(tmp_path / "c1_map.nii.gz", labels, grid_of(Geometry.canonical(labels.shape, (4.0, 4.0, 4.0))))
    cohort = Cohort(tmp_path, OrganSet.of("liver"), (Case("c1", "c1", case.image, {"liver": case.cell("liver")}),))
    assert any("1.152 ml, where 1838 ml are usual" in note for note in audit_cohort(cohort).notes)
    labels[0:32, 30:33, 20:23] = 1
    write_labels(tmp_path / "c1_map.nii.gz", labels, grid_of(Geometry.canonical(labels.shape, (4.0, 4.0, 4.0))))
    assert audit_cohort(cohort).notes == (
        "organ liver: reaches the first or last slice in 1 case (volumes not judged): c1",
    )


def test_a_copied_header_keeps_the_files_arrays_together(tmp_path: Path) -> None:
    case = add_case(tmp_path, "c1", {"liver": "MAP#1+2", "spleen": "MAP#3"})
    kind: Any = nib
    image = kind.load(tmp_path / "c1_map.nii.gz")
    kind.save(kind.Nifti1Image(np.asarray(image.dataobj), np.eye(4)), tmp_path / "c1_map.nii.gz")
    cohort = cohort_of(tmp_path, [case])
    cohort.save()
    (fixed,) = fix_geometry(cohort, "copy")
    mended = kind.load(tmp_path / fixed.path)
    assert np.array_equal(np.asarray(mended.dataobj), np.asarray(image.dataobj))
    assert np.allclose(mended.affine, kind.load(tmp_path / "c1.nii.gz").affine)
    assert audit_cohort(Cohort.open(tmp_path)).ok


def test_a_mask_of_another_patient_is_not_resampled_into_nothing(tmp_path: Path) -> None:
    case = add_case(tmp_path, "c1", {"liver": "MAP#1+2"})
    shifted(tmp_path / "c1_map.nii.gz", (900.0, 0.0, 0.0))
    cohort = cohort_of(tmp_path, [case])
    cohort.save()
    assert fix_geometry(cohort, "resample") == []
    assert Cohort.open(tmp_path).cases == cohort.cases
