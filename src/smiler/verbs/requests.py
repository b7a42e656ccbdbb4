"""Requests as a run and a few choices make them: the command and the Python API ask in the same words."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from smiler.recipe.recipe import read_otherwise
from smiler.verbs.model_at import ModelAt
from smiler.verbs.predict import PredictRequest
from smiler.verbs.relabel import RelabelRequest
from smiler.verbs.run import find_model, recipe_of, stage_of, trained_on


def relabel_request(
    run: Path, asked: RelabelRequest, device: str = "auto", changes: Sequence[str] = ()
) -> tuple[ModelAt, RelabelRequest]:
    """The model of a run, and what is asked of it: its stage, what it learned from, and its recipe's options.

    changes, here and below: of options under reading and labels, such as 'reading.detilt=true'.
    """
    model, recipe = ModelAt.find(run, device), read_otherwise(recipe_of(run), changes)
    told = replace(asked, options=recipe.prediction, reading=recipe.reading, labels=recipe.labels)
    stage, passes = stage_of(find_model(run)), recipe.curriculum.passes
    return model, replace(told, passes=passes, stage=stage, learned=trained_on(run))


def predict_request(
    run: Path, asked: PredictRequest, device: str = "auto", engine: str = "eager", changes: Sequence[str] = ()
) -> tuple[ModelAt, PredictRequest]:
    """The model of a run, and what is asked of it with its recipe's options."""
    model, recipe = ModelAt.find(run, device, engine), read_otherwise(recipe_of(run), changes)
    largest = asked.options.largest_component or recipe.prediction.largest_component
    options = recipe.prediction.model_copy(update={"largest_component": largest})
    return model, replace(asked, options=options, reading=recipe.reading)
