"""Measure a run, or a folder of masks, against truth."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from smiler.domain.cohort import Case
from smiler.domain.errors import BadInput
from smiler.domain.organs import OrganSet
from smiler.domain.progress import Progress, Silent, WithNotes, without_notes
from smiler.domain.signpost import instead, signpost
from smiler.evaluation.scores import Measured, Score, score_case
from smiler.evaluation.truth import Truth
from smiler.formats.volumes import CT, Grid, content, read_header, read_hu, read_labels
from smiler.prediction.model import Model
from smiler.prediction.volume import predict_bits
from smiler.recipe.recipe import Recipe
from smiler.verbs.ensembles import FoldsFolder, find_models, joint_record, runs_of
from smiler.verbs.footprint import Footprint
from smiler.verbs.model_at import ModelAt, usual_workers
from smiler.verbs.run import RunFolder, TrainingRecord, recipe_of
from smiler.workers.base import InProcess, Staged, Work, Workers

Notes = tuple[str, ...]


@dataclass(frozen=True)
class ScoreRun(Staged[Case, tuple[Case, CT], tuple[Case, Measured, Notes], WithNotes[list[Score]]]):
    """Predict one case and score it: the work of `evaluate` for a run. `record`: what it was trained on."""

    model: ModelAt
    recipe: Recipe
    truth: Truth
    record: TrainingRecord | None = None

    def read(self, case: Case) -> tuple[Case, CT]:
        """The CT."""
        return case, read_hu(self.truth.cohort.image_path(case), self.recipe.reading, self.where(case))

    def compute(self, read: tuple[Case, CT]) -> tuple[Case, Measured, Notes]:
        """All that needs the network."""
        case, ct = read
        return case, _measured(self.model.open(), self.recipe, ct), _about(case, ct)

    def write(self, made: tuple[Case, Measured, Notes]) -> WithNotes[list[Score]]:
        """The case's scores; nothing is written."""
        case, measured, notes = made
        scores = score_case(self.truth, case, measured, self.recipe.labels)
        scores = with_learned(scores, self.truth, case, self.record)
        return WithNotes(scores, notes)

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

    def __call__(self, case: Case) -> WithNotes[list[Score]]:
        """The case's scores; none if it has no masks."""
        found = _read_masks(self.folder, self.truth, case)
        if found is None:
            return WithNotes([])
        return WithNotes(score_case(self.truth, case, found.result), found.notes)

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
    """Scores of every case of the truth, predicted by a run or read from DIR/CASE/ORGAN.nii.gz.

    Each says whether the run was trained on that annotation; of a folder of masks nobody knows.
    """
    if not predicted.is_dir():
        raise instead("neither a run folder nor a folder of masks", predicted)
    trained = FoldsFolder(predicted).exists or RunFolder(predicted).exists
    if not trained and signpost(predicted).kind in ("cohort", "results", "data", "dicom"):
        raise instead("neither a run folder nor a folder of masks", predicted)
    work: Work[Case, WithNotes[list[Score]]] = ScoreMasks(predicted, truth)
    usual: Workers = InProcess()
    if trained:
        model, recipe = find_models([predicted], device), recipe_of(runs_of(predicted)[0])
        recipe = recipe.model_copy(update={"reading": recipe.reading.taking(any_grey_values=any_grey_values)})
        work = ScoreRun(model, recipe, truth, joint_record(runs_of(predicted)))
        usual = usual_workers(model)
    results = (workers or usual).map(work, truth.cohort)
    shown = progress or Silent()
    each = shown.track(without_notes(results, shown), "evaluating", len(truth.cohort))
    scores = [score for found in each for score in found]
    if not scores:
        raise BadInput("nothing to score: no case has both a prediction and an expert's word", where=str(predicted))
    return scores


def with_learned(scores: list[Score], truth: Truth, case: Case, record: TrainingRecord | None) -> list[Score]:
    """One case's scores, each with the record's word on whether its annotation was trained on."""
    if record is None:
        return scores
    by_image = record.images or any(other.images for other in record.others)
    image = content(truth.cohort.image_path(case)) if by_image else ""
    return [replace(score, learned=record.learned(case.id, score.organ, image)) for score in scores]


def measure(model: Model, recipe: Recipe, truth: Truth, case: Case) -> Measured:
    """Predict one case on its own grid."""
    return _measured(model, recipe, read_hu(truth.cohort.image_path(case), recipe.reading))


def _measured(model: Model, recipe: Recipe, ct: CT) -> Measured:
    return Measured(predict_bits(model, ct.hu, ct.geometry, recipe.prediction), model.organs, ct.geometry)


def _about(case: Case, image: CT | Grid) -> Notes:
    return tuple(f"case {case.id}, image {case.image}: {note}" for note in image.notes)


def _read_masks(folder: Path, truth: Truth, case: Case) -> WithNotes[Measured] | None:
    """The masks DIR/CASE/ORGAN.nii.gz of a case; an organ without a file was not predicted and is not scored."""
    cohort = truth.cohort
    files = {key: folder / case.id / f"{key}.nii.gz" for key in cohort.organs.keys}
    found = [key for key, path in files.items() if path.exists()]
    if not found:
        return None
    grid = read_header(cohort.image_path(case))
    geometry, notes = grid.geometry, _about(case, grid)
    bits = np.zeros(geometry.shape, dtype=np.int32)
    for key in found:
        mask = read_labels(files[key])
        if not mask.grid.geometry.agrees(geometry):
            got = f"{mask.grid.geometry} against {geometry}"
            raise BadInput("the mask lies on another grid than the CT", where=f"case {case.id}, {files[key]}", got=got)
        notes += tuple(f"case {case.id}, {files[key]}: {note}" for note in mask.notes)
        bits |= (mask.codes > 0).astype(np.int32) << np.int32(found.index(key))
    return WithNotes(Measured(bits, OrganSet.of(*found), geometry), notes)
