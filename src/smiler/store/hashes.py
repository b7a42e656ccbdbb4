"""Hashes of a cohort's files, remembered: a file is read again only when its size, times or place on the disk change.

At 2 GB/s the files of 100,000 CT would take 22 minutes to hash, at each start of each process.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smiler.domain.endings import data_file_of
from smiler.domain.errors import BadInput
from smiler.domain.files import hash_json, read_json, write_json
from smiler.domain.places import new_folder, split_series
from smiler.domain.remote import Remote
from smiler.formats.volumes import content

FRESH_NS = 60_000_000_000
"""What changed so recently is hashed, not remembered: it could change again within a tick of the disk's clock, and a
server's clock may be another than ours."""


@dataclass(frozen=True)
class Hashes:
    """A folder in which they are kept, one small file each, so that any number of processes may share it."""

    folder: Path

    def of(self, path: Path) -> str:
        """Hash of what a path leads to, hexadecimal; BadInput if it can't be read."""
        state = _state(path)
        if state is None:
            return content(path)
        about = self.folder / f"{hash_json(str(path.absolute()))[:32]}.json"
        known = _known(about)
        if known.get("state") == state and isinstance(known.get("content"), str):
            return str(known["content"])
        found = content(path)
        newest = max(each[2] for each in state)
        if time.time_ns() - newest > FRESH_NS and _state(path) == state:
            with suppress(BadInput):  # a cache that can only be read is used all the same
                write_json(
                    about, {"path": os.fsencode(path).decode(errors="replace"), "state": state, "content": found}
                )
        return found


def _known(about: Path) -> dict[str, Any]:
    try:
        known = read_json(about) if about.exists() else {}
    except BadInput:
        return {}
    return known if isinstance(known, dict) else {}


def _state(path: Path) -> list[list[Any]] | None:
    """Name, size, times and inode of each file below a path on disk; None of what can't be known without reading it."""
    if isinstance(path, Remote):
        return None
    try:
        return [_looked(path, each) for each in _files(split_series(path)[0])] or None
    except (OSError, UnicodeError):
        return None


def _files(path: Path) -> list[Path]:
    """The file itself, or all below a folder, also where links lead to; nothing for a place in a zip file."""
    if path.is_file():
        voxels = data_file_of(path)
        return [path] if voxels is None else [path, voxels]
    walked: set[tuple[int, int]] = set()
    files: list[Path] = []
    for folder, inner, names in os.walk(path, followlinks=True):
        if new_folder(Path(folder), walked):
            files += [Path(folder, name) for name in names]
        else:
            inner.clear()  # a link that leads back
    return sorted(file for file in files if file.is_file())


def _looked(path: Path, file: Path) -> list[Any]:
    """Opened, since a network's file system may answer for a closed file from memory."""
    handle = os.open(file, os.O_RDONLY)
    try:
        told = os.fstat(handle)
    finally:
        os.close(handle)
    name = hash_json(os.path.relpath(file, path)) if file != path else ""
    return [name, told.st_size, max(told.st_mtime_ns, told.st_ctime_ns), told.st_ino]
