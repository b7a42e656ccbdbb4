"""Scores per patient and organ: only pairs that an expert annotated or called absent, n beside every mean.

A mean is over the patients in whom the organ is present. Where it is absent there is nothing to overlap with: such
pairs are counted, as absence that the network got right and as false alarms.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from smiler.domain.cells import Status
from smiler.domain.cohort import Case
from smiler.domain.errors import BadInput
from smiler.domain.geometry import Geometry
from smiler.domain.organs import OrganSet
from smiler.evaluation.compared import Compared
from smiler.evaluation.metrics import SCALES, column, columns, score_all
from smiler.evaluation.statistics import Interval, bootstrap_mean, paired_difference, wilcoxon
from smiler.evaluation.truth import Truth
from smiler.formats.labels import LabelOptions, read_case_labels


class Learned(Enum):
    """Whether the network was trained on the annotation that is scored; what is not recorded is unknown."""

    NO = "no"
    UNKNOWN = "unknown"
    YES = "yes"


HEADINGS: dict[Learned, str] = {
    Learned.NO: "Scores on annotations that the network was not trained on",
    Learned.UNKNOWN: "Scores on annotations of which it is not recorded whether the network was trained on them",
    Learned.YES: "Scores on annotations that the network was trained on",
}
"""What stands over the scores of one kind. Kinds are never averaged together."""

WARNING = "These scores are of annotations that the network was trained on: they say nothing about other patients."


@dataclass(frozen=True)
class Score:
    """One organ of one volume. `metrics` by column (Dice and NSD from 0 to 1, HD95 in mm), volumes in ml."""

    case: str
    patient: str
    organ: str
    status: str
    metrics: Mapping[str, float]
    predicted_ml: float
    reference_ml: float
    learned: Learned = Learned.UNKNOWN

    @property
    def present(self) -> bool:
        """Whether there is anything of the organ where an expert looked."""
        return self.reference_ml > 0

    @property
    def dice(self) -> float:
        """Dice, 0 to 1."""
        return self.metrics["dice"]

    @property
    def nsd(self) -> float:
        """Surface Dice within the organ's tolerance, 0 to 1."""
        return self.metrics["nsd"]

    @property
    def hd95_mm(self) -> float:
        """95 % Hausdorff distance in mm."""
        return self.metrics["hd95_mm"]


@dataclass(frozen=True)
class Absence:
    """Of `cases` (case, organ) pairs in which the organ is absent, in how many the network found nothing of it."""

    cases: int
    right: int

    @property
    def false_alarms(self) -> int:
        """In how many it found an organ that is not there."""
        return self.cases - self.right

    def to_json(self) -> dict[str, int]:
        """For scripts."""
        return {"cases": self.cases, "right": self.right, "false_alarms": self.false_alarms}

    def __str__(self) -> str:
        return f"{self.right} of {self.cases}" if self.cases else "–"


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
        _check_finite(values, case, key)
        metrics = {column(name): value for name, value in values.items()}
        mine, true = (float(np.count_nonzero(mask)) * geometry.voxel_ml for mask in (found, drawn))
        scores.append(Score(case.id, case.patient, key, case.status(key).value, metrics, mine, true))
    return scores


def _check_finite(values: Mapping[str, float], case: Case, organ: str) -> None:
    for name, value in values.items():
        if not np.isfinite(value):
            where = f"metric {name}, case {case.id}, organ {organ}"
            raise BadInput("a metric must give a finite number", where=where, got=str(value))


def summarise(scores: Sequence[Score], metric: str = "dice") -> dict[str, Interval]:
    """Mean over patients in whom the organ is present, with a bootstrap interval: per organ, and over a patient's
    organs as 'mean'. `metric`: its column. An organ that is present in nobody has no mean.
    """
    found = {name: mean_of(scores, metric, organ) for name, organ in _rows(scores).items()}
    return {name: value for name, value in found.items() if value}


def mean_of(scores: Iterable[Score], metric: str, organ: str = "") -> Interval | None:
    """Mean over patients in whom the organ (or, where none is given, any) is present; None where it is in nobody."""
    values = list(per_patient(scores, metric, organ).values())
    return bootstrap_mean(values) if values else None


def difference_of(
    left: Iterable[Score], right: Iterable[Score], metric: str, organ: str = ""
) -> tuple[Interval, float | None] | None:
    """left - right over the patients that both have, and Wilcoxon's p value; None where they share no patient."""
    a, b = (per_patient(scores, metric, organ) for scores in (left, right))
    both = [patient for patient in a if patient in b]
    if not both:
        return None
    x, y = [a[patient] for patient in both], [b[patient] for patient in both]
    return paired_difference(x, y), wilcoxon(x, y)


def absences(scores: Sequence[Score]) -> dict[str, Absence]:
    """Per organ, and as 'mean' over all of them: how often absence was right."""
    return {name: absence(scores, organ) for name, organ in _rows(scores).items()}


def _rows(scores: Sequence[Score]) -> dict[str, str]:
    """Name of a row -> its organ, '' for all of them."""
    return {score.organ: score.organ for score in scores} | ({"mean": ""} if scores else {})


def per_patient(scores: Iterable[Score], metric: str, organ: str = "") -> dict[str, float]:
    """One value a patient in whom the organ is present: the mean over scans and, where no organ is given, over organs.

    `metric`: its column; scores that lack it (of a file that is older than the metric) are left out.
    """
    patients: dict[str, list[float]] = {}
    for score in scores:
        if score.present and organ in ("", score.organ) and metric in score.metrics:
            patients.setdefault(score.patient, []).append(score.metrics[metric])
    return {patient: float(np.mean(patients[patient])) for patient in sorted(patients)}


def mean_dice(scores: Iterable[Score]) -> float | None:
    """Mean Dice, 0 to 1, over patients and their organs, where these are present; None where none is."""
    values = list(per_patient(scores, "dice").values())
    return float(np.mean(values)) if values else None


def points(share: float | None) -> float | None:
    """A share of Dice in the points that people read."""
    return None if share is None else SCALES["dice"].factor * share


def absence(scores: Iterable[Score], organ: str = "") -> Absence:
    """How often the absence of an organ, or where none is given of any organ, was right."""
    absent = [score for score in scores if not score.present and organ in ("", score.organ)]
    return Absence(len(absent), sum(score.predicted_ml == 0 for score in absent))


def by_learned(scores: Iterable[Score]) -> dict[Learned, list[Score]]:
    """The scores of each kind that there is: not trained on, unknown, trained on."""
    rows = list(scores)
    kinds = {kind: [score for score in rows if score.learned is kind] for kind in Learned}
    return {kind: found for kind, found in kinds.items() if found}


def columns_of(scores: Iterable[Score]) -> list[str]:
    """The metrics that these scores have, by column: METRICS in their order."""
    given = {name for score in scores for name in score.metrics}
    return [name for name in columns() if name in given]
