"""Who is trained on and who validates: folds by patient, balanced by organ, as nnU-Net's `splits_final.json`."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from smiler.domain.cells import Status
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput, raise_all
from smiler.domain.shaped import read_as

FEWEST = 2
"""Patients in whom an organ must be annotated: one is learned from while the other validates."""


@dataclass(frozen=True)
class Split:
    """Case ids of one fold: trained on, and validating."""

    train: list[str]
    val: list[str]


def make_splits(cohort: Cohort, folds: int, seed: int) -> list[Split]:
    """Folds by patient: everybody in whom an organ is annotated validates once, and each organ's volumes are spread.

    Patients in whom nothing is annotated can't validate: they are in every fold's training. BadInput for more folds
    than patients, and for an organ that is annotated in fewer than two.
    """
    drawn = _annotated(cohort)
    _check_patients(cohort, drawn, folds)
    parts = _stratified(drawn, folds, seed)
    val = [[case.id for case in cohort if case.patient in part] for part in parts]
    splits = [Split([case.id for case in cohort if case.id not in ids], ids) for ids in map(list, val)]
    raise_all([*_untaught(splits, cohort)])
    return splits


def _annotated(cohort: Cohort) -> dict[str, Counter[str]]:
    """Patient -> in how many of the patient's volumes each organ is drawn; patients without any are left out.

    Where an organ is only called absent it can be neither learned nor measured, but a false alarm can be.
    """
    counts: dict[str, Counter[str]] = {}
    for case in cohort:
        seen = [key for key in cohort.organs.keys if case.status(key) is not Status.UNANNOTATED]
        if seen:
            drawn = [key for key in seen if case.status(key) is Status.ANNOTATED]
            counts.setdefault(case.patient, Counter()).update(drawn)
    return counts


def _check_patients(cohort: Cohort, drawn: Mapping[str, Counter[str]], folds: int) -> None:
    if folds < FEWEST or len(drawn) < folds:
        got = f"{folds} folds, {len(drawn)} patients with annotations"
        do = f"at least {FEWEST} folds, and at least as many patients"
        raise BadInput("too few patients for so many folds", where="--folds", got=got, do=do)
    rare = {key: sum(counts[key] > 0 for counts in drawn.values()) for key in cohort.organs.keys}
    keys = [key for key in rare if rare[key] >= FEWEST]
    do = f"annotate it in more, or leave it out with --organs {','.join(keys)}" if keys else "annotate it in more"
    raise_all(
        [
            BadInput("too few patients have the organ for folds", where=f"organ {key}", got=f"{count}", do=do)
            for key, count in rare.items()
            if count < FEWEST
        ]
    )


def _stratified(drawn: Mapping[str, Counter[str]], folds: int, seed: int) -> list[set[str]]:
    """Patients of each fold, by iterative stratification (Sechidis et al. 2011, doi:10.1007/978-3-642-23808-6_10).

    The organ with the fewest patients left goes first, each of them into the fold that lacks most of its volumes.
    """
    patients = sorted(drawn)
    order = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    totals = sum(drawn.values(), Counter[str]())
    lacking = [{key: total / folds for key, total in totals.items()} for _ in range(folds)]
    room = [len(order) / folds] * folds
    parts: list[set[str]] = [set() for _ in range(folds)]
    while order:
        left = Counter(key for patient in order for key in drawn[patient])
        organ = min(left, key=lambda key: (left[key], key)) if left else ""
        mine = [patient for patient in order if organ in drawn[patient]] if organ else order[:]
        for patient in sorted(mine, key=lambda each: -drawn[each][organ]):  # who has most volumes goes first
            wants = [
                (part.get(organ, 0), sum(part[key] for key in drawn[patient]), space)
                for part, space in zip(lacking, room, strict=True)
            ]
            fold = wants.index(max(wants))
            parts[fold].add(patient)
            room[fold] -= 1
            for key, count in drawn[patient].items():
                lacking[fold][key] -= count
        order = [patient for patient in order if patient not in set(mine)]
    return parts


def read_splits(path: Path, cohort: Cohort) -> list[Split]:
    """Splits from a file in nnU-Net's format, checked against the cohort; every fault at once."""
    splits = read_as(path, list[Split])
    if not splits:
        raise BadInput("there is no fold in it", where=str(path), do="a list of {train: [...], val: [...]}")
    raise_all([*_faults(splits, cohort, str(path)), *_untaught(splits, cohort)])
    return splits


def as_json(splits: Sequence[Split]) -> list[dict[str, list[str]]]:
    """As nnU-Net writes it."""
    return [asdict(split) for split in splits]


def _faults(splits: Sequence[Split], cohort: Cohort, path: str) -> Iterator[BadInput]:
    known, validated = {case.id for case in cohort}, set[str]()
    for number, split in enumerate(splits):
        where = f"{path}, fold {number}"
        if unknown := sorted({*split.train, *split.val} - known):
            do = "use the case ids of cases.csv"
            yield BadInput("the cohort has no such case", where=where, got=", ".join(unknown[:5]), do=do)
        if both := sorted({*split.train} & {*split.val}):
            do = "leave it in one of them"
            yield BadInput("the case is in train and in val", where=where, got=", ".join(both[:5]), do=do)
        if again := sorted({*split.val} & validated):
            do = "let each case validate once"
            yield BadInput("the case validates another fold, too", where=where, got=", ".join(again[:5]), do=do)
        validated |= {*split.val}


def _untaught(splits: Sequence[Split], cohort: Cohort) -> Iterator[BadInput]:
    """Organs that a fold could not learn: told before the first of them is trained."""
    for number, split in enumerate(splits):
        train = [case for case in cohort if case.id in split.train]
        for key in cohort.organs.keys:
            if not any(case.status(key) is Status.ANNOTATED for case in train):
                do = "annotate it in more patients, take fewer folds, or leave it out with --organs"
                yield BadInput(
                    "the organ is annotated in no case that trains", where=f"fold {number}, organ {key}", do=do
                )


def shared_patients(split: Split, cohort: Cohort) -> list[str]:
    """Patients with cases on both sides of a split: its validation says too much good."""
    sides = [{case.patient for case in cohort if case.id in ids} for ids in (split.train, split.val)]
    return sorted(sides[0] & sides[1])


def unused(split: Split, cases: Collection[Case]) -> list[str]:
    """Cases on neither side."""
    return [case.id for case in cases if case.id not in split.train and case.id not in split.val]
