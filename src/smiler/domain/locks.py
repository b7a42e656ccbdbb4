"""One writer a folder: a second process is refused, the first goes on unharmed.

Whoever gets the lock removes what writers that were killed left behind: temporary files that nobody finishes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from smiler.domain.errors import BadInput
from smiler.domain.files import LOCK, cannot_write, forget_all_unfinished
from smiler.domain.remote import local


@contextmanager
def writing(folder: Path, patience_seconds: float = 0.0, *, tidy: bool = True) -> Iterator[None]:
    """Hold the folder for writing; BadInput if another process holds it. Freed by the system if we are killed.

    tidy: remove what killed writers left in the folder and below; whoever takes the lock often does it once.
    """
    local(folder, "the folder that is written to")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=patience_seconds)
    except Timeout as error:
        raise BadInput(
            "another process is writing here", where=str(folder), do="wait for it or choose another folder"
        ) from error
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        if tidy:
            forget_all_unfinished(folder)
        yield
    finally:
        lock.release()
