"""Pipelined: three stages of three items at once, never more than fit; else as one after the other."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from smiler.domain.errors import BadInput
from smiler.workers.base import InProcess, Staged, Workers
from smiler.workers.memory import available_bytes
from smiler.workers.pipelined import Pipelined

PLENTY = 10**12
Moment = tuple[str, int, str]
"""(stage, item, 'begin' or 'end')."""


@dataclass(frozen=True)
class Staying(Staged[int, int, int, int]):
    """Squares a number and writes it to a file; tells when each stage begins and ends; fails where told to."""

    folder: Path
    fails: frozenset[tuple[str, int]] = frozenset()
    sizes: tuple[int, ...] = (10,)
    error: type[BaseException] = BadInput
    moments: list[Moment] = field(default_factory=list)
    lock: threading.Condition = field(default_factory=threading.Condition)

    def read(self, item: int) -> int:
        return self.stage("read", item)

    def compute(self, read: int) -> int:
        return self.stage("compute", read)

    def write(self, made: int) -> int:
        self.stage("write", made)
        (self.folder / str(made)).write_text(str(made * made), encoding="utf-8")
        return made * made

    def memory(self, item: int) -> int:
        return self.sizes[item % len(self.sizes)]

    def where(self, item: int) -> str:
        return f"number {item}"

    def stage(self, name: str, item: int) -> int:
        self.note((name, item, "begin"))
        if (name, item) in self.fails:
            what = f"can't {name}"
            raise BadInput(what, where=self.where(item)) if self.error is BadInput else self.error(what)
        self.note((name, item, "end"))
        return item

    def note(self, moment: Moment) -> None:
        with self.lock:
            self.moments.append(moment)
            self.lock.notify_all()

    def awaits(self, moment: Moment) -> bool:
        """Whether it comes within ten seconds."""
        with self.lock:
            return self.lock.wait_for(lambda: moment in self.moments, 10)

    def in_flight(self) -> Iterator[set[int]]:
        """The items between the beginning of their reading and the end of their writing, moment by moment."""
        there: set[int] = set()
        for stage, item, what in self.moments:
            if (stage, what) == ("read", "begin"):
                there.add(item)
            elif (stage, what) == ("write", "end"):
                there.remove(item)
            yield set(there)


@dataclass(frozen=True)
class Overlapping(Staying):
    """Computes until the next number is read and the last one written: for ever, if they waited for it."""

    total: int = 6

    def compute(self, read: int) -> int:
        assert threading.current_thread() is threading.main_thread()
        assert read == self.total - 1 or self.awaits(("read", read + 1, "end"))
        assert read == 0 or self.awaits(("write", read - 1, "end"))
        return super().compute(read)


@dataclass(frozen=True)
class Slow(Staying):
    """Writes until the number after the next is read, or for a moment, if that may not be."""

    def write(self, made: int) -> int:
        with self.lock:
            self.lock.wait_for(lambda: ("read", made + 2, "end") in self.moments, 0.2)
        return super().write(made)


def outcome(work: Staying, workers: Workers, total: int) -> tuple[list[int], str]:
    """The results before the error, and the error."""
    found: list[int] = []
    try:
        for result in workers.map(work, range(total)):
            found.append(result)
    except (BadInput, ZeroDivisionError, KeyboardInterrupt) as error:
        return found, f"{type(error).__name__}: {error}"
    return found, ""


def no_thread_is_left() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith(("read", "write"))]


@pytest.mark.parametrize("total", [0, 1, 2, 9])
@pytest.mark.parametrize("memory", [None, 0, PLENTY])
def test_results_in_order_each_item_once(total: int, memory: int | None, tmp_path: Path) -> None:
    work = Staying(tmp_path)
    assert list(Pipelined(memory).map(work, range(total))) == [item * item for item in range(total)]
    each = [(stage, what) for stage in ("read", "compute", "write") for what in ("begin", "end")]
    assert sorted(work.moments) == sorted((stage, item, what) for item in range(total) for stage, what in each)
    assert no_thread_is_left()


def test_one_is_read_and_one_written_while_one_is_computed(tmp_path: Path) -> None:
    work = Overlapping(tmp_path)
    assert list(Pipelined(PLENTY).map(work, range(work.total))) == [0, 1, 4, 9, 16, 25]


@pytest.mark.parametrize(("memory", "most"), [(PLENTY, 3), (30, 3), (29, 2), (20, 2), (19, 1), (10, 1), (9, 1), (0, 1)])
def test_no_more_in_flight_than_fit(memory: int, most: int, tmp_path: Path) -> None:
    work = Slow(tmp_path)
    assert list(Pipelined(memory).map(work, range(8))) == [item * item for item in range(8)]
    assert max(map(len, work.in_flight())) == most


@pytest.mark.parametrize("memory", [0, 7, 12, 30, 31, 45, 60])
def test_whatever_their_sizes_they_fit_or_one_is_alone(memory: int, tmp_path: Path) -> None:
    work = Slow(tmp_path, sizes=(5, 40, 10, 10, 1, 25, 0, 30, 2))
    assert list(Pipelined(memory).map(work, range(10))) == [item * item for item in range(10)]
    for items in work.in_flight():
        assert len(items) < 2 or sum(map(work.memory, items)) <= memory


FAILS = [
    [("read", 3)],
    [("compute", 3)],
    [("write", 3)],
    [("read", 0)],
    [("write", 7)],
    [("write", 2), ("compute", 3), ("read", 4)],
    [("compute", 2), ("read", 3)],
    [("read", 4), ("write", 3)],
]


@pytest.mark.parametrize("fails", FAILS, ids=str)
@pytest.mark.parametrize("error", [BadInput, ZeroDivisionError])
@pytest.mark.parametrize("memory", [0, 20, PLENTY])
def test_an_error_is_that_of_one_after_the_other_and_so_are_the_files(
    fails: list[tuple[str, int]], error: type[BaseException], memory: int, tmp_path: Path
) -> None:
    kinds: dict[str, Workers] = {"serial": InProcess(), "pipelined": Pipelined(memory)}
    told = {}
    for name, workers in kinds.items():
        (tmp_path / name).mkdir()
        told[name] = outcome(Staying(tmp_path / name, frozenset(fails), error=error), workers, 8)
    assert told["pipelined"] == told["serial"]
    assert told["serial"][1].startswith(error.__name__)
    assert len({frozenset(path.name for path in (tmp_path / name).iterdir()) for name in kinds}) == 1
    assert no_thread_is_left()


def test_after_an_error_nothing_else_is_computed(tmp_path: Path) -> None:
    work = Staying(tmp_path, frozenset({("compute", 3)}))
    assert outcome(work, Pipelined(PLENTY), 8)[1] == "BadInput: number 3: can't compute"
    assert {item for stage, item, _ in work.moments if stage == "compute"} == {0, 1, 2, 3}


def test_ctrl_c_lets_what_is_being_written_end_and_no_thread_behind(tmp_path: Path) -> None:
    work = Slow(tmp_path, frozenset({("compute", 3)}), error=KeyboardInterrupt)
    found, told = outcome(work, Pipelined(PLENTY), 8)
    assert told.startswith("KeyboardInterrupt")
    assert found == [0, 1]  # nobody waits for a result any more, but number 2 is whole
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "2"}
    assert no_thread_is_left()


def test_results_that_nobody_wants_any_more_leave_no_thread(tmp_path: Path) -> None:
    results = Pipelined(PLENTY).map(Staying(tmp_path), range(100))
    assert [next(results), next(results)] == [0, 1]
    results.close()  # type: ignore[attr-defined]
    assert no_thread_is_left()


def test_memory_that_is_available_is_some_and_no_more_than_there_is() -> None:
    assert 10**8 < available_bytes() < 10**14
