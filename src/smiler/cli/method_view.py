"""All that can be chosen by name, and every option: read from the registries that the program uses."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table

from smiler.domain.registry import NameIn, titles
from smiler.evaluation.metrics import METRICS
from smiler.experiments.arms import ARMS
from smiler.export.export import EXPORTS
from smiler.formats import FORMATS
from smiler.losses import LOSSES
from smiler.losses.targets import READINGS
from smiler.networks import NETWORKS
from smiler.prediction.engines import ENGINES
from smiler.recipe.recipe import METHODS, load_recipe
from smiler.selection import RULES

KINDS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "methods": (METHODS, "smiler train --method"),
    "arms": (ARMS, "smiler sweep --methods"),
    "networks": (NETWORKS, "--set network.name"),
    "losses": (LOSSES, "--set loss.name"),
    "readings": (READINGS, "--set loss.reading"),
    "rules": (RULES, "smiler relabel --rule, --set curriculum.rule"),
    "metrics": (METRICS, "smiler evaluate"),
    "engines": (ENGINES, "smiler predict --engine"),
    "formats": (FORMATS, "smiler import --format"),
    "exports": (EXPORTS, "smiler export --format"),
}
"""Each registry, and where its names are used."""


def describe(method: str) -> dict[str, Any]:
    """Everything that can be chosen, as JSON."""
    options = {name: {"value": value, "meaning": text} for name, value, text in each_option(load_recipe(method))}
    return {**{kind: titles(registry) for kind, (registry, _) in KINDS.items()}, "options": options}


def each_option(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """(dotted name, value, meaning) of every option of a recipe."""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from each_option(value, f"{prefix}{name}.")
        else:
            plain = value if isinstance(value, (int, float, str)) else _plain(value)
            yield f"{prefix}{name}", plain, _meaning(field)


def _meaning(field: FieldInfo) -> str:
    """Its description, and what each name means where it must be one in a registry."""
    named = [mark.meaning for mark in field.metadata if isinstance(mark, NameIn)]
    return "; ".join(text.rstrip(".") for text in (field.description or "", *named) if text)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else None if value is None else str(value)


def show(method: str, console: Console, *, with_options: bool) -> None:
    """In the terminal."""
    options = list(each_option(load_recipe(method))) if with_options else []
    for kind, (registry, where) in KINDS.items():
        table = Table(kind, "what it is", title=where, title_justify="left")
        for name, text in titles(registry).items():
            table.add_row(name, text)
        console.print(table)
    if with_options:
        rows = Table("option (--set name=value)", method, "meaning", title="options", title_justify="left")
        for name, value, text in options:
            rows.add_row(name, str(value), text)
        console.print(rows)
