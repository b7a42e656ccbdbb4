"""Check a review from end to end: the chain of events, every revision, every stored mask, every cell of cases.csv."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.locks import writing
from smiler.review.blobs import Blobs
from smiler.review.desk import FOLDER
from smiler.review.edits import EditLog
from smiler.review.errors import Pair
from smiler.review.events import START, bodies, broken
from smiler.review.ledger import FILE, Ledger
from smiler.review.revisions import Revision
from smiler.review.sheet import Sheet
from smiler.review.states import State


@dataclass
class Verified:
    """What was counted and what is wrong. last: the hash of the newest event, to compare with one written down.

    edits: of cases.csv, that changed what people had decided and were neither undone nor dismissed.
    """

    events: int = 0
    revisions: int = 0
    masks: int = 0
    last: str = START
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    edits: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def open_ledger(cohort: Path) -> Ledger:
    """The ledger of a review that exists."""
    _check_begun(cohort)
    return Ledger(cohort / FOLDER)


def _check_begun(cohort: Path) -> None:
    path = cohort / FOLDER / FILE
    if not path.exists():
        raise BadInput("nothing was reviewed here", where=str(path.parent), do="smiler review COHORT begins a review")


def verify(cohort: Path) -> Verified:
    """Check everything, and put damaged masks into quarantine; BadInput if a review of the cohort is open."""
    _check_begun(cohort)
    with writing(cohort / FOLDER):
        ledger = open_ledger(cohort)
        try:
            return _Check(cohort, ledger).run()
        finally:
            ledger.close()


class _Check:
    def __init__(self, cohort: Path, ledger: Ledger) -> None:
        self.cohort, self.ledger = cohort, ledger
        self.blobs, self.found = Blobs(cohort / FOLDER), Verified()

    def run(self) -> Verified:
        """Database, then masks, then cells."""
        revisions = self.ledger.all_revisions()
        self._database()
        self.found.faults += broken(self.ledger.database)
        self._revisions(revisions)
        self._heads(revisions)
        self._masks(revisions)
        self._cells()
        self.found.edits = [edit.to_json() for edit in EditLog(self.ledger.database).open()]
        return self.found

    def _database(self) -> None:
        rows = self.ledger.database.rows("PRAGMA integrity_check(20)")
        self.found.faults += [f"database: {row[0]}" for row in rows if row[0] != "ok"]
        last = self.ledger.database.rows("SELECT number, hash FROM event ORDER BY number DESC LIMIT 1")
        if last:
            self.found.events, self.found.last = last[0]["number"], last[0]["hash"]

    def _revisions(self, revisions: Iterable[Revision]) -> None:
        """Every revision is what its event says."""
        told = {(body["case"], body["organ"], body["number"]): body for body in self._told("revision")}
        for revision in revisions:
            self.found.revisions += 1
            name = f"{revision.pair}, revision {revision.number}"
            body = told.pop((revision.case, revision.organ, revision.number), None)
            if body != json.loads(json.dumps(revision.to_json())):
                self.found.faults.append(f"{name}: not what its event says")
        self.found.faults += [f"case {c}, organ {o}, revision {n}: gone from the ledger" for c, o, n in told]
        stored = {(body["case"], body["organ"], body["number"]): body["mask"] for body in self._told("stored")}
        for row in self.ledger.database.rows("SELECT * FROM stored"):
            if stored.get((row["case"], row["organ"], row["number"])) != row["mask"]:
                name = f"case {row['case']}, organ {row['organ']}, revision {row['number']}"
                self.found.faults.append(f"{name}: its stored mask is not what its event says")

    def _told(self, kind: str) -> list[dict[str, object]]:
        try:
            return [body for body in bodies(self.ledger.database, kind) if isinstance(body, dict)]
        except ValueError as error:
            self.found.faults.append(f"events: {error}")
            return []

    def _heads(self, revisions: Iterable[Revision]) -> None:
        """The head is the newest revision that was not only kept."""
        newest: dict[Pair, int] = {}
        for revision in revisions:
            if not revision.kept:
                newest[revision.pair] = max(newest.get(revision.pair, 0), revision.number)
        heads = {pair: head.number for pair, head in self.ledger.heads().items()}
        wrong = [pair for pair in {*newest, *heads} if newest.get(pair) != heads.get(pair)]
        self.found.faults += [f"{pair}: the head is not its newest revision" for pair in wrong]

    def _masks(self, revisions: Iterable[Revision]) -> None:
        names: dict[str, list[Revision]] = {}
        for revision in revisions:
            name, _ = self.ledger.stored(revision)
            if name:
                names.setdefault(name, []).append(revision)
        self.found.masks = len(names)
        gone = self._quarantined()
        for name, users in names.items():
            if name not in gone and not self.blobs.intact(name):
                self._quarantine(name, users)

    def _quarantined(self) -> set[str]:
        """Masks that an earlier check moved away, unless they were brought back."""
        names = {str(body["mask"]) for body in self._told("quarantined")}
        return {name for name in names if not self.blobs.path(name).exists()}

    def _quarantine(self, name: str, users: Iterable[Revision]) -> None:
        """Flag the organs whose newest mask it is, let cases.csv follow, then move the file away."""
        note = "its stored mask was damaged and is in quarantine"
        pairs = sorted({revision.pair for revision in users}, key=str)
        for pair in pairs:
            head, base = self.ledger.head(pair), self.ledger.base(pair)
            if head is not None and self.ledger.stored(head)[0] == name:
                cell = base.cell if base and base.cell != self.blobs.cell(name) else ""
                made = Revision(pair.case, pair.organ, 0, State.FLAGGED, "verify", cell, head.number, note=note)
                self.ledger.append(made)
        self.ledger.note("quarantined", {"mask": name, "pairs": [str(pair) for pair in pairs]})
        self._follow()
        target = self.blobs.quarantine(name)
        where = f"it is now {target.relative_to(self.cohort)}" if target.exists() else "the file is gone"
        self.found.faults.append(f"{', '.join(map(str, pairs))}: {note}; {where}")

    def _follow(self) -> str:
        """Let cases.csv follow; why it can't."""
        try:
            return Sheet(self.cohort, self.ledger, self.found.notes.append).trouble
        except BadInput as error:
            return str(error)

    def _cells(self) -> None:
        """cases.csv says what the heads say."""
        behind = self.ledger.pending()
        trouble = self._follow()
        if trouble:
            self.found.faults.append(f"cases.csv does not follow: {trouble}")
            wanted = [f"{pair}: the cell should be {cell!r}" for pair, cell in sorted(behind.items(), key=str)]
            self.found.faults += wanted
            return
        cohort, heads = Cohort.open(self.cohort), self.ledger.heads()
        for case in cohort:
            for organ in cohort.organs.keys:
                head, cell = heads.get(Pair(case.id, organ)), str(case.cell(organ))
                if cell != (head.cell if head else ""):
                    self.found.faults.append(f"{Pair(case.id, organ)}: cases.csv says {cell!r}")
