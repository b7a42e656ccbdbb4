"""What a model says of an organ, measured on an expert's mask that it did not learn from: it calibrates the review."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smiler.domain.errors import BadInput
from smiler.domain.files import read_json, write_json
from smiler.domain.names import beside_pair

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
            told = read_json(self.path) if self.path.exists() else None
        except BadInput:
            return False
        return isinstance(told, dict) and told.get("parents") == parents and set(self.organs) == set(told["organs"])

    def write(self, parents: Mapping[str, str], judged: Mapping[str, Judged]) -> None:
        """Write it, atomically."""
        rows = {key: asdict(row) for key, row in judged.items()}
        write_json(self.path, {"parents": parents, "organs": rows})


def read_judged(folder: Path) -> Iterator[tuple[str, Judged]]:
    """All that lie in a folder, by case; what is damaged is left out."""
    for ending in (f"{beside_pair('', WORD)}.json", OLD_ENDING):
        for path in sorted(folder.glob(f"*{ending}")):
            try:
                told = read_json(path)
                rows = [_row(row) for row in told["organs"].values()]
            except (BadInput, KeyError, TypeError, ValueError, AttributeError):
                continue
            yield from ((path.name.removesuffix(ending), row) for row in rows)


def _row(told: Mapping[str, Any]) -> Judged:
    share, area, dice = told["agreement"], float(told["unsure_cm2"]), float(told["dice"])
    share = None if share is None else float(share)
    if not ((share is None or 0 <= share <= 1) and 0 <= dice <= 1 and area >= 0):
        raise ValueError(told)
    return Judged(str(told["organ"]), share, area, dice)
