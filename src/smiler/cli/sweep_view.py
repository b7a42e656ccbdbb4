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
    """Mean Dice, where an organ is present, by arm and share of missing annotations; and false alarms, if any organ is
    absent in any test patient.
    """
    arms = summary["arms"]
    alphas = sorted({alpha for row in arms.values() for alpha in row}, key=float)
    heads = [f"{float(alpha):.0%}" for alpha in alphas]
    table = Table("annotations missing:", *heads, title="mean Dice on test patients", title_justify="left")
    absent = any(cell["absent"] for row in arms.values() for cell in row.values())
    for arm, row in arms.items():
        table.add_row(arm, *(_cell(row[alpha], absent) if alpha in row else "" for alpha in alphas))
    console.print(table)
    if absent:
        console.print("in brackets: false alarms, of the scores of organs that are absent")
    console.print(f"tables, figures and {folder / 'report.html'}")


def _cell(point: Mapping[str, Any], absent: bool) -> str:
    dice = "–" if point["dice"] is None else f"{point['dice']:.1f}"
    return f"{dice} ({point['false_alarms']} of {point['absent']})" if absent else dice
