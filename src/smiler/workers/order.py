"""Results from lanes on which several items are worked on at once: in the items' order, or as they end."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol

from smiler.workers.answers import Answer
from smiler.workers.base import I, Item, R

AHEAD = 4
"""So many items a lane are taken before the first of them has its result: what is waiting stays small."""


class Lanes(Protocol[Item, R]):
    """Items that are being worked on: begun one by one, answered as they end."""

    @property
    def count(self) -> int:
        """How many items can be worked on at once."""

    @property
    def free(self) -> bool:
        """Whether another item can be begun."""

    def begin(self, number: int, item: Item) -> None:
        """Begin an item; only while `free`."""

    def wait(self) -> Iterable[tuple[int, Answer[R]]]:
        """Wait for one item at least; the numbers of those that ended, with their answers."""


def in_order(lanes: Lanes[I, R], items: Iterable[I]) -> Iterator[R]:
    """One result an item, in the items' order."""
    return _Queue(lanes, iter(items)).results()


def as_they_end(lanes: Lanes[I, R], items: Sequence[I]) -> Iterator[tuple[I, Answer[R]]]:
    """Every item with its answer, whichever ends first; an error is handed out and ends nothing."""
    begun = ended = 0
    while ended < len(items):
        while begun < len(items) and lanes.free:
            lanes.begin(begun, items[begun])
            begun += 1
        for number, answer in lanes.wait():
            ended += 1
            yield items[number], answer


@dataclass
class _Queue(Generic[I, R]):
    lanes: Lanes[I, R]
    items: Iterator[I]
    begun: int = 0
    given: int = 0
    more: bool = True
    early: dict[int, Answer[R]] = field(default_factory=dict)

    def results(self) -> Iterator[R]:
        self._begin()
        while self.given < self.begun:
            while self.given not in self.early:
                self.early.update(self.lanes.wait())
                self._begin()
            yield self.early.pop(self.given).get()
            self.given += 1
            self._begin()

    def _begin(self) -> None:
        while self.more and self.lanes.free and self.begun < self.given + AHEAD * self.lanes.count:
            try:
                item = next(self.items)
            except StopIteration:
                self.more = False
            else:
                self.lanes.begin(self.begun, item)
                self.begun += 1
