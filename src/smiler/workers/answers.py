"""What a worker gives back for an item: its result, or the error that working on it raised."""

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from smiler.domain.errors import BadInput, SmilerError
from smiler.domain.fetching import keeping
from smiler.workers.base import I, R
from smiler.workers.memory import lacking

KILLS = 3
"""So many times an item is given to a worker, if it or something else kills them."""


@dataclass(frozen=True)
class Answer(Generic[R]):
    """`results` holds one result, or none and the error says why; `told`: where in the worker it came up."""

    results: tuple[R, ...] = ()
    error: Exception | None = None
    told: str = ""

    def get(self) -> R:
        """The result; raises the error. Where a fault of ours came up in the worker is noted on it."""
        if self.error is None:
            return self.results[0]
        if not isinstance(self.error, SmilerError) and self.error.__traceback__ is None:
            self.error.add_note(self.told)
        raise self.error


def answer(work: Callable[[I], R], item: I, where: Callable[[I], str]) -> Answer[R]:
    """Work on an item in this process; `where`: how an error names it."""
    try:
        with keeping(), lacking(where(item)):
            return Answer((work(item),))
    except Exception as error:  # noqa: BLE001  whatever it is, it is raised where the results are wanted
        return Answer(error=error, told=traceback.format_exc())


def portable(given: Answer[R]) -> Answer[R]:
    """The answer, with an error that can't travel to another process as its text."""
    try:
        if given.error is not None:
            pickle.loads(pickle.dumps(given.error))  # noqa: S301  our own: some can be written and not read again
    except Exception:  # noqa: BLE001  pickling runs the code of whatever it is given
        return Answer(error=RuntimeError(f"{type(given.error).__name__}: {given.error}"), told=given.told)
    return given


def killed(where: str, got: str) -> BadInput:
    """The one sentence for an item that no worker survived."""
    do = "most often memory ran out: fewer jobs, or more memory; then call again, what is finished is kept"
    return BadInput(f"{KILLS} processes that worked on it died", where=where, got=got, do=do)
