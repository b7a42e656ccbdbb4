"""Scores per patient and organ: only pairs that an expert annotated or called absent, n beside every mean."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from smiler.domain.cells import Status
from smiler.domain.cohort import Case
from smiler.domain.files import write_text
from smiler.domain.geometry import Geometry
from smiler.domain.organs import OrganSet
from smiler.evaluation.compared import Compared
from smiler.evaluation.metrics import METRICS, score_all
from smiler.evaluation.statistics import Interval, bootstrap_mean
from smiler.evaluation.truth import Truth
from smiler.formats.labels import LabelOptions, read_case_labels


@dataclass(frozen=True)
class Score:
    """One organ of one volume. Dice and NSD from 0 to 1, HD95 in mm, volumes in ml."""

    case: str
    patient: str
    organ: str
    status: str
    dice: float
    nsd: float
    hd95_mm: float
    predicted_ml: float
    reference_ml: float


@dataclass(frozen=True)
class Measured:
    """Predicted bits (z, y, x) in the channels of `organs`, on a canonical grid."""

    bits: NDArray[np.int32]
    organs: OrganSet
    geometry: Geometry


def score_case(truth: Truth, case: Case, predicted: Measured, labels: LabelOptions | None = None) -> list[Score]:
    """Score every organ that the model knows and an expert annotated (or called absent) in this case.

    Where only some slices or voxels are annotated, prediction and reference are compared on those.
    """
    cohort, geometry = truth.cohort, predicted.geometry
    read = read_case_labels(cohort, case, geometry, labels or LabelOptions())
    keys = [key for key in predicted.organs.keys if key in cohort.organs and case.status(key) is not Status.UNANNOTATED]
    said, own = ([organs.index(key) for key in keys] for organs in (predicted.organs, cohort.organs))
    compared = Compared(predicted.bits, read.drawn, read.known, said, own)
    scores = []
    for k, key in enumerate(keys):
        found, drawn = compared.masks(k)
        values = score_all(found, drawn, geometry.spacing, key, geometry.shape)
        ml = [round(float(np.count_nonzero(mask)) * geometry.voxel_ml, 3) for mask in (found, drawn)]
        status = case.status(key).value
        scores.append(Score(case.id, case.patient, key, status, *(values[name] for name in METRICS), *ml))
    return scores


def write_scores(path: Path, scores: Sequence[Score], extra: Mapping[str, str] | None = None) -> None:
    """`scores.csv`, one row a patient and organ; `extra` columns come first."""
    write_text(path, scores_table([(extra or {}, scores)]))


def scores_table(groups: Sequence[tuple[Mapping[str, str], Sequence[Score]]]) -> str:
    """Several groups of scores as one CSV text, each row led by its group's columns."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = [field.name for field in fields(Score)]
    writer.writerow([*(groups[0][0] if groups else ()), *names])
    for extra, scores in groups:
        writer.writerows([*extra.values(), *(_text(getattr(score, name)) for name in names)] for score in scores)
    return stream.getvalue()


def _text(value: object) -> object:
    return f"{value:.5f}" if isinstance(value, float) else value


def summarise(scores: Sequence[Score], metric: str = "dice") -> dict[str, Interval]:
    """Mean over patients with a bootstrap interval, per organ and, as 'mean', over each patient's organs."""
    organs = list(dict.fromkeys(score.organ for score in scores))
    table = {organ: _per_patient([s for s in scores if s.organ == organ], metric) for organ in organs}
    summary = {organ: bootstrap_mean(list(values.values())) for organ, values in table.items()}
    overall = _per_patient(scores, metric)
    return summary | ({"mean": bootstrap_mean(list(overall.values()))} if overall else {})


def _per_patient(scores: Sequence[Score], metric: str) -> dict[str, float]:
    patients: dict[str, list[float]] = {}
    for score in scores:
        patients.setdefault(score.patient, []).append(getattr(score, metric))
    return {patient: float(np.mean(values)) for patient, values in patients.items()}
