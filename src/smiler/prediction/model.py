"""A trained network with everything that is needed to use it, read from a checkpoint."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from smiler.domain.errors import BadInput
from smiler.domain.organs import Organ, OrganSet
from smiler.losses import build_loss
from smiler.losses.options import LossOptions
from smiler.losses.targets import Loss
from smiler.networks import build
from smiler.networks.base import SegmentationNet
from smiler.networks.checkpoint import Checkpoint, load_weights
from smiler.networks.device import channels_last
from smiler.networks.folded import folded
from smiler.networks.options import NetworkOptions
from smiler.prediction.engines import ENGINES, Trunk, check_engine
from smiler.sampling.augment import Normalisation
from smiler.store.options import DataOptions

LARGEST = 4096


@dataclass(frozen=True)
class ModelFacts:
    """What a checkpoint must tell about its network. `window`: size (z, y, x) of the patches of a 3-D one."""

    organs: OrganSet
    network: NetworkOptions
    loss: LossOptions
    data: DataOptions
    normalisation: Normalisation
    window: tuple[int, int, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        organs = [
            {"key": o.key, "title": o.title, "snomed": o.snomed, "colour": o.colour, "part_of": o.part_of,
             "overlaps": sorted(o.overlaps)}
            for o in self.organs
        ]  # fmt: skip
        grey = {"mean": self.normalisation.mean, "sd": self.normalisation.sd, "air": self.normalisation.air}
        network = self.network.model_copy(update={"weights": None})
        options = {"network": network, "loss": self.loss, "data": self.data}
        return {"organs": organs, "normalisation": grey, "window": self.window} | {
            name: value.model_dump(mode="json") for name, value in options.items()
        }

    @classmethod
    def from_json(cls, facts: Any, where: Path) -> "ModelFacts":
        """From plain JSON; BadInput for anything that is not what `to_json` writes."""
        try:
            organs = tuple(Organ(**{**row, "overlaps": frozenset(row["overlaps"])}) for row in facts["organs"])
            grey = {key: float(value) for key, value in facts["normalisation"].items()}
            if not all(map(math.isfinite, grey.values())) or grey["sd"] <= 0:
                raise ValueError(f"normalisation {grey}")
            return cls(
                OrganSet(organs),
                NetworkOptions(**facts["network"]),
                LossOptions(**facts["loss"]),
                DataOptions(**facts["data"]),
                Normalisation(**grey),
                _window(facts.get("window"), NetworkOptions(**facts["network"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, BadInput) as error:
            got = str(error) if isinstance(error, BadInput) else repr(error)
            raise BadInput("the checkpoint does not describe its network", where=str(where), got=got) from error


def _window(sides: Any, network: NetworkOptions) -> tuple[int, int, int] | None:
    """A 3-D network's window, checked; None for networks of slices."""
    if network.axes == 2:
        return None
    z, y, x = sides
    if not all(type(side) is int and 0 < side <= LARGEST and not side % network.stride for side in sides):
        raise ValueError(f"window {sides}")
    return z, y, x


class Weighed:
    """What is known by the hash of its weights: a model, or several that say one thing together."""

    made_by: str
    members: tuple[Any, ...]

    @property
    def parents(self) -> dict[str, str]:
        """For provenance: the hash, and of an ensemble each member's, too."""
        each = {f"model {number}": member.made_by for number, member in enumerate(self.members, start=1)}
        return {"model": self.made_by, **each}


@dataclass(frozen=True)
class Model(Weighed):
    """A network on its device, ready to predict.

    `members`: of an ensemble all its models, of which the first lends its facts; together they say the mean of their
    probabilities. `made_by`: sha256 of the weights, of an ensemble a hash of its members'.
    """

    facts: ModelFacts
    network: SegmentationNet
    loss: Loss
    fabric: Fabric
    made_by: str
    engine: str = "eager"
    members: tuple["Model", ...] = ()

    @cached_property
    def trunk(self) -> Trunk:
        """What computes features (B, F, *space) of images (B, C, *space); made at its first use."""
        return ENGINES[self.engine](self.network, self.fabric)

    @property
    def organs(self) -> OrganSet:
        """Organs in channel order."""
        return self.facts.organs


def load_model(checkpoint: Checkpoint, fabric: Fabric, engine: str = "eager") -> Model:
    """Build the checkpoint's network, load its weights, and run it by this engine."""
    check_engine(engine)
    facts = ModelFacts.from_json(checkpoint.facts, checkpoint.path)
    loss = build_loss(facts.loss, facts.organs)
    network = build(facts.network, loss.outputs)
    load_weights(network, checkpoint)
    return replace(as_model(facts, network, fabric, checkpoint.model_hash), engine=engine)


def as_model(facts: ModelFacts, network: SegmentationNet, fabric: Fabric, made_by: str) -> Model:
    """A network in memory as a model: a copy without BatchNorms, on the device, its weights with channels last.

    An image of one channel alone would leave convolutions in the other order: a U-Net then takes twice as long.
    """
    used = folded(network).to(fabric.device, memory_format=channels_last(network.axes))  # type: ignore[call-overload]
    return Model(facts, used, build_loss(facts.loss, facts.organs), fabric, made_by)
