"""Workers that are threads of this process: for work that mostly waits for files, or is done by libraries."""

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Generic

from smiler.workers.answers import Answer, answer
from smiler.workers.base import I, R, Work
from smiler.workers.memory import lacking
from smiler.workers.order import in_order


@dataclass(frozen=True)
class Threads:
    """So many threads."""

    jobs: int

    def map(self, work: Work[I, R], items: Iterable[I]) -> Iterator[R]:
        """As `Workers.map`."""
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                yield from in_order(_Lanes(pool, work, self.jobs), items)
            except BaseException:  # stopped by the user or by an error: don't work on the rest first
                pool.shutdown(wait=False, cancel_futures=True)
                raise


@dataclass
class _Lanes(Generic[I, R]):
    pool: ThreadPoolExecutor
    work: Work[I, R]
    count: int
    running: dict["Future[Answer[Any]]", int] = field(default_factory=dict)

    @property
    def free(self) -> bool:
        return len(self.running) < self.count

    def begin(self, number: int, item: I) -> None:
        with lacking(self.work.where(item)):
            self.running[self.pool.submit(answer, self.work, item, self.work.where)] = number

    def wait(self) -> Iterator[tuple[int, Answer[R]]]:
        for ended in wait(self.running, return_when=FIRST_COMPLETED).done:
            yield self.running.pop(ended), ended.result()
