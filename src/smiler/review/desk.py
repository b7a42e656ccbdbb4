"""The desk at which reviewers work: one cohort, its ledger, masks and scans; the rules of a decision are here."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from smiler.domain.cells import Cell, parse_cell
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.judged import Judged, read_judged
from smiler.domain.locks import writing
from smiler.domain.progress import Progress
from smiler.formats.nifti_grid import Grid
from smiler.formats.volumes import content, read_labels
from smiler.review import events
from smiler.review.blobs import Blobs
from smiler.review.edits import EditLog
from smiler.review.errors import Pair, Refused
from smiler.review.keys import Keys
from smiler.review.ledger import MADE_HERE, Answer, Asked, Ledger
from smiler.review.masks import Mask
from smiler.review.orientation import ras, ras_shape
from smiler.review.origins import accepted_note, corrected_note
from smiler.review.revisions import REPEAT, Change, Revision
from smiler.review.scans import Scans, grid_hash
from smiler.review.sheet import Sheet, Told
from smiler.review.states import ALLOWED, OUTCOME, TRUSTED, Decision, State

FOLDER = "review"
KEPT_MASK_BYTES = 256 << 20


@dataclass(frozen=True)
class Remark:
    """What a reviewer says beside a decision."""

    note: str = ""
    active_seconds: float | None = None


class Desk:
    """Use `at_desk`. Threads may share it; decisions on one volume are made one after the other."""

    def __init__(
        self, cohort: Path, told: Told, clock: events.Clock = events.utc_now, progress: Progress | None = None
    ) -> None:
        Cohort.open(cohort)
        self.folder = cohort / FOLDER
        self.ledger = Ledger(self.folder, clock)
        self.edits = EditLog(self.ledger.database)
        self.sheet = Sheet(cohort, self.ledger, told, progress)
        self.keys = Keys(cohort)
        self.blobs, self.scans = Blobs(self.folder), Scans(told)
        self._judged: tuple[list[tuple[Path, int]], list[tuple[str, Judged]]] = ([], [])
        self._masks: OrderedDict[tuple[Pair, int], Mask] = OrderedDict()
        self._locks: dict[str, threading.RLock] = {}
        self._lock = threading.Lock()

    @property
    def cohort(self) -> Cohort:
        """The cohort as it is now."""
        return self.sheet.cohort

    def held_out(self) -> list[Judged]:
        """What the models of these proposals are worth on experts' masks that they did not learn from.

        What was decided here is left out: the ledger tells it.
        """
        heads = self.ledger.heads()
        cells = {h.cell.rpartition("/")[0]: h.cell for h in heads.values() if h.state is State.PROPOSED}  # one a folder
        folders = sorted({(self.cohort.folder / parse_cell(cell).path).parent for cell in cells.values()})
        state = [(folder, folder.stat().st_mtime_ns) for folder in folders if folder.is_dir()]
        if state != self._judged[0]:
            self._judged = state, [row for folder, _ in state for row in read_judged(folder)]
        decided = {pair for pair, head in heads.items() if head.source in MADE_HERE}
        return [row for case, row in self._judged[1] if Pair(case, row.organ) not in decided]

    def grid(self, case: str) -> Grid:
        """The CT's grid."""
        return self.scans.grid(self.cohort, self.cohort.case(case))

    # --- masks

    def mask(self, revision: Revision | None, case: str) -> Mask:
        """The mask of a revision, empty where it has none; BadInput if its file changed or is damaged."""
        if revision is None or not revision.drawn:
            return Mask.empty(ras_shape(self.grid(case).geometry))
        key = (revision.pair, revision.number)
        with self._lock:
            if key in self._masks:
                self._masks.move_to_end(key)
                return self._masks[key]
        found = self._load(revision)
        self._remember(key, found)
        return found

    def _remember(self, key: tuple[Pair, int], mask: Mask) -> None:
        with self._lock:
            self._masks[key] = mask
            size = sum(kept.inside.nbytes for kept in self._masks.values())
            while size > KEPT_MASK_BYTES and len(self._masks) > 1:
                size -= self._masks.popitem(last=False)[1].inside.nbytes

    def _load(self, revision: Revision) -> Mask:
        geometry = self.grid(revision.case).geometry
        name, _ = self.ledger.stored(revision)
        if revision.content and not self.blobs.intact(name):
            name = ""  # not stored yet, or damaged: the cohort's own file says the same
        cell = parse_cell(self.blobs.cell(name) if name else revision.cell)
        path = self.blobs.checked(name) if name else self._unchanged(revision, cell)
        drawn = read_labels(path, geometry=geometry)
        if not drawn.grid.geometry.agrees(geometry):
            do = "see smiler audit COHORT"
            raise BadInput("the mask does not lie on the CT's grid", where=f"{revision.pair}, file {path}", do=do)
        return Mask.of(ras(drawn.mask(cell.labels)), ras_shape(geometry))

    def _unchanged(self, revision: Revision, cell: Cell) -> Path:
        """The cohort's own file, if it still holds what was there when the revision was made."""
        path = self.cohort.folder / cell.path
        if path.is_file() and content(path) != revision.content:
            self.sheet.look_again()
            what = "the mask's file was replaced meanwhile, and this revision's mask is gone with it"
            raise Refused(409, what, where=f"{revision.pair}, file {cell.path}", do="load the organ again")
        return path

    def keep(self, revision: Revision) -> str:
        """Store the mask of an imported revision, so that it stays whatever happens to the cohort's file; its name."""
        name, _ = self.ledger.stored(revision)
        if revision.content and not self.blobs.intact(name):
            mask = self.mask(revision, revision.case)
            name = self.blobs.put(mask, self.grid(revision.case))
            self.ledger.keep(revision, name, mask.voxels)
        return name

    @contextmanager
    def _even_unread(self, pair: Pair) -> Iterator[None]:
        """A mask that can't be read must keep nobody from deciding against it."""
        try:
            yield
        except Refused:  # another file came in its place, and is the head by now
            raise
        except BadInput as error:
            self.sheet.told(f"{pair}: decided without the mask before, which can't be read: {error}")

    # --- decisions

    def decide(self, asked: Asked, pair: Pair, decision: Decision, remark: Remark) -> Answer:
        """Accept, reject, absent, flag or reopen."""
        with self.alone(pair.case):
            return self.ledger.answered(asked) or self._done(asked, pair, self._decision(asked, pair, decision), remark)

    def correct(self, asked: Asked, pair: Pair, mask: Mask, remark: Remark) -> Answer:
        """The reviewer's own mask. A stale one is kept as a revision that is not the head."""
        with self.alone(pair.case):
            answer = self.ledger.answered(asked)
            answer = answer or self._done(asked, pair, self._correction(asked, pair, mask), remark)
            if answer.status == 200:
                self._remember((pair, answer.body["number"]), mask)  # the next stroke needs it
        return answer

    def repeat(self, asked: Asked, pair: Pair, said: Decision | Mask, remark: Remark) -> Answer:
        """A second answer to a proposal (the revision that it is based on), kept beside the first; see `repeats`."""
        with self.alone(pair.case):
            answer = self.ledger.answered(asked)
            first, shown = self.ledger.head(pair), self.ledger.revision(pair, asked.expected)
            if answer is not None or first is None or shown is None:
                return answer or Answer(412, {"head": first.number if first else 0, "kept": None})
            if said is Decision.FLAG:
                return self._done(replace(asked, expected=first.number), pair, self._said(pair, first, said), remark)
            made, mask = self._again(shown, said)
            made = replace(made, source=REPEAT, agreement=self._alike(first, made, mask))
            return self.ledger.write_beside(asked, _signed(made, asked, remark))

    def _again(self, shown: Revision, said: Decision | Mask) -> tuple[Revision, Mask | None]:
        """The second answer and its mask, if it says that there is one."""
        pair, proposal = shown.pair, self.mask(shown, shown.case)
        if isinstance(said, Mask):
            if not said.voxels:
                raise _empty(pair)
            made = replace(self._new(pair, State.CORRECTED), mask=self.blobs.put(said, self.grid(pair.case)))
            return made.changed(said.change_from(proposal)), said
        if said not in OUTCOME or State.PROPOSED not in ALLOWED[said]:
            raise _not_now(pair, said, State.PROPOSED)
        made = self._new(pair, OUTCOME[said])
        if said is Decision.ABSENT:
            return replace(made, voxels=0), None
        made = replace(made, mask=self.keep(shown), voxels=proposal.voxels)
        return made, proposal if said is Decision.ACCEPT else None

    def _alike(self, first: Revision, made: Revision, mask: Mask | None) -> float:
        """Dice of two answers; without masks 1 if they are the same and 0 if not."""
        if mask is not None and first.state in (State.ACCEPTED, State.CORRECTED):
            return mask.change_from(self.mask(first, first.case)).dice or 0.0
        return float(first.state is made.state)

    @contextmanager
    def alone(self, case: str) -> Iterator[None]:
        """Nobody else decides on the volume meanwhile; cases.csv is read before and follows after."""
        self.sheet.follow()
        with self._lock:
            lock = self._locks.setdefault(case, threading.RLock())
        with lock:
            yield
        self.sheet.follow()

    def _done(self, asked: Asked, pair: Pair, made: Revision | None, remark: Remark) -> Answer:
        return self.ledger.write(asked, pair, _signed(made, asked, remark) if made else None)

    def _decision(self, asked: Asked, pair: Pair, decision: Decision) -> Revision | None:
        """What the decision makes of the organ; None if it is stale."""
        head = self.ledger.head(pair)
        if (head.number if head else 0) != asked.expected:
            return None
        state = head.state if head else State.MISSING
        if state not in ALLOWED[decision] or (decision is Decision.REOPEN and head and head.source not in MADE_HERE):
            raise _not_now(pair, decision, state)
        if decision is Decision.REOPEN:
            return self._reopened(pair)
        if decision is Decision.ACCEPT and head:
            return self._accepted(head)
        return self._said(pair, head, decision)

    def _said(self, pair: Pair, head: Revision | None, decision: Decision) -> Revision:
        """Rejected, absent, flagged. Except for absent the mask stays to be seen."""
        made = self._new(pair, OUTCOME[decision])
        name = ""
        with self._even_unread(pair):
            name = self.keep(head) if head else ""
        if decision is Decision.ABSENT:
            return replace(made, cell="absent", voxels=0)
        if decision is Decision.FLAG:
            base = self.ledger.base(pair)
            made = replace(made, cell=base.cell if base else "")
        voxels = self.ledger.stored(head)[1] if head else None
        return replace(made, mask=name, voxels=voxels, model=head.model if head else "")

    def _reopened(self, pair: Pair) -> Revision:
        """What the cohort said before anyone decided, as a new revision."""
        base = self.ledger.base(pair)
        if base is None:
            return self._new(pair, State.MISSING)
        if base.state is State.EXPERT:
            self._check(pair, self.mask(base, pair.case))
        name, voxels = self.ledger.stored(base)
        return replace(base, source="review", mask=name, voxels=voxels)

    def _accepted(self, head: Revision) -> Revision:
        pair, mask = head.pair, self.mask(head, head.case)
        self._check(pair, mask)
        name = self.keep(head)
        note = accepted_note(self.cohort, self.ledger, head)
        if note is not None:
            self.blobs.tell(name, pair.case, pair.organ, note)
        made = replace(self._new(pair, State.ACCEPTED), mask=name, cell=self.blobs.cell(name))
        made = replace(made, model=head.model, round=head.round, agreement=head.agreement, unsure_cm2=head.unsure_cm2)
        return made.changed(mask.change_from(mask))

    def _correction(self, asked: Asked, pair: Pair, mask: Mask) -> Revision:
        parent = self.ledger.revision(pair, asked.expected)
        if parent is None and asked.expected:
            do = "load the organ again"
            raise Refused(422, "no such revision", where=f"{pair}, If-Match", got=str(asked.expected), do=do)
        head = self.ledger.head(pair)
        if (head.number if head else 0) == asked.expected:
            self._check(pair, mask)
        elif not mask.voxels:
            raise _empty(pair)
        change = Change(mask.voxels, mask.voxels, 0, None)
        with self._even_unread(pair):
            if parent is not None:
                self.keep(parent)
            change = mask.change_from(self.mask(parent, pair.case))
        name = self.blobs.put(mask, self.grid(pair.case))
        self.blobs.tell(name, pair.case, pair.organ, corrected_note(self.cohort, self.ledger, parent))
        made = replace(self._new(pair, State.CORRECTED), mask=name, cell=self.blobs.cell(name))
        if parent is not None:
            made = replace(made, model=parent.model, round=parent.round)
        return made.changed(change)

    def _new(self, pair: Pair, state: State) -> Revision:
        return Revision(pair.case, pair.organ, 0, state, "review", grid=grid_hash(self.grid(pair.case)))

    def _check(self, pair: Pair, mask: Mask) -> None:
        """A trusted mask has voxels, and shares none with a trusted organ that excludes it."""
        if not mask.voxels:
            raise _empty(pair)
        for head in self._excluded(pair):
            self._check_apart(pair, mask, head)

    def check_restored(self, was: Revision, others: Collection[str]) -> None:
        """The same for a revision that is to count again. others: organs of the volume that change with it."""
        heads = [head for head in self._excluded(was.pair) if head.organ not in others]
        if heads and was.state in TRUSTED and was.drawn:
            mask = self.mask(was, was.case)
            for head in heads:
                self._check_apart(was.pair, mask, head)

    def _excluded(self, pair: Pair) -> list[Revision]:
        """Trusted masks that may share no voxel with the organ."""
        organs = self.cohort.organs
        trusted = [head for head in self.ledger.heads_of(pair.case).values() if head.state in TRUSTED and head.drawn]
        return [head for head in trusted if head.organ in organs and organs.exclusive(head.organ, pair.organ)]

    def _check_apart(self, pair: Pair, mask: Mask, other: Revision) -> None:
        shared = mask.shared_voxels(self.mask(other, pair.case))
        if shared:
            raise _overlap(pair, other.organ, shared)


def _signed(made: Revision, asked: Asked, remark: Remark) -> Revision:
    return replace(made, reviewer=asked.reviewer, note=remark.note, active_seconds=remark.active_seconds)


def _not_now(pair: Pair, decision: Decision, state: State) -> Refused:
    do = {
        State.EXPERT: "draw a corrected mask, or flag it",
        State.MISSING: "draw it, or mark it absent",
    }.get(state, "reopen it first" if state not in (State.PROPOSED, State.FLAGGED) else "choose another decision")
    return Refused(409, f"{decision} does not follow {state}", where=str(pair), got=decision, do=do)


def _empty(pair: Pair) -> Refused:
    do = "mark it absent if the organ is not in this volume"
    return Refused(409, "the mask has no voxel", where=str(pair), do=do)


def _overlap(pair: Pair, organ: str, shared: int) -> Refused:
    do = f"erase them, or correct {organ} first; or declare that the two overlap in cohort.toml"
    what = f"the mask takes voxels of {organ}, which is verified and excludes it"
    return Refused(409, what, where=str(pair), got=f"{shared} voxels", do=do)


@contextmanager
def at_desk(
    cohort: Path, told: Told, clock: events.Clock = events.utc_now, progress: Progress | None = None
) -> Iterator[Desk]:
    """Open the review of a cohort; BadInput if it is open elsewhere. progress: of reading its cells and proposals."""
    with ExitStack() as stack:
        Cohort.open(cohort)
        stack.enter_context(writing(cohort / FOLDER))
        desk = Desk(cohort, told, clock, progress)
        stack.callback(desk.ledger.close)
        yield desk
