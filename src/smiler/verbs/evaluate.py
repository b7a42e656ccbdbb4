"""Measure a run, or a folder of masks, against truth."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smiler.domain.cohort import Case
from smiler.domain.errors import BadInput
from smiler.domain.organs import OrganSet
from smiler.domain.progress import Progress, Silent
from smiler.evaluation.scores import Measured, Score, score_case
from smiler.evaluation.truth import Truth
from smiler.formats.volumes import CT, read_header, read_hu, read_labels
from smiler.prediction.model import Model
from smiler.prediction.volume import predict_bits
from smiler.recipe.recipe import Recipe
from smiler.verbs.footprint import Footprint
from smiler.verbs.model_at import ModelAt, usual_workers
from smiler.verbs.run import RunFolder
from smiler.workers.base import InProcess, Staged, Work, Workers


@dataclass(frozen=True)
class ScoreRun(Staged[Case, tuple[Case, CT], tuple[Case, Measured], list[Score]]):
    """Predict one case and score it: the work of `evaluate` for a run."""

    model: ModelAt
    recipe: Recipe
    truth: Truth

    def read(self, case: Case) -> tuple[Case, CT]:
        """The CT."""
        return case, read_hu(self.truth.cohort.image_path(case), self.recipe.reading, self.where(case))

    def compute(self, read: tuple[Case, CT]) -> tuple[Case, Measured]:
        """All that needs the network."""
        case, ct = read
        return case, _measured(self.model.open(), self.recipe, ct)

    def write(self, made: tuple[Case, Measured]) -> list[Score]:
        """The case's scores; nothing is written."""
        return score_case(self.truth, *made)

    def memory(self, case: Case) -> int:
        """About how many bytes it takes: the CT, bit fields of both, and an organ's masks."""
        return Footprint(16, 4).of(self.truth.cohort.image_path(case), self.recipe.reading, self.model.facts.data)

    def where(self, case: Case) -> str:
        """How an error names it."""
        return f"case {case.id}, file {case.image}"


@dataclass(frozen=True)
class ScoreMasks:
    """Score one case's masks in a folder: the work of `evaluate` for masks."""

    folder: Path
    truth: Truth

    def __call__(self, case: Case) -> list[Score]:
        """The case's scores; none if it has no masks."""
        found = _read_masks(self.folder, self.truth, case)
        return [score for measured in found for score in score_case(self.truth, case, measured)]

    def where(self, case: Case) -> str:
        """How an error names it."""
        return f"case {case.id}, masks in {self.folder / case.id}"


def evaluate(
    predicted: Path,
    truth: Truth,
    device: str = "auto",
    progress: Progress | None = None,
    workers: Workers | None = None,
    *,
    any_grey_values: bool = False,
) -> list[Score]:
    """Scores of every case of the truth, predicted by a run or read from DIR/CASE/ORGAN.nii.gz."""
    if not predicted.is_dir():
        raise BadInput("neither a run folder nor a folder of masks", where=str(predicted))
    work: Work[Case, list[Score]] = ScoreMasks(predicted, truth)
    usual: Workers = InProcess()
    if RunFolder(predicted).exists:
        model = ModelAt.find(predicted, device)
        recipe = RunFolder(predicted).recipe()
        recipe = recipe.model_copy(update={"reading": recipe.reading.taking(any_grey_values=any_grey_values)})
        work, usual = ScoreRun(model, recipe, truth), usual_workers(model)
    results = (workers or usual).map(work, truth.cohort)
    shown = (progress or Silent()).track(results, "evaluating", len(truth.cohort))
    scores = [score for found in shown for score in found]
    if not scores:
        raise BadInput("nothing to score: no case has both a prediction and an expert's word", where=str(predicted))
    return scores


def measure(model: Model, recipe: Recipe, truth: Truth, case: Case) -> Measured:
    """Predict one case on its own grid."""
    return _measured(model, recipe, read_hu(truth.cohort.image_path(case), recipe.reading))


def _measured(model: Model, recipe: Recipe, ct: CT) -> Measured:
    return Measured(predict_bits(model, ct.hu, ct.geometry, recipe.prediction), model.organs, ct.geometry)


def _read_masks(folder: Path, truth: Truth, case: Case) -> Iterator[Measured]:
    """The masks DIR/CASE/ORGAN.nii.gz of a case; an organ without a file was not predicted and is not scored."""
    cohort = truth.cohort
    files = {key: folder / case.id / f"{key}.nii.gz" for key in cohort.organs.keys}
    found = [key for key, path in files.items() if path.exists()]
    if not found:
        return
    geometry = read_header(cohort.image_path(case)).geometry
    bits = np.zeros(geometry.shape, dtype=np.int32)
    for key in found:
        mask = read_labels(files[key])
        if not mask.grid.geometry.agrees(geometry):
            got = f"{mask.grid.geometry} against {geometry}"
            raise BadInput("the mask lies on another grid than the CT", where=f"case {case.id}, {files[key]}", got=got)
        bits |= (mask.codes > 0).astype(np.int32) << np.int32(found.index(key))
    yield Measured(bits, OrganSet.of(*found), geometry)
