"""Cells of the cohort as revisions: what experts drew before the review, and what a model proposed, and how."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from smiler.domain import places
from smiler.domain.cells import Cell
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.origin import Note, note_of
from smiler.review.database import Database
from smiler.review.errors import Pair
from smiler.review.ledger import MADE_HERE, state_of
from smiler.review.revisions import REPEAT, Revision


class Contents:
    """Hashes of the cohort's files; a file is read again only when its size or time of change is another."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.known = {row["path"]: (row["state"], row["hash"]) for row in database.rows("SELECT * FROM file")}

    def hash(self, path: Path) -> str:
        """sha256 of what the path leads to; a folder or a place in a zip file is hashed by its name alone."""
        try:
            state = path.stat()
            key, now = str(path), f"{state.st_mtime_ns} {state.st_size} {state.st_ino}"
            if not path.is_file():
                return "somewhere in " + path.name
            if self.known.get(key, ("", ""))[0] != now:
                self._remember(key, now, places.content(path))
            return str(self.known[key][1])
        except OSError:
            return "somewhere in " + path.name

    def _remember(self, key: str, state: str, digest: str) -> None:
        self.known[key] = (state, digest)
        self.database.run(
            "INSERT INTO file VALUES (?, ?, ?) ON CONFLICT (path) DO UPDATE SET state = excluded.state, "
            "hash = excluded.hash",
            key, state, digest,
        )  # fmt: skip


def imported(cohort: Cohort, pair: Pair, cell: Cell, contents: Contents) -> Revision:
    """The first revision of a pair, or the next where a person or a model wrote the cell anew. Inside a transaction."""
    made = Revision(pair.case, pair.organ, 0, state_of(cell), "cohort", str(cell))
    if not cell.path:
        return made
    made = replace(made, content=contents.hash(cohort.folder / cell.path))
    return _proposal(made, _told(cohort, pair, cell)) if cell.auto else made


def _proposal(made: Revision, told: Note) -> Revision:
    """Round, model and agreement, if the proposal's provenance tells them."""
    facts, parents = told.get("facts"), told.get("parents")
    facts, parents = facts if isinstance(facts, dict) else {}, parents if isinstance(parents, dict) else {}
    return replace(
        made,
        source=_source(told),
        model=str(parents.get("model") or "")[:64],
        round=_whole(facts.get("round")),
        voxels=_whole(facts.get("voxels")),
        agreement=_share(facts.get("agreement")),
        unsure_cm2=_area(facts.get("unsure_cm2")),
    )


def _source(told: Note) -> str:
    """What made a proposal. A note that names a source of the review's own is not believed: nobody decided here."""
    made_by = str(told.get("made_by") or "auto")[:40]
    return "auto" if made_by in (*MADE_HERE, REPEAT) else made_by


def _told(cohort: Cohort, pair: Pair, cell: Cell) -> Note:
    try:
        return note_of(cohort, pair.case, pair.organ, cell) or {}
    except BadInput:
        return {}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def _area(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value < math.inf else None


def _share(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None
