"""What a worker gives back for an item: its result, or the error that working on it raised."""

import pickle
import traceback
from dataclasses import dataclass
from typing import Generic

from smiler.domain.errors import BadInput, SmilerError
from smiler.workers.base import I, R, Work

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


def answer(work: Work[I, R], item: I) -> Answer[R]:
    """Work on an item in this process."""
    try:
        return Answer((work(item),))
    except Exception as error:  # noqa: BLE001  whatever it is, it is raised where the results are wanted
        return Answer(error=error, told=traceback.format_exc())


def packed(given: Answer[R]) -> bytes:
    """An answer as bytes; an error that can't travel goes as its text."""
    try:
        data = pickle.dumps(given)
        if given.error is not None:
            pickle.loads(data)  # noqa: S301  our own bytes: some errors can be written and not read again
    except Exception as error:  # noqa: BLE001  pickling runs the code of whatever it is given
        cause = given.error or error
        return pickle.dumps(Answer(error=RuntimeError(f"{type(cause).__name__}: {cause}"), told=given.told))
    return data


def killed(where: str, got: str) -> BadInput:
    """The one sentence for an item that no worker survived."""
    do = "most often memory ran out: fewer jobs, or more memory; then call again, what is finished is kept"
    return BadInput(f"{KILLS} processes that worked on it died", where=where, got=got, do=do)
