"""What workers are: something that does one work for each of many items and gives the results in the items' order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from smiler.domain.fetching import keeping

I = TypeVar("I")  # noqa: E741  an item
R = TypeVar("R")
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
            with keeping():
                result = work(item)
            yield result
