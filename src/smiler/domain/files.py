"""Atomic files: a name either holds the old content or the new, never a part of it."""

import glob
import hashlib
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from smiler.domain.errors import BadInput
from smiler.domain.fetching import uploading
from smiler.domain.remote import Remote, local

LOCK = ".lock"
"""The file by which a folder's only writer is known, see `locks`."""
LONGEST_NAME = 60
"""So much of a file's name goes into that of its temporary file."""
DEEPEST = 100
"""So deep a JSON value may be nested: its readers call themselves."""
_UMASK = threading.Lock()
"""It can only be read by setting it: two threads at once would leave it at 0."""
ABANDONED_SECONDS = 3600.0
"""Nobody writes a temporary file any more that did not change for this long."""
_UNFINISHED = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp(\.[A-Za-z0-9.]+)?")
_seen: set[Path] = set()
"""Folders in which this process has looked for abandoned files."""


@contextmanager
def as_os_error(*kinds: type[Exception]) -> Iterator[None]:
    """A library's own error while it writes, as the OSError that it stands for: most often a full disk."""
    try:
        yield
    except kinds as error:
        raise OSError(str(error)) from error


@contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """Give a temporary path beside `path`; on success fsync it and rename it onto `path`.

    Whatever goes wrong before the rename, `path` keeps what it held and the temporary file goes. At an address the
    finished file is sent whole, which is as good: stores show an object when all of it is there.
    """
    if isinstance(path, Remote):
        with uploading(path, suffix) as temporary:
            yield temporary
        return
    local(path, "what is written here")  # a Path made of an address looks like a folder named "s3:"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _forget_abandoned(path.parent)
        handle, name = tempfile.mkstemp(prefix=_prefix(path), suffix=f".tmp{suffix}", dir=path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _publish(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _prefix(path: Path) -> str:
    return f".{path.name[:LONGEST_NAME]}."


def try_writing(folder: Path) -> None:
    """Make the folder; BadInput, before anything is computed, if no file can be written there. Not at an address."""
    if isinstance(folder, Remote):
        return
    local(folder, "the folder that is written to")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise cannot_write(folder, error) from error


def forget_unfinished(path: Path) -> None:
    """Remove what a process that was killed while it wrote `path` left beside it; for its only writer."""
    if len(path.name) <= LONGEST_NAME and not isinstance(path, Remote):  # else it may be another file's
        for old in path.parent.glob(f"{glob.escape(_prefix(path))}{'?' * 8}.tmp*"):
            old.unlink(missing_ok=True)


def forget_all_unfinished(folder: Path) -> None:
    """The same for a folder and all below; for its only writer. A folder below that has a lock has its own writer."""
    for at, folders, names in os.walk(folder):
        if Path(at) != folder and LOCK in names:
            folders.clear()
            continue
        for name in filter(_UNFINISHED.fullmatch, names):
            with suppress(OSError):
                Path(at, name).unlink()


def _forget_abandoned(folder: Path) -> None:
    """Where several processes may write: only what has been left alone for long, and once a process."""
    if folder in _seen:
        return
    _seen.add(folder)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _UNFINISHED.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > ABANDONED_SECONDS:
                Path(entry.path).unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file if it is there."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> BadInput:
    """The one sentence for a full disk, a read-only folder or a failing device."""
    return BadInput(
        "cannot write the file", where=str(path), got=error.strerror or str(error), do="check space and permissions"
    )


def _publish(temporary: Path, path: Path) -> None:
    with temporary.open("rb+") as stream:  # Windows flushes only what may be written
        os.fsync(stream.fileno())
    with _UMASK:
        umask = os.umask(0)
        os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have a folder's new names on the disk, where the system opens folders: Windows does not, and needs no asking."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def scratch(folder: Path, name: str, content: bytes) -> Iterator[Path]:
    """A file in `folder` for a while, for readers that want a path; closed, since Windows opens no open file twice."""
    handle, at = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        yield Path(at)
    finally:
        with suppress(OSError):
            Path(at).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, keys in the order given."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file in any of Unicode's encodings, with or without its mark.

    BadInput names a file that is not JSON, and a key that stands twice in one of its tables.
    """

    try:
        data = path.read_bytes()
        text = data.decode(json.detect_encoding(data))
    except FileNotFoundError as error:
        raise BadInput("the file does not exist", where=str(path)) from error
    except (OSError, ValueError) as error:
        raise BadInput("the file is not readable JSON", where=str(path), got=str(error)) from error
    return parse_json(text, str(path))


def parse_json(text: str, where: str) -> Any:
    """JSON out of a text, no key twice, not too deep, and all of it can be written again; BadInput otherwise."""

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            do = "keep the right one of them and remove the other"
            raise BadInput("a key stands twice in a table", where=where, got=ascii(twice), do=do)
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=table)
        if "\\ud" in text.lower():  # half of a character
            json.dumps(value, ensure_ascii=False).encode()
        if text.count("[") + text.count("{") > DEEPEST:
            _check_depth(value)
    except (ValueError, RecursionError) as error:
        raise BadInput("the file is not readable JSON", where=where, got=str(error)[:200]) from error
    return value


def _check_depth(value: Any) -> None:
    layer, depth = [value], 0
    while layer:
        if depth > DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} deep")
        inner = [each.values() if isinstance(each, dict) else each for each in layer if isinstance(each, dict | list)]
        layer, depth = [one for values in inner for one in values], depth + 1


def sha256(path: Path) -> str:
    """Content hash of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """Hash of a JSON value that does not depend on the order of its keys, hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
