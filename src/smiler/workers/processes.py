"""Workers that are processes of this machine; one that is killed is replaced, and only its item is done again."""

import multiprocessing
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic

from smiler.domain.checks import check_number
from smiler.workers.answers import KILLS, Answer, killed
from smiler.workers.base import I, R, Work
from smiler.workers.child import serve
from smiler.workers.cores import threads_each
from smiler.workers.order import in_order

PATIENCE_SECONDS = 10.0
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Processes:
    """So many processes, each with its share of the machine's threads. They start with the first item, none is forked.

    In a script of your own, call what uses them below `if __name__ == "__main__":`.
    """

    jobs: int

    def __post_init__(self) -> None:
        check_number(self.jobs, "--jobs", 1, whole=True)

    def map(self, work: Work[I, R], items: Iterable[I]) -> Iterator[R]:
        """As `Workers.map`. However it ends, no process outlives it."""
        lanes: _Lanes[I, R] = _Lanes(work, self.jobs)
        try:
            yield from in_order(lanes, items)
        finally:
            lanes.close()


@dataclass
class _Task(Generic[I]):
    """An item that a process works on, and how many have died of it."""

    number: int
    item: I
    kills: int = 0


@dataclass(eq=False)
class _Lane(Generic[I]):
    """A process, our end of its pipe, and what it works on."""

    process: SpawnProcess
    pipe: "Connection[Any, Any]"
    task: _Task[I] | None = None

    def end(self) -> int:
        """Let it end: at once if idle, in good order if it works, by force if it doesn't listen; its exit code."""
        self.pipe.close()
        if self.task is not None:
            self.process.terminate()
        self.process.join(PATIENCE_SECONDS)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        return self.process.exitcode or 0


@dataclass
class _Lanes(Generic[I, R]):
    work: Work[I, R]
    count: int
    lanes: list[_Lane[I]] = field(default_factory=list)

    @property
    def free(self) -> bool:
        return len(self.lanes) < self.count or any(lane.task is None for lane in self.lanes)

    def begin(self, number: int, item: I) -> None:
        lane = next((lane for lane in self.lanes if lane.task is None), None)
        self._give(lane or self._start(), _Task(number, item))

    def wait(self) -> Iterator[tuple[int, Answer[R]]]:
        busy: dict[Any, tuple[_Lane[I], _Task[I]]] = {lane.pipe: (lane, lane.task) for lane in self.lanes if lane.task}
        for pipe in wait(list(busy)):
            lane, task = busy[pipe]
            try:
                given: Answer[R] = lane.pipe.recv()
            except (EOFError, OSError):
                self._again(lane, task)
            else:
                lane.task = None
                yield task.number, given

    def close(self) -> None:
        """Ask all of them to end before waiting for the first."""
        for lane in self.lanes:
            if lane.task is not None:
                lane.process.terminate()
        while self.lanes:
            self.lanes.pop().end()

    def _start(self) -> _Lane[I]:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=serve, args=(theirs, threads_each(self.count)), daemon=True)
        with _uninterrupted():
            process.start()
        theirs.close()
        lane: _Lane[I] = _Lane(process, ours)
        self.lanes.append(lane)
        with suppress(ConnectionError):  # it died at once: giving it an item finds out
            ours.send(self.work)
        return lane

    def _give(self, lane: _Lane[I], task: _Task[I]) -> None:
        lane.task = task
        try:
            lane.pipe.send(task.item)
        except ConnectionError:
            self._again(lane, task)

    def _again(self, lane: _Lane[I], task: _Task[I]) -> None:
        """The process died: another gets its item, unless the item itself seems to be the cause."""
        self.lanes.remove(lane)
        code = lane.end()
        task.kills += 1
        if task.kills == KILLS:
            raise killed(self.work.where(task.item), f"signal {-code}" if code < 0 else f"exit code {code}")
        self._give(self._start(), task)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A process that starts now doesn't see Ctrl-C, not even before it can say that it ignores it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
