"""How long work tells where it is; the command line draws it, everything else only reports."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Whoever shows progress."""

    def track(self, items: Iterable[T], title: str, total: int) -> Iterator[T]:
        """Yield the items, counting them towards `total`."""

    def note(self, text: str) -> None:
        """Tell the user one thing, in one line."""


class Silent:
    """Shows nothing: the default of every function."""

    def track(self, items: Iterable[T], title: str, total: int) -> Iterator[T]:  # noqa: ARG002
        """Yield the items."""
        yield from items

    def note(self, text: str) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class WithNotes(Generic[T]):
    """A result of work on one case, and what a person should know about the files that it was made from."""

    result: T
    notes: tuple[str, ...] = ()


def without_notes(results: Iterable[WithNotes[T]], progress: Progress) -> Iterator[T]:
    """The results alone; their notes are told."""
    for each in results:
        for note in each.notes:
            progress.note(note)
        yield each.result
