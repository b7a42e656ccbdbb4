"""One reading of `cases.csv`: each cell that the ledger does not know becomes a revision.

Where a cell no longer says what a person had decided, and where rows are gone, all of it is one edit (`edits`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from smiler.domain.cells import parse_cell
from smiler.domain.cohort import Cohort
from smiler.domain.progress import Progress
from smiler.review.edits import EDIT, UNDO_COMMAND, Edit, EditedRow, is_decided
from smiler.review.errors import Pair
from smiler.review.imports import Contents, imported
from smiler.review.ledger import Ledger
from smiler.review.revisions import Revision
from smiler.review.states import OPEN, State

MOST_LINES = 5
"""Cells that are told one by one."""
Row = tuple[str, str, str]
Change = tuple[Revision | None, Revision]
"""The head before, and what the cell says now."""


@dataclass
class Incoming:
    """Use it once, inside a transaction of the ledger."""

    ledger: Ledger
    cohort: Cohort
    contents: Contents
    heads: Mapping[Pair, Revision] = field(default_factory=dict)
    listed: list[Row] = field(default_factory=list)

    def take(self, progress: Progress) -> list[str]:
        """Make the revisions; what the user must know of it, in words."""
        seen, self.heads, self.listed = self.ledger.seen(), self.ledger.heads(), self.ledger.listed()
        known = {case for case, _, _ in self.listed}
        changed = []
        for case in progress.track(self.cohort, "reading cells", len(self.cohort)):
            for organ in self.cohort.organs.keys:
                pair = Pair(case.id, organ)
                made = self._met(pair, str(case.cell(organ)), seen.get(pair, ""))
                if made is not None:
                    changed.append((self.heads.get(pair), made))
        rows, edited, others = self._edited_rows(), list[Change](), list[Change]()
        for change in changed:
            (edited if self._is_edited(change, known) else others).append(change)
        if not rows and not any(is_decided(head) for head, _ in edited):
            edited, others = [], changed
        return [*self._keep_edit(edited, rows), *self._keep_others(others, known)]

    def _met(self, pair: Pair, says: str, seen: str) -> Revision | None:
        """What a cell becomes that says something else than the ledger knows; None if there is nothing to do."""
        head = self.heads.get(pair)
        cell = parse_cell(says)
        if head is None and not says:
            return None
        if head is not None and says == head.cell:
            if says != seen:
                self.ledger.mark_seen([(pair, says)])
            if not head.content:
                return None
        elif head is not None and says == seen:
            return None  # the decision is written next
        elif head is not None and cell.auto and head.cell != seen:
            self.ledger.mark_seen([(pair, says)])
            return None  # a proposal does not come before a decision that is written next
        made = imported(self.cohort, pair, cell, self.contents)
        return None if head and (says, made.content) == (head.cell, head.content) else made

    # --- what is an edit

    def _is_edited(self, change: Change, known: set[str]) -> bool:
        """Whether it belongs to a person's edit: a new proposal does not, an older one that is back does."""
        head, made = change
        if head is None:
            return made.case in known and made.state is not State.PROPOSED
        if made.cell == head.cell:
            return False  # the file that it names was replaced
        if made.state is not State.PROPOSED:
            return True
        if head.state is State.FLAGGED and (not head.cell or parse_cell(head.cell).auto):
            return False  # the flag stays
        if head.state in OPEN or head.state is State.REJECTED:
            before = self.ledger.history(made.pair)
            return any((one.cell, one.content) == (made.cell, made.content) for one in before)
        return True

    def _edited_rows(self) -> list[EditedRow]:
        """Rows that are gone, or have another patient or image; the ledger knows the new ones from now on."""
        rows = {case.id: (case.patient, case.image) for case in self.cohort}
        now = [(case, *rest) for case, rest in rows.items()]
        if now == self.listed:
            return []
        self.ledger.list_rows(now)
        return [
            EditedRow(case, place, patient, image, rows.get(case))
            for place, (case, patient, image) in enumerate(self.listed)
            if rows.get(case) != (patient, image)
        ]

    # --- what becomes of it

    def _keep_edit(self, changed: list[Change], rows: list[EditedRow]) -> Iterator[str]:
        if not changed and not rows:
            return
        note = Edit.of(changed, rows).short
        edit = Edit.of([(head, self._append(head, replace(made, note=note))) for head, made in changed], rows)
        for row in rows:
            self._tell_gone(row, note)
        self.ledger.note(EDIT, edit.body())
        what = "; ".join(f"{count} {change}" for change, count in edit.changes.items())
        yield f"{note}{f' ({what})' if what else ''}; take it back with Undo on the page or {UNDO_COMMAND}"
        lines = [_line(head, made) for head, made in changed] + [_row_line(row) for row in rows]
        yield from _shortened(lines)

    def _tell_gone(self, row: EditedRow, note: str) -> None:
        """The history of each organ says that its row is gone; the decision stays the head for when it comes back."""
        decided = [head for pair, head in self.heads.items() if pair.case == row.case and is_decided(head)]
        for head in decided if row.now is None else ():
            self.ledger.append(
                Revision(head.case, head.organ, 0, State.MISSING, "cohort", parent=head.number, note=note, kept=True)
            )

    def _append(self, head: Revision | None, made: Revision) -> Revision:
        """Add it; a flag goes on above a new proposal, which is no answer to it."""
        stored = self.ledger.append(replace(made, parent=head.number if head else None), made.cell)
        if head is not None and head.state is State.FLAGGED and made.state is State.PROPOSED:
            flag = replace(made, state=head.state, source=head.source, reviewer=head.reviewer, note=head.note)
            stored = self.ledger.append(replace(flag, parent=stored.number), made.cell)
        return stored

    def _keep_others(self, changed: list[Change], known: set[str]) -> Iterator[str]:
        for head, made in changed:
            self._append(head, made)
        if not self.heads:
            return
        yield from _shortened([_line(*change) for change in changed if _is_written(*change, known)])
        counts = {
            "new proposals": sum(now.state is State.PROPOSED for _, now in changed),
            "rejected organs proposed again": sum(_is(was, State.REJECTED) for was, _ in changed),
            "proposals gone": sum(_is(was, State.PROPOSED) and now.state is State.MISSING for was, now in changed),
            "masks of experts replaced by other files": sum(_is(was, State.EXPERT) for was, _ in changed),
        }
        told = [f"{what}: {count}" for what, count in counts.items() if count]
        if told:
            yield f"cases.csv: {', '.join(told)}"


def _is(head: Revision | None, state: State) -> bool:
    return head is not None and head.state is state


def _is_written(head: Revision | None, made: Revision, known: set[str]) -> bool:
    """Whether a person's word came into a cell in which nobody had decided."""
    written = made.state not in OPEN and (head.cell if head else "") != made.cell
    return written and (head is not None or made.case in known)


def _line(head: Revision | None, made: Revision) -> str:
    before = f"where it was {head.state}" if head else "where nothing was"
    before += f" by {head.reviewer}" if head and head.reviewer else ""
    says = "cases.csv says" if made.state is State.PROPOSED else "a person wrote"
    where = "" if made.state is State.PROPOSED else " into cases.csv"
    return f"{made.pair}: {says} {made.cell!r}{where} {before}; it counts from now on, the one before is kept"


def _row_line(row: EditedRow) -> str:
    if row.now is None:
        return f"case {row.case}: its row is gone from cases.csv; what was decided is kept"
    return f"case {row.case}: patient {row.patient!r}, image {row.image!r} are now {row.now[0]!r}, {row.now[1]!r}"


def _shortened(lines: Iterable[str]) -> Iterator[str]:
    told = list(lines)
    yield from told[:MOST_LINES]
    if len(told) > MOST_LINES:
        yield f"and {len(told) - MOST_LINES} more like these; smiler review COHORT --history FILE lists all"
