"""`cases.csv` and the ledger follow each other: decisions go into the file, and what a person writes there comes in.

A cell is written only where the file still says what was read or written last. Whatever else stands there is a person's
word: it becomes a revision of its own, and nothing is overwritten.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from smiler.domain.cells import Cell, parse_cell
from smiler.domain.cohort import LEDGER, MANIFEST, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.files import write_text
from smiler.domain.ledger import ledger_text
from smiler.domain.locks import writing
from smiler.domain.progress import Progress, Silent
from smiler.review.errors import Pair
from smiler.review.imports import Contents, imported
from smiler.review.ledger import Ledger
from smiler.review.revisions import Revision
from smiler.review.states import State

PATIENCE_SECONDS = 5.0
"""How long another writer of the cohort is waited for."""
Told = Callable[[str], None]


class Sheet:
    """The cohort as its folder says it now, and its cases' ids. trouble: why the file could not follow, or empty."""

    def __init__(self, folder: Path, ledger: Ledger, told: Told, progress: Progress | None = None) -> None:
        self.folder, self.ledger, self.told = folder, ledger, told
        self.trouble = ""
        self._lock = threading.RLock()
        self._contents = Contents(ledger.database)
        self._state: tuple[object, ...] = ()
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
        state = self._stat()
        if state != self._state:
            cohort = Cohort.open(self.folder)
            self._take(cohort, progress or Silent())
            self.cohort, self.ids, self._state = cohort, frozenset(case.id for case in cohort), state

    def _stat(self) -> tuple[object, ...]:
        try:
            states = [(self.folder / name).stat() for name in (MANIFEST, LEDGER)]
        except OSError:
            return ()
        return tuple((state.st_mtime_ns, state.st_size, state.st_ino) for state in states)

    def _take(self, cohort: Cohort, progress: Progress) -> None:
        """Make a revision of every cell that the ledger does not know."""
        with self.ledger.database.writing():
            seen, heads = self.ledger.seen(), self.ledger.heads()
            for case in progress.track(cohort, "reading cells", len(cohort)):
                for organ in cohort.organs.keys:
                    pair, cell = Pair(case.id, organ), case.cell(organ)
                    head = heads.get(pair)
                    if head is not None or str(cell):
                        self._meet(cohort, pair, cell, head, seen.get(pair, ""))

    def _meet(self, cohort: Cohort, pair: Pair, cell: Cell, head: Revision | None, seen: str) -> None:
        says = str(cell)
        if head is not None and says == head.cell:
            if says != seen:
                self.ledger.mark_seen([(pair, says)])
            if not head.content:
                return
        elif head is not None and says == seen:
            return  # `_write` brings it up to date
        elif head is not None and cell.auto and head.cell != seen:
            self.ledger.mark_seen([(pair, says)])
            return  # a proposal does not come before a decision that `_write` is about to write
        elif head is not None and not cell.auto:
            self.told(f"{pair}: a person wrote {says!r} into cases.csv; it counts from now on, the decision is kept")
        made = imported(cohort, pair, cell, self._contents)
        if head is None or (says, made.content) != (head.cell, head.content):
            stored = self.ledger.append(replace(made, parent=head.number if head else None), says)
            if head is not None and head.state is State.FLAGGED and cell.auto:
                flag = replace(made, state=head.state, source=head.source, reviewer=head.reviewer, note=head.note)
                self.ledger.append(replace(flag, parent=stored.number), says)  # a proposal is no answer to it

    def _write(self) -> None:
        """Write the cells that decisions ask for and the file has not got."""
        if not self._asked():
            return
        with writing(self.folder, PATIENCE_SECONDS):
            self._read()  # what a person wrote until now counts, and is not asked for any more
            asked = self._asked()
            cohort = _changed(self.cohort, {pair: parse_cell(cell) for pair, cell in asked.items()})
            write_text(self.folder / LEDGER, ledger_text(cohort))
            self.cohort, self._state = cohort, self._stat()
        self.ledger.mark_seen(asked.items())

    def _asked(self) -> dict[Pair, str]:
        return {pair: cell for pair, cell in self.ledger.pending().items() if pair.case in self.ids}


def _changed(cohort: Cohort, cells: Mapping[Pair, Cell]) -> Cohort:
    by_case: dict[str, dict[str, Cell]] = {}
    for pair, cell in cells.items():
        by_case.setdefault(pair.case, {})[pair.organ] = cell
    cases = (case.with_cells(by_case[case.id]) if case.id in by_case else case for case in cohort)
    return replace(cohort, cases=tuple(cases))
