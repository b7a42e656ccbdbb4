"""One cell of the ledger: what is known of one organ in one volume, as text and as a value.

(empty)            nobody looked: unannotated
absent             an expert looked, the organ is not in this volume
PATH  PATH#3  PATH#2+5   annotated: any voxel > 0, label 3, labels 2 or 5
PATH#2~9           label 2; where label 9 is, nobody looked (nnU-Net's ignore label)
...@0:40           only axial slices 0 to 39 (from the feet up) are annotated
auto:PATH          proposed by a model, accepted by nobody
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from smiler.domain.errors import BadInput

_CELL = re.compile(r"(?P<path>.+?)(#(?P<labels>[^#@/\\]*))?(@(?P<ranges>[-\d:, ]*))?", re.DOTALL)


class Status(Enum):
    """What an expert said about an organ in a volume."""

    UNANNOTATED = "unannotated"
    ABSENT = "absent"
    ANNOTATED = "annotated"


@dataclass(frozen=True)
class SliceRange:
    """Axial slices start, start+step, ... below stop, counted from the feet up."""

    start: int
    stop: int
    step: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.start < self.stop and self.step >= 1):
            raise BadInput("not a slice range", where="cell", got=str(self), do="write start:stop or start:stop:step")

    def __str__(self) -> str:
        return f"{self.start}:{self.stop}" + (f":{self.step}" if self.step != 1 else "")


@dataclass(frozen=True)
class Cell:
    """What the ledger says of one organ in one volume. `labels` empty means any voxel > 0.

    ignored: the label that says of a voxel that nobody looked there, 0 for none.
    """

    status: Status = Status.UNANNOTATED
    path: str = ""
    labels: tuple[int, ...] = ()
    ranges: tuple[SliceRange, ...] = ()
    auto: bool = False
    ignored: int = 0

    def __post_init__(self) -> None:
        drawn = self.status is Status.ANNOTATED
        if bool(self.path) != (drawn or self.auto) or (drawn and self.auto):
            raise BadInput("a mask belongs to an annotated or an auto cell", where="cell", got=repr(self))
        if self.ignored and (not self.labels or self.ignored in self.labels or not drawn):
            raise BadInput("the ignored label stands beside others, in an annotated cell", where="cell", got=self.path)
        if self.ranges and not drawn:
            raise BadInput("only an annotated cell has slice ranges", where="cell", got=self.path)

    def __str__(self) -> str:
        if not self.path:
            return "absent" if self.status is Status.ABSENT else ""
        labels = "#" + "+".join(map(str, self.labels)) if self.labels else ""
        labels += f"~{self.ignored}" if self.ignored else ""
        ranges = "@" + ",".join(map(str, self.ranges)) if self.ranges else ""
        return f"{'auto:' if self.auto else ''}{self.path}{labels}{ranges}"

    def known_slices(self, slices: int) -> NDArray[np.bool_]:
        """(z,): on which axial slices an expert's word counts."""
        if not self.ranges:
            return np.full(slices, self.status is not Status.UNANNOTATED)
        known = np.zeros(slices, dtype=bool)
        for part in self.ranges:
            known[part.start : part.stop : part.step] = True
        return known


UNANNOTATED = Cell()
ABSENT = Cell(Status.ABSENT)


def annotated(path: str, labels: Iterable[int] = (), ranges: Iterable[SliceRange] = (), ignored: int = 0) -> Cell:
    """An expert drew the organ: the mask is in `path`."""
    return Cell(Status.ANNOTATED, path, tuple(labels), tuple(ranges), ignored=ignored)


def proposed(path: str) -> Cell:
    """A model proposed the organ and nobody has accepted it."""
    return Cell(path=path, auto=True)


def parse_cell(text: str, where: str = "cell") -> Cell:
    """Read a cell; BadInput (naming `where`) for anything outside the grammar."""
    text = text.strip()
    if not text:
        return UNANNOTATED
    if text == "absent":
        return ABSENT
    auto = text.startswith("auto:")
    match = _CELL.fullmatch(text.removeprefix("auto:"))
    if match is None or set(text) & set("\0\n\r"):
        raise _bad(where, text)
    try:
        listed, tilde, last = (match["labels"] or "").partition("~")
        labels = _labels(listed if match["labels"] is not None else None)
        (ignored,) = _labels(last) if tilde else (0,)
        ranges = _ranges(match["ranges"])
        if auto and ignored:
            raise ValueError(text)
        if auto:
            return Cell(path=match["path"], labels=labels, ranges=ranges, auto=True)
        return annotated(match["path"], labels, ranges, ignored)
    except (ValueError, BadInput) as error:
        raise _bad(where, text) from error


def reads_back(cell: Cell) -> bool:
    """Whether the cell's text is read as this cell: a path may hold '#', 'auto:' or a line break."""
    try:
        return parse_cell(str(cell)) == cell
    except BadInput:
        return False


def _labels(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    parts = [part.strip() for part in text.split("+")]
    values = tuple(int(part) for part in parts if part.isascii() and part.isdecimal())
    if len(values) != len(parts) or min(values) < 1 or len(set(values)) != len(values):
        raise ValueError(text)
    return values


def _ranges(text: str | None) -> tuple[SliceRange, ...]:
    return () if text is None else tuple(_range(part) for part in text.split(","))


def _range(text: str) -> SliceRange:
    numbers = [int(part) for part in text.split(":")]
    if len(numbers) not in (2, 3):
        raise ValueError(text)
    return SliceRange(*numbers)


def _bad(where: str, text: str) -> BadInput:
    return BadInput(
        "not a cell of the ledger",
        where=where,
        got=repr(text),
        do="leave it empty or write absent, PATH, PATH#3, PATH#2+5, PATH#3@0:40, PATH#3~9 or auto:PATH",
    )
