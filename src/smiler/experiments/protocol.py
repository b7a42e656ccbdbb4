"""Who is trained on, who chooses, who is tested: folds by patient, and nested hidden sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smiler.domain.cells import Status
from smiler.domain.cohort import LEDGER, Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.names import share_name
from smiler.domain.progress import Progress
from smiler.experiments.hide import hide


@dataclass(frozen=True)
class Fold:
    """Case ids of one fold; a patient's cases are all in one part."""

    number: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def make_folds(cohort: Cohort, count: int, validation: float, seed: int) -> tuple[Fold, ...]:
    """`count` folds by patient: every patient is tested once; a share of the others validates (inner validation)."""
    patients = sorted({case.patient for case in cohort})
    if count < 2 or len(patients) < count + 1:
        raise BadInput(
            "too few patients for so many folds",
            where="--folds",
            got=f"{count} folds, {len(patients)} patients",
            do="at least 2 folds, and more patients than folds",
        )
    order = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    parts = [order[i::count] for i in range(count)]
    return tuple(_fold(cohort, number, parts, validation) for number in range(count))


def _fold(cohort: Cohort, number: int, parts: Sequence[Sequence[str]], validation: float) -> Fold:
    others = [patient for i, part in enumerate(parts) if i != number for patient in part]
    kept = min(round(validation * len(others)), len(others) - 1)
    return Fold(
        number, _ids(cohort, others[kept:]), _ids(cohort, others[:kept]), _ids(cohort, parts[number])
    )  # `others` is in random order already


def _ids(cohort: Cohort, patients: Sequence[str]) -> tuple[str, ...]:
    wanted = set(patients)
    return tuple(case.id for case in cohort if case.patient in wanted)


def complete_cases(cohort: Cohort, folds: int, progress: Progress) -> Cohort:
    """The cases in which every organ is annotated or absent: a sweep hides annotations itself, and needs the truth.

    Raises BadInput, saying what is there and what would be enough, where they have too few patients for the folds.
    """
    keys = cohort.organs.keys
    whole = cohort.only(case.id for case in cohort if all(_complete(case, key) for key in keys))
    patients = len({case.patient for case in whole})
    if patients <= folds:
        counts = {key: sum(_complete(case, key) for case in cohort) for key in keys}
        told = ", ".join(f"{key} {count}" for key, count in counts.items())
        raise BadInput(
            "too few cases are completely annotated for a sweep, which hides annotations and measures against them",
            where=str(cohort.folder),
            got=f"{patients} patients with all of {len(keys)} organs; of {len(cohort)} cases, by organ: {told}",
            do=f"at least {folds + 1} patients for {folds} folds: fewer --folds, --organs, or more annotations",
        )
    if len(whole) < len(cohort):
        progress.note(f"{len(whole)} of {len(cohort)} cases are completely annotated; the others are left out")
    return whole


def _complete(case: Case, key: str) -> bool:
    return case.status(key) is not Status.UNANNOTATED and not case.cell(key).ranges


@dataclass(frozen=True)
class Masked:
    """The cohorts of one fold at one alpha: trained on, and validated on where there are such patients."""

    train: Path
    validation: Path | None


def hide_fold(
    cohort: Cohort, fold: Fold, alpha: float, seed: int, folder: Path, progress: Progress | None = None
) -> Masked:
    """Hide a share alpha of training and of validation patients' annotations, each by itself; nested over alpha."""
    made: list[Path | None] = []
    for name, ids in (("train", fold.train), ("validation", fold.validation)):
        place = folder / f"fold-{fold.number}" / f"alpha-{share_name(alpha)}" / name
        if ids and not (place / "cohort" / LEDGER).exists():
            hide(cohort.only(ids), place, alpha, seed, progress)
        made.append(place / "cohort" if ids else None)
    return Masked(made[0] or folder, made[1])
