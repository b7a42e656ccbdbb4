"""Files that we write and read back, checked against the type that they were written with."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from smiler.domain.errors import BadInput
from smiler.domain.files import read_json

T = TypeVar("T")
AGAIN = "get the file back from a copy, or remove it and make it again with the command that wrote it"


def read_as(path: Path, shape: type[T]) -> T:
    """A JSON file as `shape` (a pydantic model, a dataclass, `dict[str, int]`); BadInput names file and place."""
    return as_shape(read_json(path), shape, str(path))


def as_shape(value: Any, shape: type[T], where: str, do: str = AGAIN) -> T:
    """JSON values as `shape`; BadInput says where in them it does not fit."""
    from pydantic import ValidationError

    adapter: Any = _adapter(cast("Any", shape))
    try:
        found: T = adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))[:200]
        got = shortened(first["input"])
        raise BadInput(first["msg"], where=f"{where}, {place}" if place else where, got=got, do=do) from error
    return found


def shortened(value: Any) -> str:
    """The beginning of what a value looks like, also where it is too deep or too long to be shown."""
    try:
        return repr(value)[:80]
    except (RecursionError, ValueError):  # a number of more digits than Python writes
        return type(value).__name__


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file in UTF-8, numbered from 1; BadInput if it is not readable text."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("the file is not readable text", where=str(path), got=str(error), do=AGAIN) from error
    yield from enumerate(text.splitlines(), start=1)


@cache
def _adapter(shape: Any) -> Any:
    from pydantic import TypeAdapter  # a command that reads no such file starts without it

    return TypeAdapter(shape)
