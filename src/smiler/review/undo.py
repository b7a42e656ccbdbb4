"""Take an edit of `cases.csv` back: every cell that is still as the edit left it says again what it said before."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from smiler.domain.cells import parse_cell
from smiler.domain.cohort import LEDGER
from smiler.domain.errors import BadInput
from smiler.formats.volumes import content
from smiler.review.edits import DISMISSED, UNDONE, Edit, EditedCell, Undone
from smiler.review.errors import Pair
from smiler.review.ledger import MADE_HERE
from smiler.review.revisions import UNDO, Revision
from smiler.review.sheet import is_there
from smiler.review.states import State

if TYPE_CHECKING:
    from smiler.review.desk import Desk


def undo(desk: "Desk", number: int, reviewer: str) -> Undone:
    """Restore decisions as new revisions in the names of who made them, and rows; a second undo does nothing more."""
    desk.sheet.follow()
    edit = desk.edits.edit(number)
    with ExitStack() as stack:
        for case in sorted({cell.case for cell in edit.cells} | {row.case for row in edit.rows}):
            stack.enter_context(desk.alone(case))
        return desk.edits.undone(number) or _Undo(desk, edit, reviewer).run()


def dismiss(desk: "Desk", number: int, reviewer: str) -> None:
    """An edit was seen and stays; it can still be undone."""
    if desk.edits.edit(number) in desk.edits.open():
        desk.ledger.note(DISMISSED, {"edit": number, "reviewer": reviewer})


def undo_newest(desk: "Desk", reviewer: str) -> Undone:
    """Undo the newest edit that was not undone yet; BadInput if there is none."""
    edits = desk.edits.to_undo()
    if not edits:
        what = "there is no edit of cases.csv to undo: none changed what people had decided"
        raise BadInput(what, where=str(desk.cohort.folder / LEDGER), do="see smiler review COHORT --history FILE")
    return undo(desk, edits[-1].number, reviewer)


class _Undo:
    """Of one edit, while nobody decides on its volumes."""

    def __init__(self, desk: "Desk", edit: Edit, reviewer: str) -> None:
        self.desk, self.edit, self.reviewer = desk, edit, reviewer
        self.left: list[str] = []

    def run(self) -> Undone:
        """Rows first: a row that is back says what its organs' heads say."""
        left = self.desk.sheet.put_back(self.edit.rows) if self.edit.rows else []
        rows = len(self.edit.rows) - len(left)
        wanted = {cell.pair: (head, self._before(cell)) for cell, head in self._untouched()}
        wanted = {pair: (head, was) for pair, (head, was) in wanted.items() if self._is_whole(was)}
        for pair in self._in_the_way({pair: was for pair, (_, was) in wanted.items()}):
            del wanted[pair]
        return self._store(wanted, rows, left)

    def _untouched(self) -> Iterator[tuple[EditedCell, int]]:
        """Cells that are as the edit left them, and their heads' numbers."""
        for cell in self.edit.cells:
            head = self.desk.ledger.head(cell.pair)
            if head is not None and self.desk.edits.stands_for(cell.pair, head.number) == cell.after:
                yield cell, head.number
            else:
                self.left.append(_decided_again(cell.pair, head))

    def _before(self, cell: EditedCell) -> Revision:
        found = self.desk.ledger.revision(cell.pair, cell.before)
        return found or Revision(cell.case, cell.organ, 0, State.MISSING, UNDO)

    def _is_whole(self, was: Revision) -> bool:
        """Whether the file that its cell names is still what it was."""
        cell, name = parse_cell(was.cell), self.desk.ledger.stored(was)[0]
        path = self.desk.cohort.at(cell.path) if cell.path else None
        if path is None:
            return True
        if name and was.cell == self.desk.blobs.cell(name):
            whole = self.desk.blobs.intact(name)
        else:
            whole = is_there(path) and not (was.content and path.is_file() and content(path) != was.content)
        if not whole:
            self.left.append(f"{was.pair}: the file {cell.path} is not what it was")
        return whole

    def _in_the_way(self, wanted: dict[Pair, Revision]) -> list[Pair]:
        """Organs that would share voxels with one that was verified meanwhile and excludes it."""
        dropped: list[Pair] = []
        while True:
            left = {pair: was for pair, was in wanted.items() if pair not in dropped}
            more = [pair for pair, was in left.items() if not self._is_free(was, left)]
            if not more:
                return dropped
            dropped += more

    def _is_free(self, was: Revision, others: dict[Pair, Revision]) -> bool:
        try:
            self.desk.check_restored(was, [pair.organ for pair in others if pair.case == was.case])
        except BadInput as error:
            self.left.append(str(error))
            return False
        return True

    def _store(self, wanted: dict[Pair, tuple[int, Revision]], rows: int, left: Sequence[str]) -> Undone:
        ledger, restored = self.desk.ledger, []
        with ledger.database.writing():
            for pair, (number, was) in wanted.items():
                head = ledger.head(pair)
                if head is None or head.number != number:
                    self.left.append(_decided_again(pair, head))
                    continue
                made = ledger.append(self._again(was))
                restored.append([pair.case, pair.organ, was.number, made.number])
            told = Undone(self.edit.number, self.reviewer, len(restored), rows, (*left, *self.left))
            ledger.note(UNDONE, {"told": told.to_json(), "restored": restored})
        return told

    def _again(self, was: Revision) -> Revision:
        """The revision before the edit, as a new one; its reviewer's, not of whoever undoes the edit."""
        name, voxels = self.desk.ledger.stored(was)
        by = f" by {self.reviewer}" if self.reviewer else ""
        note = f"{was.note} " * bool(was.note) + f"({self.edit.title}, undone{by})"
        source = UNDO if was.source in MADE_HERE else was.source
        made = replace(was, source=source, parent=was.number or None, mask=name, voxels=voxels, active_seconds=None)
        return replace(made, note=note)


def _decided_again(pair: Pair, head: Revision | None) -> str:
    by = f" by {head.reviewer}" if head and head.reviewer else ""
    return f"{pair}: it is {head.state if head else State.MISSING}{by} since; that stays"
