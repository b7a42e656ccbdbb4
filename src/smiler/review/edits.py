"""Edits of `cases.csv` that changed what people had decided: each is one group of revisions, which can be taken back.

An edit is an event of the ledger, and so is what became of it: undone, or dismissed (seen, and left as it is).
"""

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from smiler.review.database import Database
from smiler.review.errors import Pair, Refused
from smiler.review.revisions import Revision
from smiler.review.states import OPEN, State

EDIT, UNDONE, DISMISSED = "edit", "edit undone", "edit dismissed"
"""Kinds of events."""
UNDO_COMMAND = "smiler review COHORT --undo-edit"


@dataclass(frozen=True)
class EditedCell:
    """One cell. before and after: numbers of revisions, before is 0 where nothing was known."""

    case: str
    organ: str
    before: int
    after: int

    @property
    def pair(self) -> Pair:
        """The organ and the volume."""
        return Pair(self.case, self.organ)


@dataclass(frozen=True)
class EditedRow:
    """A row that is gone (`now` is None), or whose patient and image are others now. place: rows before it."""

    case: str
    place: int
    patient: str
    image: str
    now: tuple[str, str] | None = None


@dataclass(frozen=True)
class Edit:
    """One edit of the file, as it was read. number: its event's. changes: cells by 'accepted -> proposed'."""

    cells: tuple[EditedCell, ...]
    rows: tuple[EditedRow, ...]
    changes: Mapping[str, int]
    number: int = 0
    time: str = ""

    @classmethod
    def of(cls, changed: Sequence[tuple[Revision | None, Revision]], rows: Sequence[EditedRow]) -> "Edit":
        """From each cell's revision before and after."""
        cells = (EditedCell(now.case, now.organ, was.number if was else 0, now.number) for was, now in changed)
        counts = Counter(f"{was.state if was else State.MISSING} -> {now.state}" for was, now in changed)
        return cls(tuple(cells), tuple(rows), dict(sorted(counts.items())))

    @classmethod
    def from_event(cls, number: int, time: str, body: Mapping[str, Any]) -> "Edit":
        """As the ledger keeps it."""
        cells = tuple(EditedCell(*cell) for cell in body["cells"])
        rows = (
            EditedRow(row[0], row[1], row[2], row[3], (row[4][0], row[4][1]) if row[4] else None)
            for row in body["rows"]
        )
        return cls(cells, tuple(rows), body["changes"], number, time)

    def body(self) -> dict[str, Any]:
        """What the ledger keeps."""
        rows = [[row.case, row.place, row.patient, row.image, list(row.now) if row.now else None] for row in self.rows]
        cells = [[cell.case, cell.organ, cell.before, cell.after] for cell in self.cells]
        return {"cells": cells, "rows": rows, "changes": dict(self.changes)}

    @property
    def short(self) -> str:
        """How much it is, in words."""
        gone = sum(row.now is None for row in self.rows)
        cases = len({cell.case for cell in self.cells})
        parts = [f"{_count(len(self.cells), 'cell')} of {_count(cases, 'case')}"] if self.cells else []
        parts += [f"{_count(gone, 'row')} gone"] if gone else []
        parts += (
            [f"another patient or image in {_count(len(self.rows) - gone, 'row')}"] if gone < len(self.rows) else []
        )
        return f"edit of cases.csv, {', '.join(parts)}"

    @property
    def title(self) -> str:
        """When it was read, and how much it is."""
        return self.short.replace("cases.csv,", f"cases.csv at {self.time[:19].replace('T', ' ')} UTC:", 1)

    def to_json(self) -> dict[str, Any]:
        """As the command and the page tell it."""
        gone = sum(row.now is None for row in self.rows)
        cases = len({cell.case for cell in self.cells})
        counts = {"cells": len(self.cells), "cases": cases, "rows_gone": gone, "rows_changed": len(self.rows) - gone}
        return {"number": self.number, "time": self.time, **counts, "changes": dict(self.changes), "title": self.title}


@dataclass(frozen=True)
class Undone:
    """What an undo did. cells and rows: how many are as before; left: in words, what was left as it is, and why."""

    edit: int
    reviewer: str
    cells: int
    rows: int
    left: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As the command and the page tell it."""
        return {**asdict(self), "left": list(self.left)}


@dataclass
class _Record:
    """What the events up to `last` say. stands_for: restored revisions, and the revision that each is a copy of."""

    last: int = 0
    edits: dict[int, Edit] = field(default_factory=dict)
    undone: dict[int, Undone] = field(default_factory=dict)
    dismissed: set[int] = field(default_factory=set)
    stands_for: dict[tuple[Pair, int], int] = field(default_factory=dict)

    def read(self, row: Mapping[str, Any]) -> None:
        body = json.loads(row["body"])
        if row["kind"] == EDIT:
            self.edits[row["number"]] = Edit.from_event(row["number"], row["time"], body)
        elif row["kind"] == UNDONE:
            told = {**body["told"], "left": tuple(body["told"]["left"])}
            self.undone[told["edit"]] = Undone(**told)
            self.stands_for |= {(Pair(case, organ), new): old for case, organ, old, new in body["restored"]}
        else:
            self.dismissed.add(body["edit"])


class EditLog:
    """The edits in a ledger's events. Threads may share it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._lock = threading.Lock()
        self._record = _Record()

    def _read(self) -> _Record:
        """Events never change: only newer ones are read, and nothing is remembered that may still be rolled back."""
        with self._lock:
            record = _Record() if self.database.in_transaction else self._record
            query = "SELECT number, time, kind, body FROM event WHERE number > ? ORDER BY number"
            newest = self.database.rows("SELECT coalesce(max(number), 0) AS last FROM event")[0]["last"]
            if newest > record.last:
                wanted = f"SELECT * FROM ({query}) WHERE kind IN (?, ?, ?)"
                for row in self.database.rows(wanted, record.last, EDIT, UNDONE, DISMISSED):
                    record.read(dict(row))
                record.last = newest
            return record

    def edit(self, number: int) -> Edit:
        """An edit by its number; Refused (404) if there is none."""
        found = self._read().edits.get(number)
        if found is None:
            raise Refused(404, "no such edit of cases.csv", where="edit", got=str(number), do="see what can be undone")
        return found

    def open(self) -> list[Edit]:
        """Edits that nobody undid or dismissed, oldest first."""
        record = self._read()
        return [
            edit
            for number, edit in record.edits.items()
            if number not in record.undone and number not in record.dismissed
        ]

    def to_undo(self) -> list[Edit]:
        """Edits that can still be undone, also those that were dismissed, oldest first."""
        record = self._read()
        return [edit for number, edit in record.edits.items() if number not in record.undone]

    def undone(self, number: int) -> Undone | None:
        """What the undo of an edit did, or None: it was not undone."""
        return self._read().undone.get(number)

    def stands_for(self, pair: Pair, number: int) -> int:
        """The revision that this one is a copy of, if an undo made it; else itself."""
        copies = self._read().stands_for
        while (pair, number) in copies:
            number = copies[pair, number]
        return number


def is_decided(head: Revision | None) -> bool:
    """Whether a person's word stands there."""
    return head is not None and head.state not in OPEN


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
