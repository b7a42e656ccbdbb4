"""Random histories of one cohort: imports, relabelling, decisions, edits of its table, undo, exports, and kills.

After each step two laws hold. What experts said stays as it is, but for what the step itself is about: a decision for
its organ, a person's edit for what the person wrote. And an edit that changed what somebody had decided was told, names
each of these organs, and can be undone; no other step is taken for one.
"""

import csv
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from smiler.domain.cells import Status
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.geometry import Geometry
from smiler.domain.ledger import cohort_at, read_ledger
from smiler.domain.organs import Organ, OrganSet
from smiler.export.export import export
from smiler.export.pieces import ExportRequest
from smiler.formats import ImportOptions
from smiler.formats.importing import import_into
from smiler.formats.nifti import grid_of, write_ct, write_labels
from smiler.formats.volumes import read_labels
from smiler.losses import build_loss
from smiler.losses.options import LossOptions
from smiler.networks import build
from smiler.networks.device import make_fabric
from smiler.networks.options import NetworkOptions
from smiler.prediction.model import Model, ModelFacts, as_model
from smiler.review.desk import Desk, Remark, at_desk
from smiler.review.errors import Pair
from smiler.review.ledger import Asked, state_of
from smiler.review.masks import Mask
from smiler.review.orientation import ras, ras_shape
from smiler.review.revisions import Revision
from smiler.review.states import OPEN, OUTCOME, Decision, State
from smiler.review.undo import undo_newest
from smiler.review.verify import verify
from smiler.sampling.augment import Normalisation
from smiler.store.options import DataOptions
from smiler.verbs.relabel import RelabelRequest, relabel

ORGANS = OrganSet((Organ("liver"), Organ("liver_tumor", part_of="liver"), Organ("spleen")))
SHAPE = (4, 8, 8)
"""(z, y, x)"""
CASES = ("p1", "p1_liver")
PAIRS = tuple(Pair(case, organ) for case in CASES for organ in ORGANS.keys)
MEMORY = Path("/dev/shm")
Seen = Mapping[Pair, tuple[State, str]]
"""Of every organ somebody knows something about: its state, and which voxels it has."""


def drawn(number: int) -> np.ndarray:
    """A mask (z, y, x); organ 0 in one half of the volume, organ 2 in the other, organ 1 within organ 0."""
    mask = np.zeros(SHAPE, np.uint8)
    part = {0: np.s_[1:3, 1:4, 1:7], 1: np.s_[1:2, 2:4, 2:4], 2: np.s_[0:3, 5:7, 1:7]}[number % 3]
    mask[part] = 1
    mask[number % 2, 1 if number % 3 < 2 else 5, number % 7] = 1
    return mask


@cache
def sources() -> Path:
    """One folder a case as TotalSegmentator lays it out; the organ at the end of the list is absent in the second."""
    root = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None, prefix="smiler-histories-"))
    geometry = Geometry.canonical(SHAPE, (3.0, 2.0, 2.0))
    for n, case in enumerate(CASES):
        folder = root / case / case
        hu = np.random.default_rng(n).integers(-200, 300, SHAPE).astype(np.int16)
        write_ct(folder / "ct.nii.gz", hu, geometry)
        for k, key in enumerate(ORGANS.keys):
            mask = drawn(k) * np.uint8(not (n and key == "spleen"))
            write_labels(folder / f"segmentations/{key}.nii.gz", mask, grid_of(geometry))
    return root


@cache
def model(seed: int) -> Model:
    """An untrained network."""
    torch.manual_seed(seed)
    data, options = DataOptions(spacing_xy_mm="native"), NetworkOptions(name="unet", width=8)
    facts = ModelFacts(ORGANS, options, LossOptions(), data, Normalisation(0.0, 100.0, -160.0))
    network = build(options, build_loss(facts.loss, ORGANS).outputs)
    return as_model(facts, network, make_fabric("cpu", "32"), f"{seed:064x}")


@dataclass
class Killed:
    """Ends this process without a word at the n-th call of a function of smiler."""

    calls: int

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and "smiler" in frame.f_code.co_filename:
            self.calls -= 1
            if self.calls < 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Histories(RuleBasedStateMachine):
    """COHORT is imported into; OUT is completed from it, reviewed, edited, exported."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.cohort, self.out = self.root / "cohort", self.root / "out"
        self.stack, self.desk = ExitStack(), None  # type: ExitStack, Desk | None
        self.told: list[str] = []
        self.seen: Seen = {}
        self.revisions: dict[tuple[Pair, int], Revision] = {}
        self.edits: dict[int, Seen] = {}
        self.tables: list[str] = []
        self.count = 0

    # --- what there is

    def open(self) -> None:
        """Sit down at the desk of OUT."""
        if self.desk is None and (self.out / "cases.csv").exists():
            self.desk = self.stack.enter_context(at_desk(self.out, self.told.append))

    def close(self) -> None:
        """Leave it."""
        self.desk = None
        self.stack.close()

    @property
    def reviewed(self) -> bool:
        """Whether a review of OUT was begun."""
        return (self.out / "review/ledger.sqlite").exists()

    def look(self) -> Seen:
        """What is known now: of a review by its ledger, else by the table."""
        if not self.reviewed:
            there = cohort_at(self.out)
            cells = {Pair(c.id, k): c.cell(k) for c in there.cases for k in c.cells} if there is not None else {}
            return {p: (state_of(cell), voxels(there, p)) for p, cell in cells.items() if str(cell)}
        self.open()
        assert self.desk is not None
        self.desk.sheet.follow()
        assert self.desk.sheet.trouble == ""
        self.check_ledger(self.desk)
        heads = self.desk.ledger.heads()
        return {p: (head.state, self.digest(head)) for p, head in heads.items() if head.state is not State.MISSING}

    def digest(self, head: Revision) -> str:
        """The voxels of a head; of a row that is gone as they were seen last."""
        assert self.desk is not None
        if head.case in self.desk.sheet.ids:
            return self.desk.mask(head, head.case).digest
        was = self.seen.get(head.pair, (head.state, "never seen"))
        return was[1] if was[0] is head.state else "another of a row that is gone"

    def check_ledger(self, desk: Desk) -> None:
        """No revision is changed or gone, every stored mask is whole, and the table says what the heads say."""
        now = {(revision.pair, revision.number): revision for revision in desk.ledger.all_revisions()}
        assert {key: now.get(key) for key in self.revisions} == self.revisions
        self.revisions = now
        assert all(desk.blobs.intact(revision.mask) for revision in now.values() if revision.mask)
        heads, cohort = desk.ledger.heads(), Cohort.open(self.out)
        for case in cohort:
            for organ in cohort.organs.keys:
                head = heads.get(Pair(case.id, organ))
                assert str(case.cell(organ)) == (head.cell if head else "")

    @contextmanager
    def step(self, *about: Pair, edit: bool = False, proposes: bool = False, grows: bool = False) -> Any:
        """A step that may change what was decided of these organs alone.

        edit: also what a person wrote, if it is told; proposes: also what nobody has decided; grows: also COHORT.
        """
        before, known = self.seen, set(self.edits)
        files = contents(self.cohort)
        self.told.clear()
        yield
        self.seen = self.look()
        if (self.out / "cases.csv").exists():
            self.tables.append((self.out / "cases.csv").read_text())
        assert grows or contents(self.cohort) == files
        changed = {p for p in {*before, *self.seen} if self.seen.get(p) != before.get(p)} - set(about)
        decided = {pair for pair in changed if before.get(pair, (State.MISSING, ""))[0] not in OPEN}
        if not self.reviewed:
            assert edit or not decided
            return
        assert self.desk is not None
        new = {one.number: one for one in self.desk.edits.to_undo() if one.number not in known}
        self.edits |= dict.fromkeys(new, before)
        named = {cell.pair for one in new.values() for cell in one.cells}
        again = {p for p in decided if proposes and before[p][0] is State.REJECTED}
        assert decided - again <= named
        if again - named:
            assert any("rejected organs proposed again" in text for text in self.told)
        assert edit or proposes or not new
        for one in new.values():
            assert any(text.startswith(one.short) and "--undo-edit" in text for text in self.told)
        if not (edit or proposes):
            assert not changed

    # --- steps

    @rule(case=st.sampled_from(CASES), organs=st.sets(st.sampled_from(ORGANS.keys), min_size=1), out=st.booleans())
    def imports(self, case: str, organs: Collection[str], out: bool) -> None:
        """Import a case, or more of its organs; what is there already is refused."""
        with self.step(proposes=True, grows=True), suppress(BadInput):
            self.import_case(case, organs, out)

    def import_case(self, case: str, organs: Collection[str], out: bool) -> None:
        folder = self.out if out else self.cohort
        before = rows(folder)
        options = ImportOptions(absent_means="absent", organs=tuple(sorted(organs)))
        report = import_into(sources() / case, folder, options)
        assert report.added == (case,)
        after = rows(folder)
        assert {pair: cell for pair, cell in after.items() if before.get(pair)} == {
            pair: cell for pair, cell in before.items() if cell
        }

    @precondition(lambda self: (self.cohort / "cases.csv").exists())
    @rule(seed=st.integers(0, 3))
    def relabels(self, seed: int) -> None:
        """Complete COHORT into OUT: merged into, or refused where a review lies."""
        with self.step(proposes=True):
            before = contents(self.out) if self.reviewed else {}
            with suppress(BadInput):
                relabel(model(seed), Cohort.open(self.cohort), RelabelRequest(self.out))
                assert not before
            assert not before or contents(self.out) == before

    @precondition(lambda self: (self.out / "cases.csv").exists())
    @rule(seed=st.integers(0, 3))
    def proposes_anew(self, seed: int) -> None:
        """A round in OUT itself."""
        with self.step(proposes=True), suppress(BadInput):
            relabel(model(seed), Cohort.open(self.out), RelabelRequest(self.out, review=True))

    @precondition(lambda self: (self.out / "cases.csv").exists())
    @rule(pair=st.sampled_from(PAIRS), decision=st.sampled_from(Decision), stale=st.sampled_from([False] * 4 + [True]))
    def decides(self, pair: Pair, decision: Decision, stale: bool) -> None:
        """One decision; a stale or impossible one changes nothing."""
        with self.step():
            self.open()  # that begins a review, if there is none
        assert self.desk is not None
        if pair.case not in self.desk.sheet.ids or pair.organ not in self.desk.cohort.organs:
            return
        before = self.seen.get(pair)
        done: list[Revision] = []
        with self.step(pair), suppress(BadInput):
            done = self.decide(self.desk, pair, decision, stale)
        after = self.seen.get(pair)
        if not done:
            assert after == before
        elif decision in OUTCOME:
            assert after is not None
            assert after[0] is OUTCOME[decision]
            assert decision is not Decision.ACCEPT or (before is not None and after[1] == before[1])

    def decide(self, desk: Desk, pair: Pair, decision: Decision, stale: bool) -> list[Revision]:
        """The new head, if it was taken."""
        head = desk.ledger.head(pair)
        number = max(0, (head.number if head else 0) - stale)
        self.count += 1
        asked = Asked.of("anna", str(self.count), pair, number, decision)
        status = desk.decide(asked, pair, decision, Remark("said so")).status
        found = desk.ledger.head(pair)
        assert status == 412 or found is not None
        return [found] if status == 200 and found else []

    @precondition(lambda self: (self.out / "cases.csv").exists())
    @rule(pair=st.sampled_from(PAIRS), number=st.integers(0, 11), stale=st.sampled_from([False] * 4 + [True]))
    def corrects(self, pair: Pair, number: int, stale: bool) -> None:
        """A reviewer draws."""
        with self.step():
            self.open()  # that begins a review, if there is none
        assert self.desk is not None
        if pair.case not in self.desk.sheet.ids or pair.organ not in self.desk.cohort.organs:
            return
        before, answered = self.seen.get(pair), 0
        mask = Mask.of(drawn(number).transpose(2, 1, 0)[::-1, ::-1], (SHAPE[2], SHAPE[1], SHAPE[0]))
        with self.step(pair), suppress(BadInput):
            head = self.desk.ledger.head(pair)
            self.count += 1
            base = max(0, (head.number if head else 0) - stale)
            asked = Asked.of("ben", str(self.count), pair, base, "mask")
            answered = self.desk.correct(asked, pair, mask, Remark()).status
        if answered == 200:
            assert self.seen[pair] == (State.CORRECTED, mask.digest)
        else:
            assert self.seen.get(pair) == before

    # --- a person's spreadsheet

    @precondition(lambda self: (self.out / "cases.csv").exists())
    @rule(pair=st.sampled_from(PAIRS), says=st.sampled_from(["", "absent", "mask"]))
    def edits_a_cell(self, pair: Pair, says: str) -> None:
        """A person writes into one cell."""
        if (pair.case, pair.organ) not in rows(self.out):
            return
        mask = sources() / pair.case / pair.case / f"segmentations/{pair.organ}.nii.gz"
        text = str(mask) if says == "mask" else says
        with self.step(edit=True):
            edit(self.out, lambda row: row | {pair.organ: text} if row["case"] == pair.case else row)

    @precondition(lambda self: len(self.tables) > 1)
    @rule(number=st.integers(0, 99))
    def saves_a_stale_table(self, number: int) -> None:
        """A person saves a table that was opened earlier."""
        text = self.tables[number % len(self.tables)]
        if not self.opens(text):
            return
        with self.step(edit=True):
            (self.out / "cases.csv").write_text(text)

    @precondition(lambda self: (self.out / "cases.csv").exists())
    @rule(case=st.sampled_from(CASES))
    def takes_a_row_out(self, case: str) -> None:
        """A person deletes a row: what was decided of it is kept."""
        if self.reviewed:
            with self.step(edit=True):
                edit(self.out, lambda row: None if row["case"] == case else row)

    @precondition(lambda self: self.desk is not None)
    @rule()
    def undoes(self) -> None:
        """Take the newest edit back: all of it that nobody has touched since."""
        assert self.desk is not None
        edits = self.desk.edits.to_undo()
        newest = edits[-1] if edits else None
        before, pairs = self.seen, [cell.pair for cell in newest.cells] if newest else []
        left: tuple[str, ...] = ()
        with self.step(*pairs), suppress(BadInput):
            left = undo_newest(self.desk, "carl").left
        for pair in pairs:
            assert newest is not None
            stays = any(f"{pair}:" in text for text in left)
            assert self.seen.get(pair) == (before if stays else self.edits[newest.number]).get(pair)

    # --- elsewhere, and kills

    @precondition(lambda self: (self.out / "cases.csv").exists())
    @rule(kind=st.sampled_from(["totalsegmentator", "bids"]))
    def exports(self, kind: str) -> None:
        """What experts said comes back from an export."""
        with self.step(), suppress(BadInput):
            there, target = Cohort.open(self.out), self.root / f"export{len(self.tables)}-{kind}"
            export(there, kind, ExportRequest(target))
            import_into(target, target.with_suffix(".cohort"))
            back = Cohort.open(target.with_suffix(".cohort"))
            for case in there:
                for organ in there.organs.keys:
                    pair, cell = Pair(case.id, organ), case.cell(organ)
                    came = back.case(case.id).cell(organ)
                    assert came.status is cell.status
                    assert cell.status is not Status.ANNOTATED or voxels(there, pair) == voxels(back, pair)

    @precondition(lambda self: hasattr(os, "fork") and (self.cohort / "cases.csv").exists())
    @rule(
        calls=st.integers(0, 2500),
        what=st.sampled_from(["import", "relabel", "round", "decide", "export", "undo"]),
        pair=st.sampled_from(PAIRS),
        decision=st.sampled_from(Decision),
        seed=st.integers(0, 3),
    )
    def is_killed(self, calls: int, what: str, pair: Pair, decision: Decision, seed: int) -> None:
        """The same in a process that is killed on its way."""
        if what not in ("import", "relabel") and not (self.out / "cases.csv").exists():
            return

        def decides() -> None:
            with at_desk(self.out, str) as desk:
                self.decide(desk, pair, decision, stale=False)

        def undoes() -> None:
            with at_desk(self.out, str) as desk:
                undo_newest(desk, "carl")

        steps: dict[str, Callable[[], object]] = {
            "import": lambda: self.import_case(pair.case, [pair.organ], out=True),
            "relabel": lambda: relabel(model(seed), Cohort.open(self.cohort), RelabelRequest(self.out)),
            "round": lambda: relabel(model(seed), Cohort.open(self.out), RelabelRequest(self.out, review=True)),
            "decide": decides,
            "undo": undoes,
            "export": lambda: export(Cohort.open(self.out), "bids", ExportRequest(self.root / "killed")),
        }
        edits = self.desk.edits.to_undo() if self.desk else []
        undone = [cell.pair for cell in edits[-1].cells] if edits and what == "undo" else []
        about = {"decide": [pair], "undo": undone}.get(what, [])
        proposes = what in ("import", "relabel", "round")
        with self.step(*about, proposes=proposes):
            self.close()
            self.count += 1
            run_and_kill(steps[what], calls)

    def opens(self, text: str) -> bool:
        """Whether every file that a table names is there."""
        path = self.out / ".opened.csv"
        try:
            path.write_text(text)
            read_ledger(path, Cohort.open(self.out).organs)
        except BadInput:
            return False
        finally:
            path.unlink()
        return True

    def teardown(self) -> None:
        """In the end everything is whole, and nothing half written is left."""
        self.close()
        try:
            if self.reviewed:
                found = verify(self.out)
                assert found.ok, found.faults
        finally:
            shutil.rmtree(self.root)


NOTHING = Mask.empty((SHAPE[2], SHAPE[1], SHAPE[0])).digest


def run_and_kill(step: Callable[[], object], calls: int) -> None:
    """Do it in a child that kills itself at its n-th call, if it gets so far."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with suppress(BadInput):
                sys.setprofile(Killed(calls))
                step()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0


def voxels(cohort: Cohort, pair: Pair) -> str:
    """Which voxels a cell's mask has."""
    cell = cohort.case(pair.case).cell(pair.organ)
    if not cell.path:
        return NOTHING
    found = read_labels(cohort.at(cell.path))
    return Mask.of(ras(found.mask(cell.labels)), ras_shape(found.grid.geometry)).digest


def rows(folder: Path) -> dict[tuple[str, str], str]:
    """What a table says."""
    there = cohort_at(folder, lost_proposals=True)
    cells: Iterable[Any] = () if there is None else there.cases
    return {(case.id, key): str(case.cell(key)) for case in cells for key in ORGANS.keys}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but locks and caches."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name]
    return {str(path): path.read_bytes() for path in files if ".sqlite-" not in path.name}


def edit(folder: Path, change: Callable[[dict[str, str]], dict[str, str] | None]) -> None:
    """Open cases.csv in a spreadsheet, change its rows, save."""
    with (folder / "cases.csv").open(newline="") as stream:
        reader = csv.DictReader(stream)
        changed = [row for old in reader if (row := change(old)) is not None]
        columns = list(reader.fieldnames or ())
    with (folder / "cases.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(changed)
