"""Hiding annotations: nested over alpha, the right number of each organ, and nothing hidden left on disk."""

import itertools
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smiler.domain.cells import ABSENT, Cell, SliceRange, Status, annotated, proposed
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.geometry import Geometry
from smiler.domain.organs import Organ, OrganSet
from smiler.evaluation.truth import Truth
from smiler.experiments.hide import hide, kept_pairs
from smiler.formats.nifti import grid_of, read_labels, write_ct, write_labels

ORGANS = OrganSet((Organ("liver"), Organ("tumour", part_of="liver"), Organ("spleen")))
SHAPE = (4, 5, 6)
ALPHAS = (0.3, 0.5, 0.7, 0.9)
CASES = 11


def add_case(folder: Path, number: int) -> Case:
    """Liver 1 with its tumour 2, spleen 3 in odd cases; the last case has only a proposal of a spleen."""
    geometry = Geometry.canonical(SHAPE, (3.0, 1.0, 1.0))
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 1:4, 0:3] = 1
    labels[1, 2, 1 + number % 2] = 2
    labels[:, 1, 5] = 3
    name = f"p{number:02d}"
    write_ct(folder / "images" / f"{name}.nii.gz", np.full(SHAPE, number, np.int16), geometry)
    write_labels(folder / "labels" / f"{name}.nii.gz", labels, grid_of(geometry))
    path = f"labels/{name}.nii.gz"
    spleen = annotated(path, (3,)) if number % 2 else ABSENT
    cells: dict[str, Cell] = {
        "liver": annotated(path, (1, 2), (SliceRange(0, 3),) if number == 0 else ()),
        "tumour": annotated(path, (2,)),
        "spleen": proposed(path) if number == CASES - 1 else spleen,
    }
    return Case(name, f"patient {number}", f"images/{name}.nii.gz", cells)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("complete")
    made = Cohort(folder, ORGANS, tuple(add_case(folder, n) for n in range(CASES)), "complete")
    made.save()
    return made


@pytest.mark.parametrize("seed", range(5))
def test_what_is_hidden_at_a_lower_alpha_is_hidden_at_a_higher_one(cohort: Cohort, seed: int) -> None:
    kept = [kept_pairs(cohort, alpha, seed) for alpha in (0.0, *ALPHAS, 1.0)]
    assert all(more >= less for more, less in itertools.pairwise(kept))
    known = {(c.id, k) for c in cohort for k in ORGANS.keys if c.status(k) is not Status.UNANNOTATED}
    assert kept[0] == known


@pytest.mark.parametrize("alpha", [*ALPHAS, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_of_each_organ_the_share_stays_and_at_least_one_pair_with_voxels(
    cohort: Cohort, alpha: float, seed: int
) -> None:
    kept = kept_pairs(cohort, alpha, seed)
    for key in ORGANS.keys:
        known = [case for case in cohort if case.status(key) is not Status.UNANNOTATED]
        stay = [case for case in known if (case.id, key) in kept]
        assert len(stay) == max(1, round((1 - alpha) * len(known)))
        assert any(case.status(key) is Status.ANNOTATED for case in stay)


def test_another_seed_hides_others_and_the_order_of_cases_does_not_matter(cohort: Cohort) -> None:
    backwards = replace(cohort, cases=cohort.cases[::-1])
    assert kept_pairs(cohort, 0.5, 3) == kept_pairs(backwards, 0.5, 3)
    assert len({kept_pairs(cohort, 0.5, seed) for seed in range(6)}) == 6


def files(folder: Path) -> dict[str, int]:
    """Every file with its checksum; the hidden cohort's folder alone differs between two runs."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): zlib.crc32(path.read_bytes()) for path in found}


@pytest.fixture(scope="module")
def hidden(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hidden") / "out"
    hide(cohort, out, 0.7, seed=1)
    return out


def test_the_same_seed_makes_the_same_files(cohort: Cohort, hidden: Path, tmp_path: Path) -> None:
    hide(cohort, tmp_path / "again", 0.7, seed=1)
    assert files(tmp_path / "again") == files(hidden)
    backwards = replace(cohort, cases=cohort.cases[::-1])
    hide(backwards, tmp_path / "backwards", 0.7, seed=1)
    ledgers = ("cohort/cases.csv", "truth/cases.csv")
    one, two = files(tmp_path / "backwards"), files(hidden)
    assert {k: v for k, v in one.items() if k not in ledgers} == {k: v for k, v in two.items() if k not in ledgers}
    for name in ledgers:
        rows = [sorted((folder / name).read_text().splitlines()) for folder in (tmp_path / "backwards", hidden)]
        assert rows[0] == rows[1]


def test_the_ledger_keeps_exactly_the_pairs_that_stay(cohort: Cohort, hidden: Path) -> None:
    kept = kept_pairs(cohort, 0.7, 1)
    found = Cohort.open(hidden / "cohort")
    assert [case.id for case in found] == [case.id for case in cohort]
    for case in found:
        for key in ORGANS.keys:
            expected = cohort.case(case.id).status(key) if (case.id, key) in kept else Status.UNANNOTATED
            assert case.status(key) is expected
            assert not case.cell(key).auto


def test_no_file_of_the_hidden_cohort_holds_a_hidden_organ(cohort: Cohort, hidden: Path) -> None:
    kept, folder = kept_pairs(cohort, 0.7, 1), hidden / "cohort"
    drawn = {(c, k) for c, k in kept if cohort.case(c).status(k) is Status.ANNOTATED}
    assert {path.name for path in folder.rglob("*.nii.gz")} == {f"{case}.{key}.nii.gz" for case, key in drawn}
    for case, key in drawn:
        mask, grid = read_labels(folder / "labels" / f"{case}.{key}.nii.gz")
        labels, own = read_labels(cohort.folder / "labels" / f"{case}.nii.gz")
        assert grid.geometry == own.geometry
        np.testing.assert_array_equal(mask, np.isin(labels, cohort.case(case).cell(key).labels))
    for case in Cohort.open(folder):
        masks = {case.cell(key).path for key in ORGANS.keys} - {""}
        assert all(path.startswith("labels/") and (folder / path).exists() for path in masks)
        assert case.image == str(cohort.folder / "images" / f"{case.id}.nii.gz")


def test_slice_ranges_stay_with_the_mask(cohort: Cohort, tmp_path: Path) -> None:
    hide(cohort, tmp_path / "out", 0.0)
    assert Cohort.open(tmp_path / "out" / "cohort").case("p00").cell("liver").ranges == (SliceRange(0, 3),)


def test_the_truth_is_sealed_and_whole(cohort: Cohort, hidden: Path) -> None:
    with pytest.raises(BadInput, match="sealed truth"):
        Cohort.open(hidden / "truth")
    truth = Truth.open(hidden / "truth").cohort
    assert truth.sealed
    for case, original in zip(truth, cohort, strict=True):
        for key in ORGANS.keys:
            assert case.status(key) is original.status(key)
            assert case.cell(key).labels == original.cell(key).labels
            if case.cell(key).path:
                assert truth.mask_path(case, key) == cohort.mask_path(original, key)


def test_a_second_time_in_the_same_folder_is_refused(cohort: Cohort, hidden: Path) -> None:
    before = files(hidden)
    with pytest.raises(BadInput, match=r"a hidden cohort is here already.*choose another folder"):
        hide(cohort, hidden, 0.3)
    assert files(hidden) == before


def test_one_that_was_stopped_is_done_again_and_leaves_no_mask_of_another(
    cohort: Cohort, hidden: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    hide(cohort, out, 0.7, seed=1)
    for name in (
        "cohort/cases.csv",
        "cohort/cohort.toml",
        "cohort/labels/" + sorted(path.name for path in (out / "cohort/labels").iterdir())[0],
    ):
        (out / name).unlink()
    with pytest.raises(BadInput, match="something else lies where the hidden cohort would"):
        hide(cohort, out, 0.3, seed=1)
    hide(cohort, out, 0.7, seed=1)
    assert files(out) == files(hidden)


@pytest.mark.parametrize("place", ["cohort", "truth"])
def test_a_cohort_where_one_would_be_hidden_or_sealed_stays(cohort: Cohort, tmp_path: Path, place: str) -> None:
    mine = replace(cohort, folder=tmp_path / place, name="mine", cases=())
    mine.save()
    before = files(tmp_path)
    with pytest.raises(BadInput, match=r"lies where|already"):
        hide(cohort, tmp_path, 0.5)
    assert files(tmp_path) == before


def test_a_missing_mask_leaves_no_cohort_behind(cohort: Cohort, tmp_path: Path) -> None:
    broken = cohort.cases[4].with_cells({"liver": annotated("labels/gone.nii.gz")})
    cases = (*cohort.cases[:4], broken, *cohort.cases[5:])
    with pytest.raises(BadInput, match=r"gone\.nii\.gz"):
        hide(replace(cohort, cases=cases), tmp_path / "out", 0.0)
    assert not (tmp_path / "out" / "cohort" / "cases.csv").exists()
