"""A save killed before each single step that it takes: what was acknowledged stays, and the rest can be asked again."""

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reviewing import box_mask, cells, stored

from smiler.review.desk import Desk, Remark, at_desk
from smiler.review.edits import Undone
from smiler.review.errors import Pair
from smiler.review.ledger import Answer, Asked
from smiler.review.masks import Mask
from smiler.review.states import Decision
from smiler.review.undo import undo_newest
from smiler.review.verify import verify

DRAWN = box_mask(1, 1, 1, 6, 6, 5)
PAIR = Pair("b", "liver")
CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
REMARK = Remark("looked twice", 3.5)
Save = Callable[[Desk], Answer]


def asked(what: str) -> Asked:
    return Asked.of("anna", "the-key-of-this-save", PAIR, 1, what)


STRIDE = 1 if "SMILER_EVERY_STEP" in os.environ else 3
"""Each kind of save begins at a step of its own, so that of what all do each step is met by one of them."""
SAVES: dict[str, Save] = {
    "a corrected mask": lambda desk: desk.correct(asked("mask"), PAIR, Mask.of(DRAWN > 0, DRAWN.shape), REMARK),
    "accepted": lambda desk: desk.decide(asked("accept"), PAIR, Decision.ACCEPT, REMARK),
    "absent": lambda desk: desk.decide(asked("absent"), PAIR, Decision.ABSENT, REMARK),
}


def die_before(step: int, folder: Path) -> None:
    """From here on this process kills itself before its step-th change of a file in the folder, or SQL statement.

    A file that is opened to be written has a step more, at which only some of it was written.
    """
    left = step

    def count(torn: str = "") -> None:
        nonlocal left
        left -= 1
        if left == 0:
            if torn:
                os.write(os.open(torn, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), b"torn")
            os.kill(os.getpid(), signal.SIGKILL)

    plain = sqlite3.connect

    def connect(*args: Any, **named: Any) -> sqlite3.Connection:
        made = plain(*args, **named)
        made.set_trace_callback(lambda _statement: count())
        return made

    def hear(event: str, said: tuple[Any, ...]) -> None:
        if left <= 0 or str(folder) not in str(said[0] if said else ""):
            return
        writes = event == "open" and said[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in CHANGES:
            count()
        if writes and left > 0:
            count(torn=str(said[0]))

    sqlite3.connect = connect
    sys.addaudithook(hear)


def saved(folder: Path, save: Callable[[Desk], Answer | Undone], step: int) -> tuple[bool, bytes]:
    """Save in a process of its own, killed before that step: whether it was killed, and what it acknowledged."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        die_before(step, folder)
        try:
            with at_desk(folder, lambda _: None) as desk:
                answer = save(desk)
                os.write(writing, b"%d" % (answer.status if isinstance(answer, Answer) else 200))
        except BaseException as error:  # noqa: BLE001  whatever it is, it must not go on in a copy of the tests
            os.write(writing, repr(error).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        told = stream.read()
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status), told


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes can't be copied here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("what", SAVES)
@pytest.mark.timeout(300)
def test_killed_before_any_step_of_a_save(folder: Path, tmp_path: Path, what: str) -> None:
    save, step, killed = SAVES[what], 1 + list(SAVES).index(what) % STRIDE, True
    while killed:
        copy = tmp_path / f"step{step}"
        shutil.copytree(folder, copy)
        killed, told = saved(copy, save, step)
        assert told in (b"", b"200"), told
        if (copy / "review" / "ledger.sqlite").exists():
            assert verify(copy).faults == [], f"killed before step {step}"
        with at_desk(copy, lambda _: None) as desk:
            head = desk.ledger.head(PAIR)
            assert head is not None
            assert head.number in ((2,) if told else (1, 2))
            again = save(desk)  # the page asks again, with the same key, on the same revision
            assert (again.status, again.body["number"]) == (200, 2)
            newest = desk.ledger.head(PAIR)
            assert newest is not None
            assert (newest.number, newest.note, newest.active_seconds) == (2, REMARK.note, REMARK.active_seconds)
            cell = newest.cell
        assert cells(copy)[PAIR.case][PAIR.organ] == cell
        if what == "a corrected mask":
            np.testing.assert_array_equal(stored(copy, PAIR.case, PAIR.organ), DRAWN)
        assert verify(copy).faults == []
        shutil.rmtree(copy)
        step += STRIDE
    assert step > 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes can't be copied here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.timeout(300)
def test_killed_while_an_edit_comes_in_or_is_undone(folder: Path, tmp_path: Path) -> None:
    """Every third step: the edit is there or not yet, it is undone or can be, and no decision is lost."""
    before = (folder / "cases.csv").read_text()
    with at_desk(folder, lambda _: None) as desk:
        assert SAVES["accepted"](desk).status == 200
    decided = (folder / "cases.csv").read_text()
    stale = [line for line in before.splitlines(keepends=True) if not line.startswith("c,")]
    (folder / "cases.csv").write_text("".join(stale))
    step, killed = 1, True
    while killed:
        copy = tmp_path / f"step{step}"
        shutil.copytree(folder, copy)
        killed, told = saved(copy, lambda desk: undo_newest(desk, "ben"), step)
        assert told in (b"", b"200"), told
        assert verify(copy).faults == [], f"killed before step {step}"
        with at_desk(copy, lambda _: None) as desk:
            if desk.edits.to_undo():
                assert not told
                assert undo_newest(desk, "ben").left == ()
            head = desk.ledger.head(PAIR)
            assert head is not None
            assert (head.state, head.reviewer, head.source) == ("accepted", "anna", "undo")
            assert len(desk.ledger.history(PAIR)) == 4
        assert (copy / "cases.csv").read_text() == decided
        shutil.rmtree(copy)
        step += 3
    assert step > 50
