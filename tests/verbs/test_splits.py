"""Folds by patient, balanced by organ, in nnU-Net's format; what can't be folds is refused before any training."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from smiler.domain.cells import ABSENT, annotated
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.organs import OrganSet
from smiler.verbs.splits import as_json, make_splits, read_splits

KEYS = ("liver", "spleen", "pancreas", "aorta")


def cohort(patients: int = 30, seed: int = 0, keys: tuple[str, ...] = KEYS) -> Cohort:
    """Some patients have several CT, most organs are missing, and the later an organ the rarer it is annotated."""
    rng = np.random.default_rng(seed)
    cases = []
    for patient in range(patients):
        for scan in range(1 + int(rng.random() < 0.3)):
            drawn = [key for place, key in enumerate(keys) if rng.random() < 0.8 / (place + 1)]
            cells = {key: annotated("mask.nii.gz") for key in drawn} | ({} if drawn else {"liver": ABSENT})
            cases.append(Case(f"c{patient}_{scan}", f"p{patient}", f"{patient}_{scan}.nii.gz", cells))
    return Cohort(Path("cohort"), OrganSet.of(*keys), tuple(cases))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("folds", [2, 5])
def test_every_patient_validates_once_and_organs_are_spread(seed: int, folds: int) -> None:
    whole = cohort(seed=seed)
    splits = make_splits(whole, folds, seed)
    assert sorted(case for split in splits for case in split.val) == sorted(case.id for case in whole)
    for split in splits:
        assert sorted([*split.train, *split.val]) == sorted(case.id for case in whole)
        patients = [{whole.case(case).patient for case in ids} for ids in (split.train, split.val)]
        assert not patients[0] & patients[1]
    for key in KEYS:
        counts = [sum(key in whole.case(case).cells and whole.case(case).cell(key).path != "" for case in split.val)
                  for split in splits]  # fmt: skip
        assert min(counts) >= sum(counts) / folds - 2.5, (key, counts)
        assert max(counts) <= sum(counts) / folds + 2.5, (key, counts)
    assert max(sizes := [len(split.val) for split in splits]) - min(sizes) <= 6


def test_one_organ_and_one_volume_a_patient_are_spread_evenly() -> None:
    cases = tuple(Case(f"c{i}", f"p{i}", "ct.nii", {"liver": annotated("m.nii")}) for i in range(11))
    splits = make_splits(Cohort(Path("x"), OrganSet.of("liver"), cases), 3, 0)
    assert sorted(Counter(len(split.val) for split in splits).items()) == [(3, 1), (4, 2)]


def test_the_seed_alone_decides() -> None:
    whole = cohort()
    backwards = Cohort(whole.folder, whole.organs, whole.cases[::-1])
    sets = [[set(split.val) for split in make_splits(each, 4, seed)] for each, seed in
            ((whole, 3), (backwards, 3), (whole, 4))]  # fmt: skip
    assert sets[0] == sets[1] != sets[2]


def test_who_has_no_annotation_trains_in_every_fold() -> None:
    whole = cohort()
    some = Cohort(whole.folder, whole.organs, (*whole.cases, Case("new", "new", "ct.nii")))
    splits = make_splits(some, 5, 0)
    assert all("new" in split.train for split in splits)
    assert not any("new" in split.val for split in splits)


def test_more_folds_than_patients_are_refused() -> None:
    with pytest.raises(BadInput, match=r"too few patients for so many folds.*4 folds, 3 patients"):
        make_splits(cohort(3), 4, 0)


def test_an_organ_of_one_patient_is_refused_by_name() -> None:
    whole = cohort(12)
    rare = Case("rare", "rare", "ct.nii", {"rare": annotated("m.nii")})
    some = Cohort(whole.folder, OrganSet.of(*KEYS, "rare"), (*whole.cases, rare))
    with pytest.raises(BadInput, match=r"organ rare: too few patients .* --organs liver,spleen,pancreas,aorta"):
        make_splits(some, 2, 0)


def given(path: Path, *splits: tuple[list[str], list[str]]) -> Path:
    path.write_text(json.dumps([{"train": train, "val": val} for train, val in splits]))
    return path


def test_a_file_of_nnunet_is_taken_as_it_is(tmp_path: Path) -> None:
    whole = cohort()
    made = make_splits(whole, 3, 0)
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps(as_json(made)))
    assert read_splits(path, whole) == made


def test_a_splits_file_that_does_not_fit_is_refused_with_every_fault(tmp_path: Path) -> None:
    whole = cohort(12)
    ids = [case.id for case in whole]
    path = given(tmp_path / "s.json", (["nobody", *ids[:-2]], [ids[0], ids[-1]]), (ids[:-1], [ids[-1]]))
    with pytest.raises(BadInput) as caught:
        read_splits(path, whole)
    text = str(caught.value)
    for words in (
        f"{path}, fold 0: the cohort has no such case; got nobody;",
        f"{path}, fold 0: the case is in train and in val; got {ids[0]};",
        f"{path}, fold 1: the case validates another fold, too; got {ids[-1]};",
    ):
        assert words in text


def test_an_organ_that_a_given_fold_cannot_learn_is_named(tmp_path: Path) -> None:
    whole = cohort(12)
    liver = [case.id for case in whole if case.cell("liver").path]
    rest = [case.id for case in whole if case.id not in liver]
    with pytest.raises(BadInput, match="fold 0, organ liver: the organ is annotated in no case that trains"):
        read_splits(given(tmp_path / "s.json", (rest, liver)), whole)


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"train": ["a"]}]', "[]", "nothing"])
def test_what_is_no_splits_file_is_refused_by_its_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"splits\.json"):
        read_splits(path, cohort(4))
