"""Works for the tests: importable by the processes that do them. Every item leaves a line in a file of its own."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smiler.domain.errors import BadInput, Faults


def note(folder: Path, item: object) -> None:
    """A line for each time that an item is worked on: the process that does."""
    with (folder / str(item)).open("a", encoding="utf-8") as stream:
        stream.write(f"{os.getpid()}\n")


def times(folder: Path) -> dict[str, int]:
    """How often each item was worked on."""
    return {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in folder.iterdir()}


@dataclass(frozen=True)
class Square:
    """The square of a number; odd ones take longer."""

    folder: Path

    def __call__(self, item: int) -> int:
        note(self.folder, item)
        time.sleep(0.02 if item % 2 else 0.0)
        return item * item

    def where(self, item: int) -> str:
        return f"number {item}"


@dataclass(frozen=True)
class Deadly(Square):
    """Kills its process at some items, the first so many times."""

    at: tuple[int, ...] = ()
    kills: int = 1

    def __call__(self, item: int) -> int:
        note(self.folder, item)
        if item in self.at and times(self.folder)[str(item)] <= self.kills:
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGKILL)
        return item * item


@dataclass(frozen=True)
class Refusing(Square):
    """Refuses some items, as the verbs refuse bad files."""

    at: tuple[int, ...] = ()

    def __call__(self, item: int) -> int:
        if item in self.at:
            faults = [BadInput(f"fault {n}", where=f"number {item}", got="<this>", do="that") for n in range(2)]
            raise Faults(faults) if item % 2 else faults[0]
        return item * item


class Odd(Exception):
    """An error that can be written and not read again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


@dataclass(frozen=True)
class Faulty(Square):
    """Has faults of its own."""

    def __call__(self, item: int) -> int:
        if item == 1:
            raise Odd("strange", "ness")
        return 1 // (item - 2)


@dataclass(frozen=True)
class Threads(Square):
    """What the process may use."""

    def __call__(self, item: int) -> int:
        return int(os.environ["OMP_NUM_THREADS"])


def counted(taken: list[int], total: int) -> Iterator[int]:
    """Items that note when they are taken."""
    for item in range(total):
        taken.append(item)
        yield item
