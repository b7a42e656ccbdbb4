"""Workers in this process: the next item is read and the last one written while one is computed, within a budget."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Condition
from typing import Generic

from smiler.domain.checks import check_number
from smiler.domain.fetching import keeping
from smiler.workers.answers import Answer, answer
from smiler.workers.base import A, B, I, InProcess, R, Staged, Work
from smiler.workers.memory import available_bytes, lacking

SHARE = 2
"""Of so many parts of the available memory one is the budget, unless another is given."""


@dataclass(frozen=True)
class Pipelined:
    """At most three items of a staged work in flight, and only as many as fit into `memory` bytes; else one by one.

    None: half of what is available when the work begins. Computing stays in the caller's thread; files, results and
    errors are those of one item after the other.
    """

    memory: int | None = None

    def __post_init__(self) -> None:
        if self.memory is not None:
            check_number(self.memory, "--memory", 0)

    def map(self, work: Work[I, R], items: Iterable[I]) -> Iterator[R]:
        """As `Workers.map`. However it ends, what is being written is finished, and no thread outlives it."""
        if not isinstance(work, Staged):
            yield from InProcess().map(work, items)
            return
        room = _Room(available_bytes() // SHARE if self.memory is None else self.memory)
        with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
            yield from _Line(work, iter(items), room, reader, writer).results()


class _Room:
    """Sizes of the items in flight, the oldest first: together within the budget, unless there is one alone."""

    def __init__(self, budget: int) -> None:
        self.budget, self.changed = budget, Condition()
        self.sizes: deque[int] = deque()

    def enter(self, size: int) -> None:
        """Wait until there is room."""
        with self.changed:
            self.changed.wait_for(lambda: not self.sizes or sum(self.sizes) + size <= self.budget)
            self.sizes.append(size)

    def leave(self) -> None:
        """The oldest is done."""
        with self.changed:
            self.sizes.popleft()
            self.changed.notify()


@dataclass(eq=False)
class _Coming(Generic[I, A]):
    """An item, its size in bytes, and its reading if that began ahead."""

    item: I
    size: int
    reading: "Future[A] | None" = None


@dataclass(eq=False)
class _Line(Generic[I, A, B, R]):
    work: Staged[I, A, B, R]
    items: Iterator[I]
    room: _Room
    reader: ThreadPoolExecutor
    writer: ThreadPoolExecutor

    def results(self) -> Iterator[R]:
        """One an item. An error is raised where its item would be written: all before it are then, and none after."""
        here, behind = self._next(), None
        while here is not None:
            following = self._next()
            made = answer(self._make, (here, following), self._where)
            if behind is not None:
                yield behind.result()
            behind = self.writer.submit(self._write, here.item, made)
            here = following if made.error is None else None
            del made  # the writer's alone: gone when it is written
        if behind is not None:
            yield behind.result()

    def _next(self) -> _Coming[I, A] | None:
        for item in self.items:
            return _Coming(item, self.work.memory(item))
        return None

    def _make(self, both: tuple[_Coming[I, A], _Coming[I, A] | None]) -> B:
        """Compute an item; the next one is read meanwhile if there is room for both, once what is written leaves it."""
        here, following = both
        read = self._read(here)
        if following is not None and here.size + following.size <= self.room.budget:
            self.room.enter(following.size)
            following.reading = self.reader.submit(self._ahead, following.item)
        return self.work.compute(read)

    def _read(self, coming: _Coming[I, A]) -> A:
        """What is not read yet is read here: the memory of one thread is not given to another."""
        if coming.reading is not None:
            return coming.reading.result()
        self.room.enter(coming.size)
        return self.work.read(coming.item)

    def _ahead(self, item: I) -> A:
        with keeping(), lacking(self.work.where(item)):
            return self.work.read(item)

    def _where(self, both: tuple[_Coming[I, A], _Coming[I, A] | None]) -> str:
        return self.work.where(both[0].item)

    def _write(self, item: I, made: Answer[B]) -> R:
        try:
            with keeping(), lacking(self.work.where(item)):
                return self.work.write(made.get())
        finally:
            self.room.leave()
