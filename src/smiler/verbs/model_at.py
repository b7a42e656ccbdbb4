"""A model by the checkpoint it comes from: small enough to be sent to a worker, which opens it once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from smiler.domain.errors import BadInput
from smiler.domain.files import hash_json
from smiler.domain.organs import OrganSet
from smiler.networks.checkpoint import read_checkpoint
from smiler.networks.device import as_trained, make_fabric, settled
from smiler.prediction.engines import check_engine
from smiler.prediction.model import Model, ModelFacts, Weighed, load_model
from smiler.verbs.run import find_model, recipe_of
from smiler.workers.base import InProcess, Workers
from smiler.workers.pipelined import Pipelined


@dataclass(frozen=True)
class ModelAt(Weighed):
    """One checkpoint file, with device and precision settled: no two workers may differ by them, nor by the weights.

    `made_by`: sha256 of the weights. `members`: of an ensemble all of its models; it stands for the first of them in
    all but its weights, and `made_by` is a hash of its members'.
    """

    checkpoint: Path
    device: str
    precision: str
    made_by: str
    engine: str = "eager"
    members: tuple["ModelAt", ...] = ()

    @classmethod
    def find(cls, path: Path, device: str = "auto", engine: str = "eager") -> "ModelAt":
        """The model of a run folder, or of one of its checkpoint files; nothing is loaded yet."""
        check_engine(engine)
        found, precision = find_model(path), as_trained(recipe_of(path).training.precision, device)
        kind = make_fabric(device, "32").device.type
        axes = ModelFacts.from_json(found.facts, found.path).network.axes
        return cls(found.path, kind, settled(precision, kind, axes), found.model_hash, engine)

    @classmethod
    def together(cls, members: Sequence["ModelAt"]) -> "ModelAt":
        """The ensemble of some models, which must fit each other; of one, that one."""
        if len(members) == 1:
            return members[0]
        return replace(members[0], members=tuple(members), made_by=hash_json([each.made_by for each in members]))

    @cached_property
    def facts(self) -> ModelFacts:
        """What the checkpoint tells about its network."""
        return ModelFacts.from_json(read_checkpoint(self.checkpoint).facts, self.checkpoint)

    @property
    def organs(self) -> OrganSet:
        """Organs in channel order."""
        return self.facts.organs

    @property
    def gpus(self) -> float:
        """How many GPUs whoever opens it needs."""
        return float(self.device == "cuda")

    def open(self) -> Model:
        """The network on its device; a process keeps the last one."""
        return _open(self)


def opened(model: Model | ModelAt) -> Model:
    """The model itself."""
    return model.open() if isinstance(model, ModelAt) else model


def usual_workers(model: Model | ModelAt) -> Workers:
    """On a GPU the next case is read and the last one written meanwhile; on a CPU that would take cores from the
    network, which loses more than is gained (decision 15).
    """
    device = model.device if isinstance(model, ModelAt) else model.fabric.device.type
    return InProcess() if device == "cpu" else Pipelined()


@lru_cache(maxsize=1)
def _open(at: ModelAt) -> Model:
    if not at.members:
        return _load(at)
    members = tuple(_load(member) for member in at.members)
    return replace(members[0], members=members, made_by=at.made_by)


def _load(at: ModelAt) -> Model:
    checkpoint = read_checkpoint(at.checkpoint)
    if checkpoint.model_hash != at.made_by:
        got = f"{checkpoint.model_hash[:12]} instead of {at.made_by[:12]}"
        raise BadInput("the checkpoint has changed meanwhile", where=str(at.checkpoint), got=got, do="call again")
    return load_model(checkpoint, make_fabric(at.device, at.precision), at.engine)
