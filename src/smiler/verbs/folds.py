"""Train in folds: each patient validates once, by a run that has not learned from that patient."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from smiler.domain.errors import BadInput
from smiler.domain.files import write_json
from smiler.domain.folders import Kind, refuse_others
from smiler.domain.locks import writing
from smiler.domain.progress import Progress, Silent
from smiler.evaluation.score_table import write_scores
from smiler.evaluation.scores import Score
from smiler.formats.base import some
from smiler.networks.device import is_first_process
from smiler.recipe.recipe import Recipe
from smiler.verbs.ensembles import SCORES, FoldsFolder
from smiler.verbs.splits import Split, as_json, make_splits, read_splits, shared_patients, unused
from smiler.verbs.train import TrainRequest, select_organs, train_rounds
from smiler.verbs.validation import validate, validated

USUAL = 5
PATIENCE_SECONDS = 60.0
"""Jobs that begin at once, a fold each, wait for the first to write the splits."""


@dataclass(frozen=True)
class FoldsRequest:
    """What `training` asks for, once for each fold; its `run` is the folder of them all.

    `folds`: how many; None: as many as `splits` has, or lie there already, else five. `splits`: a file in nnU-Net's
    format to take them from. `fold`: train this one alone.
    """

    training: TrainRequest
    folds: int | None = None
    splits: Path | None = None
    fold: int | None = None


def train_folds(request: FoldsRequest, progress: Progress | None = None) -> FoldsFolder:
    """Train every fold to its end, each a run of its own, and let it predict the cases that validate it.

    A training that was stopped or killed goes on with `resume`, to the same weights. Folds may be trained by several
    jobs at once, each its own.
    """
    folder, shown = FoldsFolder(request.training.run), (progress or Silent()) if is_first_process() else Silent()
    recipe, splits = _begun(folder, request, shown)
    for number in range(len(splits)) if request.fold is None else [request.fold]:
        _train_fold(folder, number, splits[number], replace(request.training, recipe=recipe), shown)
    if is_first_process():
        _pool(folder, request.training)
    return folder


def validation(folder: FoldsFolder) -> list[Score] | None:
    """Every case that validates, scored once; None until all folds are trained."""
    each = [validated(run) for run in folder.folds()]
    return [score for scores in each if scores is not None for score in scores] if None not in each else None


def _begun(folder: FoldsFolder, request: FoldsRequest, progress: Progress) -> tuple[Recipe, list[Split]]:
    """The recipe and the splits: those that lie there, else those that are asked for; the first process writes them."""
    first = is_first_process()
    if first:
        refuse_others(folder.path, Kind.FOLDS)
    with writing(folder.path, PATIENCE_SECONDS) if first else nullcontext():
        begun = folder.exists
        recipe = folder.recipe() if begun and request.training.resume else request.training.recipe
        cohort = select_organs(request.training.cohort, recipe)
        splits = read_splits(folder.splits_path, cohort) if begun else None
        if splits is None or request.splits:
            splits = _agreeing(splits, read_splits(request.splits, cohort)) if request.splits else None
        splits = splits or make_splits(cohort, request.folds or USUAL, recipe.training.seed)
        _check_numbers(request, len(splits))
        if begun and first:
            _check_begun(folder, request, recipe, progress)
        elif first:
            _write(folder, request.training, splits)
    return recipe, splits


def _agreeing(there: list[Split] | None, given: list[Split]) -> list[Split]:
    if there is not None and there != given:
        raise BadInput("the folds that were begun are others", where="--splits", do="leave it out, or begin elsewhere")
    return given


def _check_numbers(request: FoldsRequest, folds: int) -> None:
    if request.folds is not None and request.folds != folds:
        raise BadInput("the splits have another number of folds", where="--folds", got=f"{request.folds}, not {folds}")
    if request.fold is not None and not 0 <= request.fold < folds:
        raise BadInput("no such fold", where="--fold", got=str(request.fold), do=f"0 to {folds - 1}")


def _check_begun(folder: FoldsFolder, request: FoldsRequest, recipe: Recipe, progress: Progress) -> None:
    if request.training.resume:
        progress.note(f"going on with {folder.record_path}; options given now are not used")
    elif request.fold is None:
        do = "go on with --resume, or choose another folder"
        raise BadInput("a training in folds is here already", where=str(folder.path), do=do)
    elif recipe != folder.recipe():
        do = "give the options of the first fold, or go on with them by --resume"
        raise BadInput("the folds were begun with other options", where=str(folder.record_path), do=do)


def _write(folder: FoldsFolder, training: TrainRequest, splits: Sequence[Split]) -> None:
    """The splits, and last the mark that they are complete."""
    write_json(folder.splits_path, as_json(splits))
    record = {"format": 1, "folds": len(splits), "cohort": str(training.cohort.folder.resolve())}
    write_json(folder.record_path, {**record, "recipe": training.recipe.model_dump(mode="json")})


def _train_fold(folder: FoldsFolder, number: int, split: Split, training: TrainRequest, progress: Progress) -> None:
    run, cohort = folder.fold(number), training.cohort
    if training.resume and run.finished and validated(run) is not None:
        return
    progress.note(f"fold {number}: {len(split.train)} cases train, {len(split.val)} validate")
    if patients := shared_patients(split, cohort):
        progress.note(f"fold {number} validates on patients that it is trained on: {some(patients)}")
    if idle := unused(split, cohort.cases):
        progress.note(f"fold {number} neither trains nor validates on {some(idle)}")
    seed = (training.recipe.training.seed + number) % 2**31  # members that begin otherwise err otherwise
    options = training.recipe.training.model_copy(update={"seed": seed})
    recipe = training.recipe.model_copy(update={"training": options})
    left_out = tuple(case.id for case in cohort if case.id not in split.train)
    for _ in train_rounds(replace(training, run=run.path, recipe=recipe, left_out=left_out), progress):
        pass
    if is_first_process():
        validate(run, cohort, progress, split.val)


def _pool(folder: FoldsFolder, training: TrainRequest) -> None:
    """All folds together, once the last of them is scored, in the cohort's order."""
    scores = validation(folder)
    if scores is not None:
        place = {case.id: number for number, case in enumerate(training.cohort)}
        with writing(folder.path, PATIENCE_SECONDS):
            write_scores(folder.path / SCORES, sorted(scores, key=lambda score: place.get(score.case, len(place))))
