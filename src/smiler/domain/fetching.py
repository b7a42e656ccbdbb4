"""Local copies of what addresses lead to: fetched when they are needed, shared, gone when the last one is done."""

import atexit
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from smiler.domain.endings import VOLUMES
from smiler.domain.errors import BadInput
from smiler.domain.remote import Remote

PREFIX = "smiler-copies-"
ABANDONED_SECONDS = 60.0
_FILES = (*VOLUMES, ".zip", ".dcm")
_SERIES = "SeriesInstanceUID="
_kept: ContextVar[ExitStack | None] = ContextVar("kept", default=None)


@dataclass
class _Copy:
    """One address's copy: how many want it, who makes it, where it is, and what removes it."""

    users: int = 0
    making: threading.Lock = field(default_factory=threading.Lock)
    path: Path | None = None
    removal: ExitStack = field(default_factory=ExitStack)


_copies: dict[str, _Copy] = {}
_lock = threading.Lock()


@contextmanager
def fetched(path: Path) -> Iterator[Path]:
    """`path` on this machine's disk: itself, or a copy of what an address leads to. BadInput if it can't be fetched.

    The copy has the same name. It goes with the last who wants it, or at the end of `keeping`.
    """
    if not isinstance(path, Remote):
        yield path
        return
    root, inner = whole(path)
    with _held(root) as copy:
        if (stack := _kept.get()) is not None:
            stack.enter_context(_held(root))
        yield copy.joinpath(*inner)


@contextmanager
def keeping() -> Iterator[None]:
    """While a case is worked on: what is fetched within, by this thread, is fetched once and goes at the end."""
    with ExitStack() as stack:
        token = _kept.set(stack)
        try:
            yield
        finally:
            _kept.reset(token)


@contextmanager
def uploading(target: Remote, suffix: str = "") -> Iterator[Path]:
    """Give a temporary path; on success the file goes to `target`, whole, and in any case from the disk."""
    with scratch() as folder:
        temporary = folder / f"new{suffix}"
        yield temporary
        target.upload(temporary)


def whole(path: Remote) -> tuple[Remote, tuple[str, ...]]:
    """What must be fetched to read a path, and what follows in it: an entry of a zip file, a series, a pattern."""
    for above in reversed((path, *path.parents)):
        rest = path.parts[len(above.parts) :]
        if above.name.lower().endswith(".zip") or (rest and (rest[0].startswith(_SERIES) or "*" in rest[0])):
            return above, rest
    return path, ()


@contextmanager
def _held(root: Remote) -> Iterator[Path]:
    with _lock:
        copy = _copies.setdefault(root.address, _Copy())
        copy.users += 1
    try:
        with copy.making, ExitStack() as made:
            if copy.path is None:
                folder = made.enter_context(scratch())
                copy.path = _download(root, folder)
                copy.removal = made.pop_all()
        yield copy.path
    finally:
        with _lock:
            copy.users -= 1
            if not copy.users:
                del _copies[root.address]
                copy.removal.close()


def _download(root: Remote, folder: Path) -> Path:
    target = folder / root.file_name
    try:
        with root.store() as (store, key):
            if root.file_name.lower().endswith(_FILES) or store.info(key)["type"] == "file":
                store.get_file(key, str(target))
            else:
                names = [str(name) for name in store.find(key)]
                store.get(names, [str(_below(target, name, key, root)) for name in names])
    except FileNotFoundError as error:
        do = "check the address" + (", its bucket and your region" if root.parts[0] == "s3:" else "")
        raise BadInput("the file does not exist", where=str(root), do=do) from error
    return target


def _below(target: Path, name: str, key: str, root: Remote) -> Path:
    """Where an object of a folder goes; no name may lead out of it."""
    inner = PurePosixPath(name.removeprefix(key).lstrip("/"))
    if not name.startswith(key) or ".." in inner.parts:
        raise BadInput("an object's name leads out of its folder", where=str(root), got=ascii(name))
    return target / inner


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder of our own; goes at the end, or, if we are killed, when the next process needs one."""
    try:
        folder = Path(tempfile.mkdtemp(dir=_own()))
    except OSError as error:
        do = "check space and permissions, or set TMPDIR"
        raise BadInput("no place for temporary files", where=tempfile.gettempdir(), got=str(error), do=do) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _own() -> Path:
    """This process's folder for copies, locked as long as it lives; the folders of processes that were killed go."""
    for old in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(Timeout, OSError):
            if time.time() - old.stat().st_mtime > ABANDONED_SECONDS:
                with FileLock(old / ".lock", timeout=0):
                    shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _locks.append(FileLock(folder / ".lock", timeout=0))
    _locks[-1].acquire()
    return folder


_locks: list[FileLock] = []
"""Held until the process ends."""
