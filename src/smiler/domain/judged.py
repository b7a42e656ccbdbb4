"""What a model says of an organ, measured on an expert's mask that it did not learn from: it calibrates the review."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, FiniteFloat

from smiler.domain.errors import BadInput
from smiler.domain.files import write_json
from smiler.domain.names import beside_pair
from smiler.domain.shaped import read_as

WORD = "judged"
OLD_ENDING = ".judged.json"
"""Of earlier versions: an organ called "judged" took the same name."""


@dataclass(frozen=True)
class Judged:
    """agreement: of the model with itself, 0 to 1; None where it proposed nothing. unsure_cm2: area on which it does
    not agree. dice: with the expert; of nothing proposed 1 where the organ is absent, else 0.

    seconds: what the expert's decision took, None where nobody measured it.
    """

    organ: str
    agreement: float | None
    unsure_cm2: float
    dice: float
    seconds: float | None = None


@dataclass(frozen=True)
class _Row:
    """As Judged, within its bounds."""

    organ: str
    agreement: Annotated[FiniteFloat, Field(ge=0, le=1)] | None
    unsure_cm2: Annotated[FiniteFloat, Field(ge=0)]
    dice: Annotated[FiniteFloat, Field(ge=0, le=1)]


@dataclass(frozen=True)
class _File:
    """What `JudgedCase.write` writes."""

    parents: Mapping[str, str]
    organs: Mapping[str, _Row]


@dataclass(frozen=True)
class JudgedCase:
    """One volume's file of them, and the organs that are to be in it."""

    path: Path
    organs: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, case: str, organs: Sequence[str]) -> "JudgedCase | None":
        """None where there is nothing to judge."""
        return cls(folder / f"{beside_pair(case, WORD)}.json", tuple(organs)) if organs else None

    def done(self, parents: Mapping[str, str]) -> bool:
        """Whether it lies there, made of the same."""
        try:
            told = read_as(self.path, _File)
        except BadInput:
            return False
        return told.parents == parents and set(self.organs) == set(told.organs)

    def write(self, parents: Mapping[str, str], judged: Mapping[str, Judged]) -> None:
        """Write it, atomically."""
        rows = {key: asdict(row) for key, row in judged.items()}
        write_json(self.path, {"parents": parents, "organs": rows})


def read_judged(folder: Path) -> Iterator[tuple[str, Judged]]:
    """All that lie in a folder, by case; what is damaged is left out."""
    for ending in (f"{beside_pair('', WORD)}.json", OLD_ENDING):
        for path in sorted(folder.glob(f"*{ending}")):
            try:
                told = read_as(path, _File)
            except BadInput:
                continue
            case, rows = path.name.removesuffix(ending), told.organs.values()
            yield from ((case, Judged(row.organ, row.agreement, row.unsure_cm2, row.dice)) for row in rows)
