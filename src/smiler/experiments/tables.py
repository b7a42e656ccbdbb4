"""Rows of one dataclass as text: CSV with every digit for programs, Markdown for people."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

DASH = "–"


def to_csv(rows: Sequence[Any]) -> str:
    """Dataclass rows as CSV; a field that is a mapping is a column for each of its keys."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    if rows:
        writer.writerow(_cells(rows[0]))
        writer.writerows(["" if value is None else value for value in _cells(row).values()] for row in rows)
    return stream.getvalue()


def to_markdown(rows: Sequence[Any]) -> str:
    """Dataclass rows as a Markdown table: five digits, a dash where there is nothing."""
    if not rows:
        return "nothing\n"
    heads = list(_cells(rows[0]))
    lines = [heads, ["---"] * len(heads)]
    lines += [[_text(value) for value in _cells(row).values()] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(row: Any) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for each in fields(row):
        value = getattr(row, each.name)
        cells |= value if isinstance(value, Mapping) else {each.name: value}
    return cells


def _text(value: object) -> str:
    if value is None:
        return DASH
    return f"{value:.5g}" if isinstance(value, float) else str(value).replace("|", "\\|")
