"""A run folder: the resolved recipe, events, checkpoints, rounds and provenance of one training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smiler.domain.checks import check_number
from smiler.domain.errors import BadInput
from smiler.domain.provenance import Provenance
from smiler.domain.remote import local
from smiler.domain.shaped import as_shape
from smiler.domain.signpost import instead
from smiler.evaluation.scores import Learned
from smiler.networks.checkpoint import PICKLED, Checkpoint, find_checkpoint, read_checkpoint
from smiler.networks.device import as_trained, make_fabric
from smiler.prediction.model import Model, ModelFacts, load_model
from smiler.recipe.recipe import Recipe, read_recipe


@dataclass(frozen=True)
class RunFolder:
    """Where everything of a run lies."""

    path: Path

    @property
    def recipe_path(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.toml"

    @property
    def provenance_path(self) -> Path:
        """Where the run came from."""
        return self.path / "provenance.json"

    @property
    def exists(self) -> bool:
        """Whether a run began here."""
        return self.recipe_path.exists()

    def recipe(self) -> Recipe:
        """The resolved recipe; BadInput if this is no run folder."""
        if not self.exists:
            raise instead("not a run folder: there is no recipe.toml", self.path, do="train first")
        return read_recipe(self.recipe_path)

    def stage_folder(self, number: int) -> Path:
        """Checkpoints of the first training (0) or of a round."""
        return self.path / "checkpoints" if number == 0 else self.path / "rounds" / str(number) / "checkpoints"

    @property
    def finished(self) -> bool:
        """Whether the last round was trained to its end."""
        last = find_checkpoint(self.stage_folder(self.recipe().curriculum.rounds)) if self.exists else None
        return last is not None and last.finished

    def newest(self) -> Checkpoint:
        """The checkpoint of the last finished stage; without any, the newest of the first."""
        rounds = self.recipe().curriculum.rounds
        found = [find_checkpoint(self.stage_folder(number)) for number in range(rounds, -1, -1)]
        usable = [checkpoint for checkpoint in found if checkpoint]
        if not usable:
            raise BadInput("the run has no checkpoint yet", where=str(self.path), do="smiler train ... --resume")
        return next((checkpoint for checkpoint in usable if checkpoint.finished), usable[-1])


def find_model(path: Path) -> Checkpoint:
    """The checkpoint that a run folder, or one of its checkpoint files, stands for."""
    path = local(path, "a run")
    if not path.is_dir() and path.suffix != ".json" and path.suffix not in PICKLED:
        raise instead("not a run folder", path, do="train first")
    return RunFolder(path).newest() if path.is_dir() else read_checkpoint(path)


def stage_of(checkpoint: Checkpoint) -> int:
    """The round that a checkpoint was trained in; 0 is the first training."""
    stage = checkpoint.facts.get("stage", 0)
    check_number(stage, f"{checkpoint.path}, stage", 0, whole=True)
    return int(stage)


def open_model(path: Path, device: str = "auto") -> tuple[Model, Recipe]:
    """The model of a run folder, or of one of its checkpoint files, on a device, and its recipe."""
    checkpoint, recipe = find_model(path), recipe_of(path)
    axes = ModelFacts.from_json(checkpoint.facts, checkpoint.path).network.axes
    precision = as_trained(recipe.training.precision, device)
    return load_model(checkpoint, make_fabric(device, precision, axes=axes)), recipe


def recipe_of(path: Path) -> Recipe:
    """The recipe of a run folder, or of the run that one of its checkpoint files belongs to; else the usual one."""
    for folder in (path, *path.parents):
        if RunFolder(folder).exists:
            return RunFolder(folder).recipe()
    return Recipe()


@dataclass(frozen=True)
class TrainingRecord:
    """What a run says of its training: the organs whose annotation it learned from, by case, and each CT's hash.

    `images` is empty in runs that are older than it: there a case is known by its id alone. `others`: what the other
    runs of an ensemble say.
    """

    annotated: Mapping[str, frozenset[str]]
    images: Mapping[str, str] = field(default_factory=dict)
    others: tuple["TrainingRecord", ...] = ()

    def learned(self, case: str, organ: str, image: str) -> Learned:
        """Whether the run, or one of its ensemble, was trained on this organ's annotation in the CT of this hash.

        Unknown where the case has the id, but not the CT, of one that was trained on: another patient, or a file that
        was written anew.
        """
        each = [record.learned(case, organ, image) for record in self.others]
        each.append(self._learned(case, organ, image))
        return max(each, key=[Learned.NO, Learned.UNKNOWN, Learned.YES].index)

    def _learned(self, case: str, organ: str, image: str) -> Learned:
        same = [name for name, known in self.images.items() if known == image] if self.images else [case]
        if any(organ in self.annotated.get(name, ()) for name in same):
            return Learned.YES
        return Learned.UNKNOWN if case in self.images and case not in same else Learned.NO


def training_record(run: Path) -> TrainingRecord | None:
    """What a run says of its training; None for what is no run, or says nothing."""
    path = RunFolder(run).provenance_path
    facts = told.facts if (told := Provenance.read(path)) else {}
    if "annotated" not in facts:
        return None
    cases = as_shape(facts["annotated"], dict[str, list[str]], f"{path}, facts.annotated")
    images = as_shape(facts.get("images", {}), dict[str, str], f"{path}, facts.images")
    return TrainingRecord({case: frozenset(organs) for case, organs in cases.items()}, images)


def trained_on(run: Path) -> frozenset[tuple[str, str]]:
    """(case, organ) pairs from whose annotations a run learned; none for what is no run."""
    record = training_record(run)
    rows = record.annotated.items() if record else ()
    return frozenset((case, organ) for case, organs in rows for organ in organs)
