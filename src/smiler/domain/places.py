"""Where a path of the ledger leads: a file, a folder, into a zip file (or a zip in a zip), or several by a pattern.

`scans.zip/p17/PATIENT_DICOM` is a folder in a zip file; `masks.zip/livertumor*` is every entry of that name. Nothing is
ever unpacked to disk, so that no name in a zip file can become a path.
"""

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from smiler.domain.errors import BadInput

ZIP = ".zip"
SERIES = "SeriesInstanceUID="
"""`FOLDER/SeriesInstanceUID=1.2.3` is the folder, of whose DICOM series one is meant."""
MOST_ENTRIES = 200_000
MOST_BYTES = 8 << 30
_DAMAGED = (zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Entry:
    """One file: the path that leads to it, and what reads it."""

    path: Path
    read: Callable[[], bytes]


def exists(path: Path) -> bool:
    """Whether the path leads to something; whatever can't be looked at does not."""
    try:
        return (path.exists() and not _is_zip(path)) or next(walk(path), None) is not None
    except (BadInput, OSError, ValueError):
        return False


def walk(path: Path) -> Iterator[Entry]:
    """Every file that the path leads to, names in natural order, without hidden ones (__MACOSX, .DS_Store, ._x)."""
    path = split_series(path)[0]
    if "*" in path.name:
        wanted, depth = path.name, len(path.parent.parts)
        yield from (entry for entry in walk(path.parent) if fnmatchcase(entry.path.parts[depth], wanted))
        return
    root, inner = _root(path)
    if root is not None:
        yield from _in_zip(root, None, inner)
    elif path.is_dir():
        for child in sorted(path.iterdir(), key=natural):
            if not _hidden(child.name):
                yield from walk(child)
    elif path.is_file():
        yield Entry(path, path.read_bytes)


def content(path: Path) -> str:
    """Hash of what the path leads to, hexadecimal; OSError if that is nothing."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest, found = hashlib.sha256(), False
    for entry in walk(path):
        found = True
        digest.update(entry.path.name.encode() + b"\0" + hashlib.sha256(entry.read()).digest())
    if not found:
        raise FileNotFoundError(2, "No such file or directory", str(path))
    return digest.hexdigest()


def split_series(path: Path) -> tuple[Path, str]:
    """The place and the series UID that a path chooses, empty where it chooses none."""
    return (path.parent, path.name.removeprefix(SERIES)) if path.name.startswith(SERIES) else (path, "")


def natural(path: Path | PurePosixPath) -> list[tuple[int, int, str]]:
    """A sort key in which image_2 comes before image_10."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), "") if i % 2 and len(part) < 19 else (1, 0, part) for i, part in enumerate(parts)]


def on_disk(path: Path) -> Path:
    """The file or folder on disk that holds what the path leads to: the zip file, where it leads into one."""
    place = split_series(path)[0]
    place = place.parent if "*" in place.name else place
    return _root(place)[0] or place


def _root(path: Path) -> tuple[Path | None, PurePosixPath]:
    """The zip file on the way, and what follows it."""
    for above in (path, *path.parents):
        if _is_zip(above):
            return above, PurePosixPath(path.relative_to(above).as_posix())
        if above.exists():
            break
    return None, PurePosixPath()


def _is_zip(path: Path) -> bool:
    return path.name.lower().endswith(ZIP) and path.is_file()


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _in_zip(at: Path, read: Callable[[], bytes] | None, inner: PurePosixPath) -> Iterator[Entry]:
    """Entries of the zip file at `at` (on disk where `read` is None) below `inner`."""
    try:
        archive = zipfile.ZipFile(at if read is None else io.BytesIO(read()))
        names = _names(archive, at)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise BadInput("not a readable zip file", where=str(at), got=str(error), do="get the file again") from error
    for name in names:
        below = name == inner or inner in name.parents
        if name.suffix.lower() == ZIP and (below or name in (inner, *inner.parents)):
            rest = PurePosixPath() if below else inner.relative_to(name)
            yield from _in_zip(at / name, _reader(archive, name, at), rest)
        elif below:
            yield Entry(at / name, _reader(archive, name, at))


def _names(archive: zipfile.ZipFile, at: Path) -> list[PurePosixPath]:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    total = sum(info.file_size for info in infos)
    if len(infos) > MOST_ENTRIES or total > MOST_BYTES:
        got = f"{len(infos)} entries, {total} bytes unpacked"
        raise BadInput("the zip file is too large to be read in place", where=str(at), got=got, do="unpack it")
    names = [PurePosixPath(info.filename) for info in infos]
    for name in names:
        if name.is_absolute() or ".." in name.parts or "\\" in str(name):
            raise BadInput("a name in the zip file leads out of it", where=str(at), got=ascii(str(name)))
    return sorted((name for name in names if not any(map(_hidden, name.parts))), key=natural)


def _reader(archive: zipfile.ZipFile, name: PurePosixPath, at: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return archive.read(str(name))
        except (*_DAMAGED, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise BadInput("the entry can't be read", where=str(at / name), got=str(error)) from error

    return read
