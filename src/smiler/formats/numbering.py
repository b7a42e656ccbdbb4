"""Label tables of published data sets: which number is which organ in their label maps (`label_tables.toml`).

Another table is a TOML file (`5 = "liver"`) or text (`5=liver,1=spleen`).
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from smiler.domain.errors import BadInput

SHIPPED = Path(__file__).with_name("label_tables.toml")


def _shipped() -> dict[str, dict[int, str]]:
    tables = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    return {name: {int(number): organ for number, organ in table.items()} for name, table in tables.items()}


LABEL_TABLES: Mapping[str, Mapping[int, str]] = _shipped()


def label_table(text: str) -> dict[int, str]:
    """A label table out of what a user typed: a name of LABEL_TABLES, a TOML file, or `5=liver,1=spleen`."""
    if text in LABEL_TABLES:
        return dict(LABEL_TABLES[text])
    if "=" in text:
        pairs = [part.partition("=") for part in text.split(",")]
        return checked_table([(number.strip(), name.strip()) for number, _, name in pairs], "--labels")
    path = Path(text)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        known = ", ".join(LABEL_TABLES)
        raise BadInput(
            "neither a label table nor a file",
            where="--labels",
            got=repr(text),
            do=f'use {known}, a TOML file with lines such as 5 = "liver", or 5=liver,1=spleen',
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput("the file is not readable TOML", where=str(path), got=str(error)) from error
    return checked_table(list(table.items()), str(path))


def checked_table(pairs: list[tuple[str, object]], where: str) -> dict[int, str]:
    """Number -> organ; BadInput unless every number is a positive whole number used once and every name a text."""
    table: dict[int, str] = {}
    for number, name in pairs:
        value = int(number) if number.isascii() and number.isdigit() else 0
        if value < 1 or value in table or not isinstance(name, str) or not name:
            raise BadInput(
                "not a label table",
                where=where,
                got=f"{number!r} = {name!r}",
                do="give each label number (1 or more) once, with the organ's name",
            )
        table[value] = name
    return table


def by_name(numbers: Mapping[int, str]) -> dict[str, tuple[int, ...]]:
    """Organ -> its labels: numbers under one name are one organ."""
    organs: dict[str, tuple[int, ...]] = {}
    for number, name in sorted(numbers.items()):
        organs[name] = (*organs.get(name, ()), number)
    return organs
