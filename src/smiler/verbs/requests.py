"""Requests as a run and a few choices make them: the command and the Python API ask in the same words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.progress import Progress
from smiler.recipe.recipe import Recipe, load_recipe, read_otherwise
from smiler.selection import need_of
from smiler.verbs.ensembles import find_models, runs_of
from smiler.verbs.model_at import ModelAt
from smiler.verbs.plan import planned_recipe
from smiler.verbs.predict import PredictRequest
from smiler.verbs.relabel import RelabelRequest
from smiler.verbs.run import RunFolder, find_model, recipe_of, stage_of, trained_on
from smiler.verbs.train import TrainRequest


@dataclass(frozen=True)
class RecipeChoice:
    """How a recipe is asked for: a method, a file, changes. `planned`: what nobody decided is chosen by the data."""

    method: str = "smiler"
    path: Path | None = None
    changes: tuple[str, ...] = ()
    planned: bool = True

    def resolve(self, cohort: Cohort, progress: Progress | None = None) -> Recipe:
        """The recipe. A file of one's own is taken as it is."""
        if self.path or not self.planned:
            return load_recipe(self.method, self.path, self.changes)
        return planned_recipe(cohort, self.method, self.changes, progress)


def train_request(cohort: Cohort, run: Path, asked: RecipeChoice, progress: Progress | None = None) -> TrainRequest:
    """A training of the cohort into `run`; one that has begun goes on with its own recipe."""
    begun = RunFolder(run)
    return TrainRequest(cohort, run, begun.recipe() if begun.exists else asked.resolve(cohort, progress))


def relabel_request(
    run: Path, asked: RelabelRequest, device: str = "auto", changes: Sequence[str] = ()
) -> tuple[ModelAt, RelabelRequest]:
    """The model of a run or of a training in folds, and what is asked of it: its stage, what it learned from, and its
    recipe's options.

    changes, here and below: of options under reading and labels, such as 'reading.detilt=true'.
    """
    runs = runs_of(run)
    if len(runs) > 1 and (asked.review or need_of(asked.rule)):
        got = "--round" if asked.review else f"the rule {asked.rule}"
        do = f"take the rule score without --round, or one of the runs: {runs[0]}"
        raise BadInput("of several runs only their mean is known", where=str(run), got=got, do=do)
    model, recipe = find_models([run], device), read_otherwise(recipe_of(runs[0]), changes)
    told = replace(asked, options=recipe.prediction, reading=recipe.reading, labels=recipe.labels)
    stage, passes = max(stage_of(find_model(each)) for each in runs), recipe.curriculum.passes
    learned = frozenset(pair for each in runs for pair in trained_on(each))
    return model, replace(told, passes=passes, stage=stage, learned=learned)


def predict_request(
    runs: Sequence[Path],
    asked: PredictRequest,
    device: str = "auto",
    engine: str = "eager",
    changes: Sequence[str] = (),
) -> tuple[ModelAt, PredictRequest]:
    """The model of a run, or the ensemble of several, and what is asked of it with their recipe's options."""
    model, recipe = find_models(runs, device, engine), read_otherwise(recipe_of(runs_of(runs[0])[0]), changes)
    largest = asked.options.largest_component or recipe.prediction.largest_component
    shifts = asked.options.shifts or recipe.prediction.shifts
    options = recipe.prediction.model_copy(update={"largest_component": largest, "shifts": shifts})
    return model, replace(asked, options=options, reading=recipe.reading)
