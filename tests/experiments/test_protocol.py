"""Folds by patient, complete cohorts only, and who is hidden from whom."""

from dataclasses import replace
from pathlib import Path

import pytest
from shared_phantoms import Phantoms

from smiler.domain.cells import UNANNOTATED, Status, annotated
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.organs import OrganSet
from smiler.domain.progress import Silent
from smiler.experiments.protocol import complete_cases, hide_fold, make_folds
from smiler.experiments.sweep import Key

ORGANS = OrganSet.of("liver", "spleen")


def cohort_of(patients: list[str]) -> Cohort:
    cell = annotated("m.nii.gz", ())
    cases = [Case(f"c{i}", p, f"c{i}.nii.gz", {"liver": cell, "spleen": cell}) for i, p in enumerate(patients)]
    return Cohort(Path("nowhere"), ORGANS, tuple(cases))


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("validation", [0.0, 0.2])
def test_every_patient_is_tested_once_and_is_in_one_part(count: int, validation: float) -> None:
    cohort = cohort_of([f"p{i // 3}" for i in range(30)])
    folds = make_folds(cohort, count, validation, seed=1)
    patient = {case.id: case.patient for case in cohort}
    tested = [patient[case] for fold in folds for case in fold.test]
    assert sorted(set(tested)) == sorted({*patient.values()})
    assert len(tested) == len(cohort)
    for fold in folds:
        parts = [{patient[case] for case in part} for part in (fold.train, fold.validation, fold.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 10
        assert bool(fold.validation) == (validation > 0)
    assert folds == make_folds(cohort, count, validation, seed=1)
    assert folds != make_folds(cohort, count, validation, seed=2)


def test_too_few_patients_are_told() -> None:
    with pytest.raises(BadInput, match=r"too few patients.*5 folds, 4 patients"):
        make_folds(cohort_of(["a", "b", "c", "d"]), 5, 0.1, 0)


def test_only_complete_cases_are_used_and_too_few_are_refused_with_what_is_needed() -> None:
    cohort = cohort_of(["a", "b", "c", "d"])
    gaps = tuple(replace(c, cells={**c.cells, "spleen": UNANNOTATED}) if c.id == "c1" else c for c in cohort)
    partly = replace(cohort, cases=gaps)
    assert complete_cases(cohort, 2, Silent()) == cohort
    assert [case.id for case in complete_cases(partly, 2, Silent())] == ["c0", "c2", "c3"]
    with pytest.raises(BadInput, match=r"too few cases.*3 patients.*liver 4, spleen 3.*at least 4 patients"):
        complete_cases(partly, 3, Silent())


def test_training_and_validation_patients_are_masked_alike_and_apart(phantoms: Phantoms, tmp_path: Path) -> None:
    cohort = phantoms(tmp_path / "all", 10)
    fold = make_folds(cohort, 2, 0.4, seed=0)[0]
    masked = hide_fold(cohort, fold, 0.5, 0, tmp_path / "masked")
    train = Cohort.open(masked.train)
    assert masked.validation is not None
    validation = Cohort.open(masked.validation)
    assert {c.id for c in train} == set(fold.train)
    assert {c.id for c in validation} == set(fold.validation)
    for part in (train, validation):
        for key in part.organs.keys:
            kept = sum(case.status(key) is not Status.UNANNOTATED for case in part)
            assert kept == max(1, round(0.5 * len(part)))


def test_two_shares_never_have_one_folder() -> None:
    shares = [0.0, 0.3, 0.7, 0.123456, 0.1234567, 0.1234568, 1 / 3, 0.333333]
    folders = {Key("smile", share, 0, 0).folder(Path("out")).path for share in shares}
    assert len(folders) == len(shares)
    assert Key("smile", 0.7, 0, 0).folder(Path("out")).path == Path("out/trials/smile/alpha-0.7/fold-0/seed-0")
