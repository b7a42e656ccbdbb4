"""How long work tells where it is; the command line draws it, everything else only reports."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

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
