"""Rows of one dataclass as text: CSV for programs, Markdown for people."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any


def to_csv(rows: Sequence[Any]) -> str:
    """Dataclass rows as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    if rows:
        writer.writerow([field.name for field in fields(rows[0])])
        writer.writerows(["" if value is None else value for value in asdict(row).values()] for row in rows)
    return stream.getvalue()


def to_markdown(rows: Sequence[Any]) -> str:
    """Dataclass rows as a Markdown table."""
    if not rows:
        return "nothing\n"
    heads = [field.name for field in fields(rows[0])]
    lines = [heads, ["---"] * len(heads)]
    lines += [
        ["" if value is None else str(value).replace("|", "\\|") for value in asdict(row).values()] for row in rows
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
