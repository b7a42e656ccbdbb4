"""A sweep's result in the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from smiler.domain.errors import BadInput


def numbers(text: str, where: str) -> tuple[float, ...]:
    """'0,.5' as (0.0, 0.5)."""
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise BadInput("not numbers", where=where, got=repr(text), do="write them as 0,.5,.9") from error


def whole_numbers(text: str, where: str) -> tuple[int, ...]:
    """'0,7' as (0, 7)."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise BadInput("not whole numbers", where=where, got=repr(text), do="write them as 0,1,2") from error


def show(summary: Mapping[str, Any], folder: Path, console: Console) -> None:
    """Mean Dice by arm and share of missing annotations."""
    arms = summary["arms"]
    alphas = sorted({alpha for row in arms.values() for alpha in row}, key=float)
    heads = [f"{float(alpha):.0%}" for alpha in alphas]
    table = Table("annotations missing:", *heads, title="mean Dice on test patients", title_justify="left")
    for arm, row in arms.items():
        table.add_row(arm, *(f"{row[alpha]['dice']:.1f}" if alpha in row else "" for alpha in alphas))
    console.print(table)
    console.print(f"tables, figures and {folder / 'report.html'}")
