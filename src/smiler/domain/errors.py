"""The errors of smiler: each says what is wrong, where, what was found and what to do.

SmilerError
├── BadInput        the user's data, options or files can't be used (exit code 2)
│   └── Faults      several of them, found in one pass and listed together
├── CheckFailed     the work was done and a check did not pass (exit code 1)
└── Stopped         ended on request; a later --resume goes on from here (exit code 130)
"""

from collections.abc import Mapping, Sequence
from typing import Any


class SmilerError(Exception):
    """Base of every error that smiler raises on purpose."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel between processes as they are; constructors with named arguments are not called again."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[SmilerError], arguments: tuple[Any, ...], state: Mapping[str, Any]) -> SmilerError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class BadInput(SmilerError):
    """One fault: what is wrong, where (case, organ, file, row), what was got, what to do."""

    exit_code = 2

    def __init__(self, what: str, *, where: str, got: str = "", do: str = "") -> None:
        self.what, self.where, self.got, self.do = what, where, got, do
        super().__init__(what, where, got, do)

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.what}"]
        if self.got:
            parts.append(f"got {self.got}")
        if self.do:
            parts.append(f"do: {self.do}")
        return "; ".join(parts)


class Faults(BadInput):
    """Every fault that one pass found, so that the user mends them all at once."""

    def __init__(self, faults: Sequence[BadInput]) -> None:
        self.faults = tuple(faults)
        count = len(self.faults)
        super().__init__(f"{count} fault{'s' * (count != 1)}", where=self.faults[0].where if faults else "-")

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


class CheckFailed(SmilerError):
    """The command ran, and what it checked is not in order."""


class Stopped(SmilerError):
    """The user or the system asked to stop; everything needed to go on is on disk."""

    exit_code = 130


def renamed(error: BadInput, old: str, new: str) -> BadInput:
    """The same error about the same thing under the name that the user knows."""
    if isinstance(error, Faults):
        return Faults([renamed(fault, old, new) for fault in error.faults])
    told = {"where": error.where, "got": error.got, "do": error.do}
    return BadInput(error.what.replace(old, new), **{key: text.replace(old, new) for key, text in told.items()})


def raise_all(faults: Sequence[BadInput]) -> None:
    """Raise nothing, the one fault, or all of them together."""
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise Faults(faults)
