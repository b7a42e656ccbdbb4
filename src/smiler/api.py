"""The Python API: the verbs of the command line as typed functions."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from smiler.domain.cohort import Cohort
from smiler.domain.progress import Progress
from smiler.domain.remote import place
from smiler.evaluation.scores import Score
from smiler.evaluation.truth import Truth
from smiler.recipe.recipe import Recipe
from smiler.verbs import evaluate as evaluating
from smiler.verbs import folds as in_folds
from smiler.verbs import predict as predicting
from smiler.verbs import relabel as relabelling
from smiler.verbs import train as training
from smiler.verbs.ensembles import FoldsFolder
from smiler.verbs.predict import Predicted
from smiler.verbs.requests import RecipeChoice, predict_request, relabel_request, train_request
from smiler.verbs.run import RunFolder
from smiler.workers.base import Workers

PathLike = str | Path
Trained = RunFolder | FoldsFolder | PathLike
"""What a model is read from: a run, a training in folds, or where one lies."""


def train(
    cohort: Cohort | PathLike,
    run: PathLike,
    recipe: Recipe | str = "smiler",
    *,
    changes: Sequence[str] = (),
    resume: bool = False,
    minutes: float | None = None,
) -> RunFolder:
    """Train into the folder `run`. `recipe`: a method's name or a Recipe; `changes` such as 'training.steps=500'.

    With a method's name, what `changes` do not decide is planned from the data, as `smiler train` does. `minutes`
    bounds the training by time instead of steps. Raises BadInput, before anything is computed, if the cohort can't be
    used.
    """
    asked = _train_request(cohort, Path(run), recipe, changes)
    return training.train(replace(asked, resume=resume, budget_minutes=minutes))


def train_folds(  # noqa: PLR0913  what `train` takes, and how many folds
    cohort: Cohort | PathLike,
    run: PathLike,
    recipe: Recipe | str = "smiler",
    *,
    folds: int | None = None,
    splits: PathLike | None = None,
    changes: Sequence[str] = (),
    resume: bool = False,
) -> FoldsFolder:
    """Train runs RUN/fold_0, RUN/fold_1, ... (five): each patient validates one, which has not learned from it.

    `splits`: a file in nnU-Net's format to take the folds from; the others as for `train`. Scores of all patients are
    in RUN/validation/scores.csv. `predict` and `evaluate` take the folder as an ensemble.
    """
    request = replace(_train_request(cohort, Path(run), recipe, changes), resume=resume)
    return in_folds.train_folds(in_folds.FoldsRequest(request, folds, Path(splits) if splits else None))


def predict(
    run: Trained | Sequence[Trained],
    images: Sequence[PathLike],
    out: PathLike,
    *,
    organs: Sequence[str] = (),
    workers: Workers | None = None,
) -> list[Predicted]:
    """Masks OUT/NAME/ORGAN.nii.gz on each image's own grid; volumes in ml are returned and in OUT/volumes.csv.

    Of several runs, or of a training in folds, the masks are of the mean of their probabilities.
    `workers`, here and below: such as smiler.workers.processes.Processes(4); else one case after the other.
    """
    runs = [run] if isinstance(run, RunFolder | FoldsFolder | str | Path) else run
    model, request = predict_request(
        [_path(each) for each in runs], predicting.PredictRequest(place(out), tuple(organs))
    )
    return predicting.predict(model, [place(image) for image in images], request, workers=workers)


def relabel(
    run: Trained,
    cohort: Cohort | PathLike,
    out: PathLike,
    *,
    fraction: float = 1.0,
    rule: str = "score",
    workers: Workers | None = None,
) -> Cohort:
    """A completed cohort in `out`: `auto:` masks where nobody looked, the best-ranked `fraction` of each prediction."""
    asked = relabelling.RelabelRequest(place(out), fraction, rule)
    opened = cohort if isinstance(cohort, Cohort) else Cohort.open(cohort)
    model, request = relabel_request(_path(run), asked)
    return relabelling.relabel(model, opened, request, workers=workers)


def evaluate(
    predicted: Trained,
    truth: Truth | Cohort | PathLike,
    *,
    progress: Progress | None = None,
    workers: Workers | None = None,
) -> list[Score]:
    """Dice, NSD, HD95 per patient and organ of a run or a folder of masks, where an expert annotated."""
    if not isinstance(truth, Truth):
        truth = Truth(truth) if isinstance(truth, Cohort) else Truth.open(truth)
    return evaluating.evaluate(_path(predicted), truth, progress=progress, workers=workers)


def _train_request(
    cohort: Cohort | PathLike, run: Path, recipe: Recipe | str, changes: Sequence[str]
) -> training.TrainRequest:
    opened = cohort if isinstance(cohort, Cohort) else Cohort.open(cohort)
    if isinstance(recipe, Recipe):
        return training.TrainRequest(opened, run, recipe)
    return train_request(opened, run, RecipeChoice(recipe, None, tuple(changes)))


def _path(run: Trained) -> Path:
    return run.path if isinstance(run, RunFolder | FoldsFolder) else place(run)
