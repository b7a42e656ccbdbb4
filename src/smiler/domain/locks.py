"""One writer a folder: a second process is refused, the first goes on unharmed.

Whoever gets the lock removes what writers that were killed left behind: temporary files that nobody finishes.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from smiler.domain.errors import BadInput
from smiler.domain.files import LOCK, cannot_write, forget_all_unfinished
from smiler.domain.remote import Remote, local


@contextmanager
def writing(folder: Path, patience_seconds: float = 0.0, *, tidy: bool = True) -> Iterator[None]:
    """Hold the folder for writing; BadInput if another process holds it. Freed by the system if we are killed.

    Who is refused leaves nothing behind: neither the lock nor a folder that was made for it and is still empty.
    tidy: remove what killed writers left in the folder and below; whoever takes the lock often does it once.
    """
    local(folder, "the folder that is written to")
    new = _missing(folder)
    try:
        fresh = not (folder / LOCK).exists()
        lock = _acquired(folder, patience_seconds)
    except Timeout as error:
        raise BadInput(
            "another process is writing here", where=str(folder), do="wait for it or choose another folder"
        ) from error
    except OSError as error:
        _remove_empty(new)
        raise cannot_write(folder, error) from error
    try:
        if tidy:
            forget_all_unfinished(folder)
        yield
    except BaseException:
        if fresh:
            _leave_nothing(folder, new)
        raise
    finally:
        lock.release()


@contextmanager
def claiming(out: Path, patience_seconds: float = 0.0) -> Iterator[None]:
    """`writing` for a folder of results, in which no lock stays behind. OUT may be an address: stores have no locks."""
    if isinstance(out, Remote):
        yield
        return
    fresh = not (out / LOCK).exists()
    with writing(out, patience_seconds):
        yield
        if fresh:
            _leave_nothing(out, [])


def _acquired(folder: Path, patience_seconds: float) -> FileLock:
    """The lock of the file that lies there: one that was removed while we waited locks nobody out."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / LOCK
        try:
            path.touch()
            before, lock = _identity(path), FileLock(path)
            lock.acquire(timeout=patience_seconds)
        except FileNotFoundError:  # who was refused took the folder away
            continue
        if before is not None and _identity(path) == before:
            return lock
        lock.release()


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        told = path.stat()
        return told.st_dev, told.st_ino
    return None


def _missing(folder: Path) -> list[Path]:
    """The folder and those above it that are not there yet, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _leave_nothing(folder: Path, new: list[Path]) -> None:
    """Remove the lock that we made, and the folders that we made for it, if nothing else came to lie in them."""
    with suppress(OSError):
        (folder / LOCK).unlink()  # while it is held; Windows refuses that, and there it stays
        _remove_empty(new)


def _remove_empty(folders: list[Path]) -> None:
    with suppress(OSError):
        for path in folders:
            path.rmdir()
