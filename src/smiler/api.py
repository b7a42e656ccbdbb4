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
from smiler.verbs import predict as predicting
from smiler.verbs import relabel as relabelling
from smiler.verbs import train as training
from smiler.verbs.predict import Predicted
from smiler.verbs.requests import RecipeChoice, predict_request, relabel_request, train_request
from smiler.verbs.run import RunFolder
from smiler.workers.base import Workers

PathLike = str | Path


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
    opened = cohort if isinstance(cohort, Cohort) else Cohort.open(cohort)
    if isinstance(recipe, Recipe):
        request = training.TrainRequest(opened, Path(run), recipe)
    else:
        request = train_request(opened, Path(run), RecipeChoice(recipe, None, tuple(changes)))
    return training.train(replace(request, resume=resume, budget_minutes=minutes))


def predict(
    run: RunFolder | PathLike,
    images: Sequence[PathLike],
    out: PathLike,
    *,
    organs: Sequence[str] = (),
    workers: Workers | None = None,
) -> list[Predicted]:
    """Masks OUT/NAME/ORGAN.nii.gz on each image's own grid; volumes in ml are returned and in OUT/volumes.csv.

    `workers`, here and below: such as smiler.workers.processes.Processes(4); else one case after the other.
    """
    model, request = predict_request(_path(run), predicting.PredictRequest(place(out), tuple(organs)))
    return predicting.predict(model, [place(image) for image in images], request, workers=workers)


def relabel(
    run: RunFolder | PathLike,
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
    predicted: RunFolder | PathLike,
    truth: Truth | Cohort | PathLike,
    *,
    progress: Progress | None = None,
    workers: Workers | None = None,
) -> list[Score]:
    """Dice, NSD, HD95 per patient and organ of a run or a folder of masks, where an expert annotated."""
    if not isinstance(truth, Truth):
        truth = Truth(truth) if isinstance(truth, Cohort) else Truth.open(truth)
    return evaluating.evaluate(_path(predicted), truth, progress=progress, workers=workers)


def _path(run: RunFolder | PathLike) -> Path:
    return run.path if isinstance(run, RunFolder) else place(run)
