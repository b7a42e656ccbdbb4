"""What workers are: something that does one work for each of many items and gives the results in the items' order."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from smiler.domain.fetching import keeping
from smiler.workers.memory import lacking

I = TypeVar("I")  # noqa: E741  an item
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result", covariant=True)


class Work(Protocol[Item, Result]):
    """What is done with each item: a frozen dataclass of small parts, so that it can be sent to another process.

    What is dear to make (a network) it names, and makes at the first item: a process keeps it for the next.
    """

    def __call__(self, item: Item, /) -> Result:
        """Do it. Doing it again must be harmless: a worker that is killed leaves its item to another."""

    def where(self, item: Item, /) -> str:
        """How an error names the item."""


class Staged(ABC, Generic[I, A, B, R]):
    """A work in three stages, so that one item can be read and another be written while a third is computed.

    Only `write` changes files, and no stage needs what another item wrote: so items that overlap leave the same files.
    """

    @abstractmethod
    def read(self, item: I, /) -> A:
        """What is needed of files. It may run in a thread of its own."""

    @abstractmethod
    def compute(self, read: A, /) -> B:
        """What takes long, always in the thread that wants the results."""

    @abstractmethod
    def write(self, made: B, /) -> R:
        """Leave the files, and give the result. It may run in a thread of its own."""

    @abstractmethod
    def memory(self, item: I, /) -> int:
        """About how many bytes an item takes at most, in whichever stage; never raises."""

    @abstractmethod
    def where(self, item: I, /) -> str:
        """How an error names the item."""

    def __call__(self, item: I, /) -> R:
        """One stage after the other."""
        return self.write(self.compute(self.read(item)))


class Workers(Protocol):
    """Who does it."""

    def map(self, work: Work[I, R], items: Iterable[I]) -> Iterator[R]:
        """One result an item, in the items' order. Items are taken as they are needed, a few ahead of the results.

        The first item that fails, in their order, raises its error here as if it had been worked on in this process.
        """


@dataclass(frozen=True)
class InProcess:
    """One item after the other, here."""

    def map(self, work: Work[I, R], items: Iterable[I]) -> Iterator[R]:
        """As `Workers.map`."""
        for item in items:
            with keeping(), lacking(work.where(item)):
                result = work(item)
            yield result
