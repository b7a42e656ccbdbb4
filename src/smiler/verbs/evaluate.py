"""Measure a run, or a folder of masks, against truth."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from smiler.domain.cohort import Case
from smiler.domain.errors import BadInput
from smiler.domain.organs import OrganSet
from smiler.domain.progress import Progress, Silent
from smiler.evaluation.scores import Measured, Score, score_case
from smiler.evaluation.truth import Truth
from smiler.formats.volumes import read_ct, read_header, read_labels
from smiler.prediction.model import Model
from smiler.prediction.volume import predict_bits
from smiler.recipe.recipe import Recipe
from smiler.verbs.run import RunFolder, open_model


def evaluate(predicted: Path, truth: Truth, device: str = "auto", progress: Progress | None = None) -> list[Score]:
    """Scores of every case of the truth, predicted by a run or read from DIR/CASE/ORGAN.nii.gz."""
    if not predicted.is_dir():
        raise BadInput("neither a run folder nor a folder of masks", where=str(predicted))
    shown = (progress or Silent()).track(truth.cohort, "evaluating", len(truth.cohort))
    if RunFolder(predicted).exists:
        model, recipe = open_model(predicted, device)
        pairs = ((case, measure(model, recipe, truth, case)) for case in shown)
    else:
        pairs = ((case, masks) for case in shown for masks in _read_masks(predicted, truth, case))
    scores = [score for case, measured in pairs for score in score_case(truth, case, measured)]
    if not scores:
        raise BadInput("nothing to score: no case has both a prediction and an expert's word", where=str(predicted))
    return scores


def measure(model: Model, recipe: Recipe, truth: Truth, case: Case) -> Measured:
    """Predict one case on its own grid."""
    ct = read_ct(truth.cohort.image_path(case), recipe.reading)
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
