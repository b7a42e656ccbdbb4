"""`cases.csv` and the ledger follow each other: decisions go into the file, and what a person writes there comes in.

A cell is written only where the file still says what was read or written last. Whatever else stands there is a person's
word: it becomes a revision of its own, and nothing is overwritten.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from smiler.domain.cells import Cell, parse_cell
from smiler.domain.cohort import LEDGER, MANIFEST, Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.files import replacing
from smiler.domain.ledger import ledger_text
from smiler.domain.locks import writing
from smiler.domain.places import exists
from smiler.domain.progress import Progress, Silent
from smiler.domain.remote import Remote
from smiler.review.edits import EditedRow, is_decided
from smiler.review.errors import Pair
from smiler.review.imports import Contents
from smiler.review.incoming import Incoming
from smiler.review.ledger import Ledger
from smiler.review.revisions import Revision

PATIENCE_SECONDS = 5.0
"""How long another writer of the cohort is waited for."""
Told = Callable[[str], None]


class _SavedMeanwhile(Exception):
    """Somebody saved the file while it was about to be replaced."""


class Sheet:
    """The cohort as its folder says it now, and its cases' ids. trouble: why the file could not follow, or empty."""

    def __init__(self, folder: Path, ledger: Ledger, told: Told, progress: Progress | None = None) -> None:
        self.folder, self.ledger, self.told = folder, ledger, told
        self.trouble = ""
        self._lock = threading.RLock()
        self._contents = Contents(ledger.database)
        self._state: tuple[object, ...] = ()
        self._gone: dict[str, int] = {}
        self._tidied = False
        self._read(progress or Silent())
        self.follow()

    def follow(self) -> None:
        """Read the file if it changed, then write what it lacks; what goes wrong is told, and tried again next time."""
        with self._lock:
            try:
                self._read()
                self._write()
                self.trouble = ""
            except BadInput as error:
                if str(error) != self.trouble:
                    self.told(f"cases.csv can't follow the review until this is mended: {error}")
                self.trouble = str(error)

    def look_again(self) -> None:
        """A file that a cell names has changed: the cells are met anew."""
        with self._lock:
            self._state = ()
        self.follow()

    def _read(self, progress: Progress | None = None) -> None:
        state = _state_of(self.folder / MANIFEST, self.folder / LEDGER)
        if state != self._state:
            cohort = Cohort.open(self.folder)
            self._take(cohort, progress or Silent())
            self.cohort, self.ids, self._state = cohort, frozenset(case.id for case in cohort), state

    def _take(self, cohort: Cohort, progress: Progress) -> None:
        """Make a revision of every cell that the ledger does not know, then say what the user must know of it."""
        with self.ledger.database.writing():
            notes = Incoming(self.ledger, cohort, self._contents).take(progress)
        hidden = Counter(pair.organ for pair, head in self.ledger.heads().items() if is_decided(head))
        for note in notes:
            self.told(note)
        gone = {organ: count for organ, count in hidden.items() if organ not in cohort.organs}
        if gone != self._gone:
            self._gone = gone
            for organ, count in gone.items():
                self.told(f"organ {organ} is not in {MANIFEST} any more; {count} decisions about it are kept")

    def _write(self) -> None:
        """Write the cells that decisions ask for and the file has not got."""
        if not self._asked():
            return
        with self._writing():
            while asked := self._asked():
                self._read()  # what a person wrote until now counts, and is not asked for any more
                asked = self._asked()
                cells = {pair: parse_cell(cell) for pair, cell in asked.items()}
                if self._replace(_changed(self.cohort, cells)):
                    break
        self.ledger.mark_seen(asked.items())

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the cohort, for every decision anew; what killed writers left in it is removed the first time."""
        with writing(self.folder, PATIENCE_SECONDS, tidy=not self._tidied):
            self._tidied = True
            yield

    def put_back(self, rows: Sequence[EditedRow]) -> list[str]:
        """Give rows their patient and image as before an edit, where they are still as it left them; what was left."""
        with self._lock, self._writing():
            while True:
                self._read()
                cases, left = _with_rows(self.cohort, rows, self.ledger.heads())
                if cases == self.cohort.cases or self._replace(replace(self.cohort, cases=cases)):
                    break
        with self.ledger.database.writing():
            self.ledger.list_rows([(case.id, case.patient, case.image) for case in cases])
        return left

    def _replace(self, cohort: Cohort) -> bool:
        """Write the ledger; False, and nothing is written, if somebody saved another one since it was read."""
        manifest, table = self.folder / MANIFEST, self.folder / LEDGER
        try:
            with replacing(table) as temporary:
                temporary.write_text(ledger_text(cohort), encoding="utf-8", newline="")
                written = _state_of(manifest, temporary)
                if _state_of(manifest, table) != self._state:
                    raise _SavedMeanwhile
        except _SavedMeanwhile:
            return False
        self.cohort, self.ids, self._state = cohort, frozenset(case.id for case in cohort), written
        return True

    def _asked(self) -> dict[Pair, str]:
        pending, organs = self.ledger.pending(), self.cohort.organs
        return {pair: cell for pair, cell in pending.items() if pair.case in self.ids and pair.organ in organs}


def _changed(cohort: Cohort, cells: Mapping[Pair, Cell]) -> Cohort:
    by_case: dict[str, dict[str, Cell]] = {}
    for pair, cell in cells.items():
        by_case.setdefault(pair.case, {})[pair.organ] = cell
    cases = (case.with_cells(by_case[case.id]) if case.id in by_case else case for case in cohort)
    return replace(cohort, cases=tuple(cases))


def _state_of(*paths: Path) -> tuple[object, ...]:
    """By what a change of the files is seen; empty if one is missing."""
    try:
        states = [path.stat() for path in paths]
    except OSError:
        return ()
    return tuple((state.st_mtime_ns, state.st_size, state.st_ino) for state in states)


def _with_rows(
    cohort: Cohort, rows: Sequence[EditedRow], heads: Mapping[Pair, Revision]
) -> tuple[tuple[Case, ...], list[str]]:
    """Rows as they were before an edit, with the cells that the ledger knows; and what was left, in words."""
    cases, left = list(cohort), list[str]()
    for row in sorted(rows, key=lambda row: row.place):
        at = next((place for place, case in enumerate(cases) if case.id.lower() == row.case.lower()), None)
        now = None if at is None else (cases[at].patient, cases[at].image)
        if now == (row.patient, row.image):
            continue
        if now != row.now:
            left.append(f"case {row.case}: its row was changed again")
            continue
        case = _listed_anew(row, cohort, heads) if at is None else cases[at]
        case = replace(case, patient=row.patient, image=row.image)
        paths = [case.image, *(cell.path for cell in case.cells.values() if cell.path)]
        gone = [path for path in paths if not is_there(cohort.at(path))]
        if gone:
            left.append(f"case {row.case}: the file {gone[0]} is not there any more")
        elif at is None:
            cases.insert(row.place, case)
        else:
            cases[at] = case
    return tuple(cases), left


def _listed_anew(row: EditedRow, cohort: Cohort, heads: Mapping[Pair, Revision]) -> Case:
    """A row that was gone, with what the ledger knows of its organs."""
    known = {organ: heads[pair].cell for organ in cohort.organs.keys if (pair := Pair(row.case, organ)) in heads}
    return Case(row.case, row.patient, row.image, {organ: parse_cell(cell) for organ, cell in known.items() if cell})


def is_there(path: Path) -> bool:
    """Whether a path leads to something; an address is taken at its word."""
    return isinstance(path, Remote) or exists(path)
