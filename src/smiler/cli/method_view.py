"""Methods, losses, rules, networks and every option, read from the same lists that the program uses."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from smiler.experiments.arms import ARMS
from smiler.formats import FORMATS
from smiler.losses import LOSSES
from smiler.losses.targets import READINGS
from smiler.networks import NETWORKS
from smiler.recipe.recipe import METHODS, load_recipe
from smiler.selection import RULES


def describe(method: str) -> dict[str, Any]:
    """Everything that can be chosen, as JSON."""
    return {
        "methods": METHODS,
        "arms": {name: arm.title for name, arm in ARMS.items()},
        "readings": {name: reading.title for name, reading in READINGS.items()},
        "losses": list(LOSSES),
        "networks": list(NETWORKS),
        "rules": list(RULES),
        "formats": {name: form.title for name, form in FORMATS.items()},
        "options": {name: {"value": value, "meaning": text} for name, value, text in each_option(load_recipe(method))},
    }


def each_option(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """(dotted name, value, meaning) of every option of a recipe."""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from each_option(value, f"{prefix}{name}.")
        else:
            yield (
                f"{prefix}{name}",
                value if isinstance(value, (int, float, str)) else _plain(value),
                field.description or "",
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else None if value is None else str(value)


def show(method: str, console: Console, *, with_options: bool) -> None:
    """In the terminal."""
    options = list(each_option(load_recipe(method))) if with_options else []
    table = Table("method", "what it is", title="smiler train --method", title_justify="left")
    for name, text in METHODS.items():
        table.add_row(name, text)
    console.print(table)
    arms = Table("arm", "what it is", title="smiler sweep --methods", title_justify="left")
    for name, arm in ARMS.items():
        arms.add_row(name, arm.title)
    console.print(arms)
    for title, names in (("networks", NETWORKS), ("losses", LOSSES), ("rules", RULES), ("formats", FORMATS)):
        console.print(f"{title}: {', '.join(names)}")
    if with_options:
        rows = Table("option (--set name=value)", method, "meaning", title="options", title_justify="left")
        for name, value, text in options:
            rows.add_row(name, str(value), text)
        console.print(rows)
