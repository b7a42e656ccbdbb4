"""One revision: what was known of one organ in one volume after one step, and who made the step. Never changed."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from smiler.review.errors import Pair
from smiler.review.states import State


@dataclass(frozen=True)
class Change:
    """How a mask differs from its parent's, in voxels; dice is None where there is nothing to compare."""

    voxels: int
    added: int
    removed: int
    dice: float | None


REPEAT = "repeat"
"""The source of a second answer to a proposal, see `repeats`."""
UNDO = "undo"
"""The source of a decision that came back when an edit of cases.csv was undone, see `undo`."""


@dataclass(frozen=True, slots=True)
class Revision:
    """number: 1, 2, ... within its organ of its volume. source: cohort, relabel, review, verify, repeat or undo.

    cell: what the cohort's cell says while this revision is the head.
    mask: sha256 of the stored mask, empty where there is none; a cohort's own mask is stored at the first decision.
    content: sha256 of the file that a cohort's cell names.
    agreement: of a proposal, how far the model agrees with itself; of a repeat, the Dice to the first answer.
    parent: what it is based on; of what an undo restored, the revision that it is a copy of.
    kept: a stale write, a repeat, or a note that the row is gone; it never became the head.
    """

    case: str
    organ: str
    number: int
    state: State
    source: str
    cell: str = ""
    parent: int | None = None
    mask: str = ""
    content: str = ""
    grid: str = ""
    model: str = ""
    round: int | None = None
    agreement: float | None = None
    unsure_cm2: float | None = None
    voxels: int | None = None
    added: int | None = None
    removed: int | None = None
    dice: float | None = None
    reviewer: str = ""
    active_seconds: float | None = None
    time: str = ""
    note: str = ""
    kept: bool = False

    @property
    def pair(self) -> Pair:
        """The organ and the volume."""
        return Pair(self.case, self.organ)

    @property
    def drawn(self) -> bool:
        """Whether there is a mask, stored or in the cohort."""
        return bool(self.mask or self.content)

    def changed(self, change: Change | None) -> "Revision":
        """The revision with what changed against its parent."""
        if change is None:
            return self
        return replace(self, voxels=change.voxels, added=change.added, removed=change.removed, dice=change.dice)

    def to_json(self) -> dict[str, Any]:
        """All fields, as the event of the revision keeps them."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any] | sqlite3.Row) -> "Revision":
        """From a row of the database, or what `to_json` gave."""
        values = {key: row[key] for key in COLUMNS}
        values |= {"state": State(values["state"]), "kept": bool(values["kept"])}
        return cls(**values)


COLUMNS = tuple(field.name for field in fields(Revision))


def canonical(value: Any) -> str:
    """JSON with one spelling."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
