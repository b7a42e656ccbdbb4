"""The review's ledger: revisions, heads, answers and events, each step one transaction."""

import hashlib
import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smiler.domain.cells import Cell, Status
from smiler.domain.judged import Judged
from smiler.review import events
from smiler.review.database import Database
from smiler.review.errors import Pair, Refused
from smiler.review.revisions import COLUMNS, REPEAT, UNDO, Revision, canonical
from smiler.review.states import State

FILE = "ledger.sqlite"
OLD_KEY = "secret"
"""The setting in which the first versions kept the key that is in `keys` now."""
MADE_HERE = ("review", "verify", UNDO)
"""Sources of revisions that do not come from the cohort."""


@dataclass(frozen=True)
class Asked:
    """What identifies a request: who asked, its key, the revision it was based on, and a short of the rest."""

    reviewer: str
    key: str
    expected: int
    what: str

    @classmethod
    def of(cls, reviewer: str, key: str, pair: Pair, expected: int, what: str) -> "Asked":
        """`what` tells what is asked beside the organ and the revision."""
        words = "\0".join((pair.case, pair.organ, str(expected), what))
        return cls(reviewer, key, expected, hashlib.sha256(words.encode()).hexdigest())


@dataclass(frozen=True)
class Answer:
    """What a write came to: 200 with the new revision, or 412 with the head and what was kept of a stale mask."""

    status: int
    body: dict[str, Any]


class Ledger:
    """COHORT/review/ledger.sqlite."""

    def __init__(self, folder: Path, clock: events.Clock = events.utc_now) -> None:
        self.database = Database(folder / FILE)
        self.clock = clock
        self._lock = threading.Lock()
        self._heads: tuple[int, dict[Pair, Revision]] = (0, {})
        self._decided: dict[str, tuple[int, list[Revision]]] = {}
        self.database.forget(OLD_KEY)

    def now(self) -> str:
        """The time of what happens now."""
        return events.now(self.database, self.clock)

    # --- reading

    def head(self, pair: Pair) -> Revision | None:
        """The newest revision that counts, or None: nothing is there."""
        found = self._revisions(
            'JOIN head USING ("case", organ, number) WHERE "case" = ? AND organ = ?', pair.case, pair.organ
        )
        return found[0] if found else None

    def heads(self) -> dict[Pair, Revision]:
        """Every head. A head only ever gives way to a newer revision: the others are remembered."""
        if self.database.in_transaction:
            return {found.pair: found for found in self._revisions('JOIN head USING ("case", organ, number)')}
        with self._lock:
            seen, found = self._heads
            last = self._last_row()
            if last != seen:
                newer = 'JOIN head USING ("case", organ, number) WHERE revision.rowid > ? AND revision.rowid <= ?'
                found = found | {one.pair: one for one in self._revisions(newer, seen, last)}
                self._heads = last, found
        return found

    def heads_of(self, case: str) -> dict[str, Revision]:
        """The heads of one volume by organ."""
        found = self._revisions('JOIN head USING ("case", organ, number) WHERE "case" = ?', case)
        return {revision.organ: revision for revision in found}

    def history(self, pair: Pair) -> list[Revision]:
        """Every revision, oldest first."""
        return self._revisions('WHERE "case" = ? AND organ = ? ORDER BY number', pair.case, pair.organ)

    def revision(self, pair: Pair, number: int) -> Revision | None:
        """One revision."""
        found = self._revisions('WHERE "case" = ? AND organ = ? AND number = ?', pair.case, pair.organ, number)
        return found[0] if found else None

    def all_revisions(self) -> list[Revision]:
        """Every revision in the order of time."""
        return self._revisions('ORDER BY time, "case", organ, number')

    def stored(self, revision: Revision) -> tuple[str, int | None]:
        """Name and voxels of a revision's stored mask; an empty name if there is none (yet)."""
        if revision.mask:
            return revision.mask, revision.voxels
        found = self.database.rows(
            'SELECT mask, voxels FROM stored WHERE "case" = ? AND organ = ? AND number = ?',
            revision.case, revision.organ, revision.number,
        )  # fmt: skip
        return (str(found[0]["mask"]), int(found[0]["voxels"])) if found else ("", revision.voxels)

    def base(self, pair: Pair) -> Revision | None:
        """The newest revision that no reviewer made: what a reopened organ goes back to.

        An edit that was undone is passed over: the parent of what an undo restored is the revision before the edit.
        """
        history = {found.number: found for found in self.history(pair)}
        found = max((one for one in history.values() if not one.kept), key=lambda one: one.number, default=None)
        while found is not None and found.source in MADE_HERE:
            found = history.get(found.parent or 0)
        return found

    def recent_seconds(self, most: int) -> list[float]:
        """Active seconds of the last decisions that tell them."""
        rows = self.database.rows(
            "SELECT active_seconds FROM revision WHERE source = 'review' AND NOT kept AND active_seconds > 0 "
            "ORDER BY rowid DESC LIMIT ?",
            most,
        )
        return [float(row["active_seconds"]) for row in rows]

    def judged(self) -> list[Judged]:
        """What reviewers made of proposals that told their agreement, and of organs that nothing proposed: each one's
        first decision.
        """
        rows = self.database.rows(
            'SELECT r."case", r.organ, p.number, p.agreement, p.unsure_cm2, r.state, r.dice, r.active_seconds '
            'FROM revision r LEFT JOIN revision p ON p."case" = r."case" AND p.organ = r.organ AND p.number = r.parent '
            "WHERE r.source = 'review' AND NOT r.kept AND (p.state IS NULL OR p.state = 'missing' "
            "OR (p.state = 'proposed' AND p.agreement IS NOT NULL)) ORDER BY r.rowid"
        )
        proposed = {State.ACCEPTED: 1.0, State.REJECTED: 0.0, State.ABSENT: 0.0}
        nothing = {State.CORRECTED: 0.0, State.ABSENT: 1.0}
        found: dict[tuple[object, ...], Judged] = {}
        for row in rows:
            known = nothing if row["agreement"] is None else proposed
            told = known.get(row["state"], row["dice"] if row["state"] == State.CORRECTED else None)
            if told is not None:
                one = Judged(row["organ"], row["agreement"], row["unsure_cm2"] or 0.0, told, row["active_seconds"])
                found.setdefault((row["case"], row["organ"], row["number"]), one)
        return list(found.values())

    def decided_by(self, reviewer: str) -> list[Revision]:
        """What a reviewer decided, and decided again, oldest first. What was is remembered."""
        mine = "reviewer = ? AND (source = ? OR (source = 'review' AND NOT kept))"
        with self._lock:
            seen, found = self._decided.get(reviewer, (0, []))
            last = self._last_row()
            if last != seen:
                newer = f"WHERE {mine} AND rowid > ? AND rowid <= ? ORDER BY rowid"
                found = found + self._revisions(newer, reviewer, REPEAT, seen, last)
                self._decided[reviewer] = last, found
        return found

    def _last_row(self) -> int:
        return int(self.database.rows("SELECT coalesce(max(rowid), 0) AS last FROM revision")[0]["last"])

    def repeats(self) -> list[float]:
        """How far reviewers agreed with themselves, repeat by repeat."""
        rows = self.database.rows("SELECT agreement FROM revision WHERE source = ? ORDER BY rowid", REPEAT)
        return [float(row["agreement"]) for row in rows]

    def last_event(self) -> int:
        """The newest event's number; it changes with everything that happens."""
        return int(self.database.rows("SELECT coalesce(max(number), 0) AS last FROM event")[0]["last"])

    def _revisions(self, rest: str, *values: Any) -> list[Revision]:
        columns = ", ".join(f'revision."{column}"' for column in COLUMNS)
        return [Revision.from_row(row) for row in self.database.rows(f"SELECT {columns} FROM revision {rest}", *values)]

    # --- writing

    def write(self, asked: Asked, pair: Pair, made: Revision | None) -> Answer:
        """Make `made` the head if it is based on it; else keep its mask. None: it was seen to be stale already.

        A repeated key gets the first answer again.
        """
        with self.database.writing():
            before = self.answered(asked)
            if before is not None:
                return before
            head = self.head(pair)
            number = head.number if head else 0
            if made is not None and number == asked.expected:
                stored = self.append(replace(made, parent=number or None))
                answer = Answer(200, stored.to_json())
            else:
                answer = Answer(412, {"head": number, "kept": self._kept(asked, made)})
            self._answer(asked, answer)
        return answer

    def write_beside(self, asked: Asked, made: Revision) -> Answer:
        """Keep `made` beside the head. A repeated key gets the first answer again."""
        with self.database.writing():
            before = self.answered(asked)
            if before is not None:
                return before
            answer = Answer(200, self.append(replace(made, parent=asked.expected, kept=True)).to_json())
            self._answer(asked, answer)
        return answer

    def _answer(self, asked: Asked, answer: Answer) -> None:
        self.database.run(
            "INSERT INTO answer VALUES (?, ?, ?, ?, ?)",
            asked.reviewer, asked.key, asked.what, answer.status, canonical(answer.body),
        )  # fmt: skip

    def answered(self, asked: Asked) -> Answer | None:
        """The answer that the key got before, or None; Refused if it was another request."""
        found = self.database.rows("SELECT * FROM answer WHERE reviewer = ? AND key = ?", asked.reviewer, asked.key)
        if not found:
            return None
        if found[0]["asked"] != asked.what:
            do = "make a new key for every request"
            raise Refused(422, "the key belongs to another request", where="Idempotency-Key", got=asked.key, do=do)
        return Answer(found[0]["status"], json.loads(found[0]["body"]))

    def _kept(self, asked: Asked, made: Revision | None) -> int | None:
        """Keep a stale mask as a revision that is not the head; its number."""
        if made is None or not made.mask:
            return None
        parent = asked.expected if self.revision(made.pair, asked.expected) else None
        return self.append(replace(made, parent=parent, kept=True, cell="")).number

    def append(self, made: Revision, seen: str | None = None) -> Revision:
        """Add a revision under the next number; it is the head unless it is only kept. seen: what the cell now says."""
        pair = made.pair
        with self.database.writing():
            last = self.database.rows(
                'SELECT max(number) AS last FROM revision WHERE "case" = ? AND organ = ?', pair.case, pair.organ
            )[0]["last"]
            made = replace(made, number=(last or 0) + 1, time=self.now())
            marks = ", ".join("?" * len(COLUMNS))
            columns = ", ".join(f'"{column}"' for column in COLUMNS)
            values = made.to_json()
            self.database.run(
                f"INSERT INTO revision ({columns}) VALUES ({marks})", *(values[column] for column in COLUMNS)
            )
            events.add(self.database, made.time, "revision", values)
            if not made.kept:
                self._point(made, seen)
        return made

    def _point(self, made: Revision, seen: str | None) -> None:
        """Let the head be this revision."""
        self.database.run(
            'INSERT INTO head VALUES (?, ?, ?, ?, ?) ON CONFLICT ("case", organ) '
            "DO UPDATE SET number = excluded.number, wanted = excluded.wanted",
            made.case, made.organ, made.number, made.cell, seen or "",
        )  # fmt: skip
        if seen is not None:
            self.mark_seen([(made.pair, seen)])

    def keep(self, revision: Revision, mask: str, voxels: int) -> None:
        """Remember where the mask of an imported revision is stored."""
        with self.database.writing():
            if self.stored(revision)[0]:
                return
            self.database.run(
                "INSERT INTO stored VALUES (?, ?, ?, ?, ?)",
                revision.case, revision.organ, revision.number, mask, voxels,
            )  # fmt: skip
            body = {"case": revision.case, "organ": revision.organ, "number": revision.number, "mask": mask}
            events.add(self.database, self.now(), "stored", {**body, "voxels": voxels})

    def note(self, kind: str, body: Any) -> int:
        """An event that is no revision; its number."""
        with self.database.writing():
            events.add(self.database, self.now(), kind, body)
            return self.last_event()

    # --- what the cohort's file says

    def seen(self) -> dict[Pair, str]:
        """The cell that was read or written last, of every pair with a head."""
        return {Pair(row["case"], row["organ"]): row["seen"] for row in self.database.rows("SELECT * FROM head")}

    def pending(self) -> dict[Pair, str]:
        """Cells that the heads ask for and the file has not got yet."""
        rows = self.database.rows('SELECT "case", organ, wanted FROM head WHERE wanted != seen')
        return {Pair(row["case"], row["organ"]): row["wanted"] for row in rows}

    def mark_seen(self, cells: Iterable[tuple[Pair, str]]) -> None:
        """The file says so now."""
        with self.database.writing():
            for pair, cell in cells:
                self.database.run(
                    'UPDATE head SET seen = ? WHERE "case" = ? AND organ = ?', cell, pair.case, pair.organ
                )

    def listed(self) -> list[tuple[str, str, str]]:
        """Case, patient and image of each row of cases.csv as it was read last."""
        rows = self.database.rows('SELECT "case", patient, image FROM listed ORDER BY place')
        return [(row["case"], row["patient"], row["image"]) for row in rows]

    def list_rows(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """The file has these rows now; inside a transaction."""
        self.database.run("DELETE FROM listed")
        for place, row in enumerate(rows):
            self.database.run("INSERT INTO listed VALUES (?, ?, ?, ?)", place, *row)

    def close(self) -> None:
        """Close the file."""
        self.database.close()


def state_of(cell: Cell) -> State:
    """The state that a cell of the cohort stands for."""
    if cell.auto:
        return State.PROPOSED
    return {Status.ANNOTATED: State.EXPERT, Status.ABSENT: State.ABSENT, Status.UNANNOTATED: State.MISSING}[cell.status]
