"""A sweep's CSV tables as the page reads them: which columns there must be, and of what kind."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, FiniteFloat

from smiler.domain.errors import BadInput
from smiler.domain.shaped import as_shape

Row = Mapping[str, str]


def _is_share(text: str) -> str:
    if not 0 <= float(text) <= 1:
        raise ValueError("a share lies in [0, 1]")
    return text


Share = Annotated[str, AfterValidator(_is_share)]
Number = Annotated[FiniteFloat | None, BeforeValidator(lambda text: text or None)]
Count = Annotated[int, Field(ge=0, lt=2**53)]


@dataclass(frozen=True)
class _Points:
    arm: str
    organ: str
    alpha: Share
    dice: Number
    low: Number
    high: Number
    absent: Count | None = None
    false_alarms: Count | None = None


@dataclass(frozen=True)
class _Areas:
    arm: str
    n: Count
    area: FiniteFloat
    low: Number
    high: Number
    falls_at: Number


@dataclass(frozen=True)
class _Contrasts:
    left: str
    right: str
    organ: str
    alpha: Share
    n: Count
    difference: FiniteFloat
    low: Number
    high: Number
    p: Number
    p_holm: Number


@dataclass(frozen=True)
class _Relabelling:
    arm: str
    organ: str
    alpha: Share
    round: Count
    precision: Number
    recall: Number
    estimated: Number


TABLES: Mapping[str, type[Any]] = {
    "points": _Points,
    "areas": _Areas,
    "contrasts": _Contrasts,
    "relabelling": _Relabelling,
}
"""Columns that the page reads; there may be more. Low, high and p of one patient are empty; `absent` came later."""


def read_table(path: Path) -> list[Row]:
    """One of a sweep's CSV tables, every value as its text; empty where there is no file."""
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows: list[Row] = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput("the file is not a readable table", where=str(path), got=str(error)) from error
    for number, row in enumerate(rows, start=2):
        as_shape(row, TABLES[path.stem], f"{path}, line {number}")
    return rows
