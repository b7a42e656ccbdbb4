"""Several runs as one model: those that are given, or the folds of one training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from smiler.domain.errors import BadInput
from smiler.domain.evidence import Relations
from smiler.domain.remote import Remote
from smiler.domain.shaped import read_as
from smiler.domain.signpost import FOLDS
from smiler.losses import build_loss
from smiler.losses.options import LossOptions
from smiler.prediction.model import ModelFacts
from smiler.recipe.recipe import Recipe, check_recipe
from smiler.verbs.model_at import ModelAt
from smiler.verbs.run import RunFolder, TrainingRecord, recipe_of, training_record

SCORES = "validation/scores.csv"
"""In a run's folder: what it held out, scored. In a folder of folds: all of that, each case scored by one fold."""


@dataclass(frozen=True)
class FoldsRecord:
    """`folds.json`: how many folds, of which cohort, and the recipe that all of them are trained by."""

    format: Literal[1]
    folds: Annotated[int, Field(ge=1, le=1000)]
    cohort: str
    recipe: dict[str, Any]


@dataclass(frozen=True)
class FoldsFolder:
    """Where the folds of a training lie: `fold_0`, `fold_1`, ..., each of them a run."""

    path: Path

    @property
    def record_path(self) -> Path:
        """What all folds share; it marks the folder."""
        return self.path / FOLDS

    @property
    def splits_path(self) -> Path:
        """Who is trained on and who validates, as nnU-Net writes it."""
        return self.path / "splits_final.json"

    @property
    def exists(self) -> bool:
        """Whether a training in folds began here."""
        return not isinstance(self.path, Remote) and self.record_path.exists()

    def record(self) -> FoldsRecord:
        """What all folds share."""
        return read_as(self.record_path, FoldsRecord)

    def recipe(self) -> Recipe:
        """The recipe that all folds are trained by, but for their seeds."""
        return check_recipe(self.record().recipe, f"{self.record_path}, recipe")

    def fold(self, number: int) -> RunFolder:
        """The run of one fold."""
        return RunFolder(self.path / f"fold_{number}")

    def folds(self) -> list[RunFolder]:
        """All runs, trained or not."""
        return [self.fold(number) for number in range(self.record().folds)]


def is_trained(path: Path) -> bool:
    """Whether a path stands for a model: a run, one of its checkpoint files, or a training in folds."""
    if isinstance(path, Remote):
        return False
    return FoldsFolder(path).exists or RunFolder(path).exists or (path.suffix == ".json" and path.is_file())


def runs_of(path: Path) -> list[Path]:
    """The runs that a path stands for: the folds of a training in folds, all of them finished; else itself."""
    folder = FoldsFolder(path)
    if not folder.exists:
        return [path]
    folds = folder.folds()
    open_ones = [run.path.name for run in folds if not run.finished]
    if open_ones:
        do = f"go on with smiler train {folder.record().cohort} {path} --resume, or give the folds that are finished"
        raise BadInput("folds are not trained to their end", where=str(path), got=", ".join(open_ones), do=do)
    return [run.path for run in folds]


def find_models(paths: Sequence[Path], device: str = "auto", engine: str = "eager") -> ModelAt:
    """The model that some runs are together: the mean of their probabilities.

    BadInput, naming all differences, if they know other organs, or see or write volumes otherwise.
    """
    runs = [run for path in paths for run in runs_of(path)]
    found = [ModelAt.find(run, device, engine) for run in runs]
    for number, (run, model) in enumerate(zip(runs, found, strict=True)):
        for other, earlier in zip(runs[:number], found[:number], strict=True):
            if model.made_by == earlier.made_by:
                raise BadInput("the same model is given twice", where=str(run), got=str(other), do="give it once")
        _check_fits(runs[0], found[0], run, model)
    return ModelAt.together(found)


def _check_fits(first: Path, one: ModelAt, run: Path, other: ModelAt) -> None:
    mine, own = dict(_shared(one, recipe_of(first))), dict(_shared(other, recipe_of(run)))
    differing = [name for name in mine | own if mine.get(name) != own.get(name)]
    if differing:
        got = "; ".join(f"{name}: {mine.get(name)} in {first}, {own.get(name)} in {run}" for name in differing)
        raise BadInput("the runs don't fit each other", where=str(run), got=got, do="give runs that agree in it")


def _shared(model: ModelAt, recipe: Recipe) -> Iterator[tuple[str, str]]:
    """What all members must share, by name. Networks, training and the grey values' scale are each one's own."""
    facts = model.facts
    yield "organs", ", ".join(model.organs.keys)
    yield "how organs exclude or contain each other", str(Relations.of(model.organs))
    yield "organs compete", _competing(facts)
    options = {"data": facts.data, "reading": recipe.reading, "prediction": recipe.prediction}
    for room, chosen in options.items():
        for name, value in chosen.model_dump(mode="json").items():
            if name != "batch_size":
                yield f"{room}.{name}", str(value)


def _competing(facts: ModelFacts) -> str:
    """In one softmax, or each organ with a sigmoid of its own: their logits can't be averaged with each other."""
    plain = LossOptions(**{**facts.loss.model_dump(), "confidence": False})
    return "in one softmax" if build_loss(plain, facts.organs).outputs != len(facts.organs) else "not at all"


def joint_record(runs: Sequence[Path]) -> TrainingRecord | None:
    """What several runs learned from, as one record. None if one of them says nothing."""
    first, *others = [training_record(run) for run in runs]
    known = tuple(record for record in others if record is not None)
    return replace(first, others=known) if first is not None and len(known) == len(others) else None
