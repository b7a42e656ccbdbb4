"""The recipe: defaults, a method's and a network's file, the user's, then `--set`; wrong names meet the nearest."""

import difflib
import tomllib
import typing
from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from smiler.curriculum.options import CurriculumOptions
from smiler.domain.errors import BadInput, Faults
from smiler.domain.organs import OrganSet
from smiler.formats.labels import LabelOptions
from smiler.formats.nifti import ReadOptions
from smiler.losses import build_loss
from smiler.losses.options import LossOptions
from smiler.networks import NETWORKS
from smiler.networks.options import NetworkOptions, axes_of
from smiler.prediction.options import PredictionOptions
from smiler.sampling.options import SamplingOptions
from smiler.selection import need_of
from smiler.store.options import DataOptions
from smiler.training.options import TrainingOptions

METHODS: dict[str, str] = {
    "baseline": "softmax over organs and background; whatever is not annotated is background (the usual tools)",
    "naive": "SMILE's own loss, but whatever is not annotated is background: what the reading alone is worth",
    "smile": "one sigmoid an organ; what nobody knows is ignored (Petit et al. 2018)",
    "smiler": "marginal softmax with Dice, then audited rounds that relabel missing organs with the safest predictions",
    "smiler-faithful": "SMILEr as in the authors' code: sigmoids, shares of slices up to 100 %, union (Petit 2018)",
    "smiler-mc": "SMILEr that accepts what is least uncertain under dropout (Gal and Ghahramani 2016)",
    "smiler-entropy": "SMILEr that accepts where the mean probability under dropout has the lowest entropy",
    "smiler-ensemble": "SMILEr with three networks that accepts where they agree best",
    "smiler-confidence": "SMILEr that accepts by a learned confidence (INERRANT: Petit et al. 2021)",
    "smiler-guarded": "SMILEr that audits itself on hidden expert pairs and lowers an organ's share where it is wrong",
    "marginal": "softmax with the marginal loss: unannotated organs and background count together",
    "marginal-dice": "the marginal softmax with a Dice term an organ (Shi et al. 2021)",
    "ignore-volume": "an organ is learned only from volumes in which it is annotated: SMILE without exclusion",
    "per-organ": "one network an organ, each learning from the volumes in which its organ is annotated",
}


BEFORE = ("training.average=0",)
"""What runs did before there was an option for it."""

_TWO = OrganSet.of("one", "other")


class Recipe(BaseModel):
    """All options of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = Field(default="smiler", description="the shipped recipe that this one began with")
    organs: tuple[str, ...] = Field(
        default=(), description="organs to train, in this order of channels; empty: all of the cohort"
    )
    reading: ReadOptions = ReadOptions()
    labels: LabelOptions = LabelOptions()
    data: DataOptions = DataOptions()
    sampling: SamplingOptions = SamplingOptions()
    network: NetworkOptions = NetworkOptions()
    loss: LossOptions = LossOptions()
    training: TrainingOptions = TrainingOptions()
    curriculum: CurriculumOptions = CurriculumOptions()
    prediction: PredictionOptions = PredictionOptions()

    @model_validator(mode="after")
    def _scores_need_no_hu(self) -> Self:
        """z-scores are taken of any grey values."""
        if self.data.normalisation == "zscore":
            object.__setattr__(self, "reading", self.reading.taking(any_grey_values=True))
        return self

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        rule, need = self.curriculum.rule, need_of(self.curriculum.rule)
        if need == "members" and self.network.members < 2:
            raise ValueError(f"the rule {rule!r} needs network.members of at least 2")
        if need == "confidence" and not self.loss.confidence:
            raise ValueError(f"the rule {rule!r} needs loss.confidence = true")
        name, axes, stride = self.network.name, self.network.axes, self.network.stride
        if any(side % stride for side in self.sampling.box[-axes:]):
            sides = "sampling.patch_size" if axes == 2 else "sampling.patch_depth and sampling.patch_size"
            raise ValueError(
                f"{name} needs {sides} in multiples of {stride}, and a patch is {self.sampling.box[-axes:]}"
            )
        if self.network.separate and build_loss(self.loss, _TWO).outputs != len(_TWO):
            raise ValueError("separate networks know one organ each: no softmax, no confidence")
        return self

    def to_toml(self) -> str:
        """As TOML; options that are unset are left out, which means unset."""
        return tomli_w.dumps(_without_none(self.model_dump(mode="json")))


def load_recipe(method: str = "smiler", path: Path | None = None, changes: Iterable[str] = ()) -> Recipe:
    """The resolved recipe. `changes` are texts such as 'training.steps=500'.

    A file or change that names its method begins with that one's options, so that no recipe bears another's name. What
    3-D networks want otherwise than those of slices comes next, then what one network wants otherwise.
    """
    layers = [*([read_toml(path)] if path else []), *(parse_change(change) for change in changes)]
    method = next((layer["method"] for layer in reversed(layers) if "method" in layer), method)
    if not isinstance(method, str) or method not in METHODS:
        raise BadInput("no such method", where="method", got=repr(method), do=_nearest(str(method), METHODS))
    table: dict[str, Any] = {"method": method}
    for layer in (_shipped("recipes", method), *layers):
        _merge(table, layer)
    if own := _network_defaults(table):
        for layer in (*own, *layers):
            _merge(table, layer)
    return check_recipe(table, str(path or f"method {method}"))


def _shipped(folder: str, name: str) -> dict[str, Any]:
    return tomllib.loads(_file(folder, name).read_text(encoding="utf-8"))


def _file(folder: str, name: str) -> Traversable:
    return resources.files("smiler.recipe").joinpath(folder, f"{name}.toml")


def _network_defaults(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the network of a recipe's table wants otherwise than the others: as one of volumes, then by itself."""
    network = table.get("network")
    name = network.get("name") if isinstance(network, Mapping) else None
    if not isinstance(name, str) or name not in NETWORKS:
        return []
    files = ["volumes"] if axes_of(name) == 3 else []
    return [_shipped("networks", file) for file in (*files, name) if _file("networks", file).is_file()]


def read_recipe(path: Path) -> Recipe:
    """A resolved recipe as a run folder holds it; an option that is younger than the run changes nothing in it."""
    table: dict[str, Any] = {}
    for change in BEFORE:
        _merge(table, parse_change(change))
    _merge(table, read_toml(path))
    return check_recipe(table, str(path))


def read_otherwise(recipe: Recipe, changes: Iterable[str]) -> Recipe:
    """A run's recipe, and how other files are read with it: `changes` of options under reading and labels."""
    table = tomllib.loads(recipe.to_toml())
    for change in changes:
        if not change.startswith(("reading.", "labels.")):
            do = "see smiler methods --options"
            raise BadInput("only options under reading and labels are of use here", where="--set", got=change, do=do)
        _merge(table, parse_change(change))
    return check_recipe(table, "--set")


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a table."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise BadInput("the recipe does not exist", where=str(path)) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput("the recipe is not readable TOML", where=str(path), got=str(error)) from error


def parse_change(change: str) -> dict[str, Any]:
    """'a.b=c' as {'a': {'b': c}}; c is read as TOML, and as a text where it is none; 'none' unsets."""
    name, sign, text = change.partition("=")
    if not sign or not name.strip():
        raise BadInput("not a change of the recipe", where="--set", got=repr(change), do="write training.steps=500")
    value: Any
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = None if text.strip() == "none" else text.strip()
    for key in reversed(name.strip().split(".")):
        value = {key: value}
    return typing.cast("dict[str, Any]", value)


def check_recipe(table: Mapping[str, Any], where: str) -> Recipe:
    """A table as a recipe; every unknown name, wrong type and value out of range at once."""
    try:
        return Recipe.model_validate(dict(table))
    except ValidationError as error:
        faults = [_fault(row, where) for row in error.errors()]
        raise (Faults(faults) if len(faults) > 1 else faults[0]) from error


def _fault(row: Any, where: str) -> BadInput:
    location = [str(part) for part in row["loc"]]
    name = ".".join(location)
    if row["type"] == "extra_forbidden":
        known = _fields_at(location[:-1])
        return BadInput(
            "unknown option", where=f"{where}: {name}", got=repr(location[-1]), do=_nearest(location[-1], known)
        )
    if isinstance(row["input"], dict):  # options that don't go together: what was given is the whole table
        together = f"{where}: {name}" if name else where
        return BadInput(row["msg"].removeprefix("Value error, "), where=together, do="see smiler methods --options")
    return BadInput(
        row["msg"], where=f"{where}: {name}", got=repr(row["input"])[:80], do="see smiler methods --options"
    )


def _fields_at(location: list[str]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in location:
        annotation = model.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"choose among {', '.join(names)}"


def _merge(table: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(table.get(key), dict):
            _merge(table[key], value)
        else:
            table[key] = dict(value) if isinstance(value, Mapping) else value


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value
