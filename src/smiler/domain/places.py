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
from functools import cached_property, lru_cache, partial
from pathlib import Path, PurePosixPath

from smiler.domain.endings import data_file_of
from smiler.domain.errors import BadInput
from smiler.domain.fetching import fetched, whole
from smiler.domain.remote import Remote

ZIP = ".zip"
SERIES = "SeriesInstanceUID="
"""`FOLDER/SeriesInstanceUID=1.2.3` is the folder, of whose DICOM series one is meant."""
MOST_ENTRIES = 200_000
MOST_BYTES = 8 << 30
MOST_NESTED_BYTES = 2 << 30
DEEPEST = 3
_DAMAGED = (zipfile.BadZipFile, zlib.error)
_Names = tuple[tuple[tuple[PurePosixPath, str], ...], tuple[int, int]]


@dataclass(frozen=True)
class Entry:
    """One file: the path that leads to it, what reads it, and its first bytes; `missing` says why it can't be read."""

    path: Path
    read: Callable[[], bytes]
    head: Callable[[int], bytes]
    missing: str = ""


@dataclass
class _Budget:
    """What a zip file and all zip files in it may hold together."""

    at: Path
    entries: int = 0
    size: int = 0

    def add(self, entries: int, size: int) -> None:
        """Count a zip file's entries and their bytes; BadInput where there are too many."""
        self.entries, self.size = self.entries + entries, self.size + size
        if self.entries > MOST_ENTRIES or self.size > MOST_BYTES:
            got = f"{self.entries} entries, {self.size} bytes unpacked"
            raise BadInput("the zip file is too large to be read in place", where=str(self.at), got=got, do="unpack it")


def exists(path: Path) -> bool:
    """Whether the path leads to something; whatever can't be looked at does not. BadInput for a store that says no."""
    if isinstance(path, Remote):
        return whole(path)[0].exists()
    try:
        return (path.exists() and not _is_zip(path)) or next(walk(path), None) is not None
    except (BadInput, OSError, ValueError):
        return False


def walk(path: Path) -> Iterator[Entry]:
    """Every file that a path on disk leads to, in natural order of names, without hidden ones (__MACOSX, ._x).

    A folder to which several links lead is walked once, also where a link leads back to a folder above it.
    """
    yield from _walk(path, set())


def _walk(path: Path, walked: set[tuple[int, int]]) -> Iterator[Entry]:
    path = split_series(path)[0]
    if "*" in path.name:
        wanted, depth = path.name, len(path.parent.parts)
        yield from (entry for entry in _walk(path.parent, walked) if fnmatchcase(entry.path.parts[depth], wanted))
        return
    root, inner = _root(path)
    if root is not None:
        yield from _in_zip(_OnDisk(root), root, inner, _Budget(root))
    elif path.is_dir():
        if new_folder(path, walked):
            for child in sorted(
                path.iterdir(), key=lambda child: (child.is_symlink() and child.is_dir(), natural(child))
            ):
                if not _hidden(child.name):
                    yield from _walk(child, walked)
    elif path.is_file():
        yield Entry(path, partial(_bytes_of, path), partial(_bytes_of, path))
    elif path.is_symlink():
        yield Entry(path, partial(_bytes_of, path), partial(_bytes_of, path), "a link that leads nowhere")


def new_folder(path: Path, walked: set[tuple[int, int]]) -> bool:
    """Whether this folder on the disk was not walked before; it is now."""
    state = path.stat()
    key = state.st_dev, state.st_ino
    new = key not in walked
    walked.add(key)
    return new


def _bytes_of(path: Path, size: int = -1) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(size)
    except OSError as error:
        got = error.strerror or str(error)
        raise BadInput("the file can't be read", where=str(path), got=got, do="check permissions and links") from error


def content(path: Path) -> str:
    """Hash of what the path leads to, hexadecimal, wherever that lies; OSError if that is nothing."""
    with fetched(path) as local:
        return _content(local)


def _content(path: Path) -> str:
    if path.is_file():
        voxels = data_file_of(path)
        return _hash(path) if voxels is None else hashlib.sha256((_hash(path) + _hash(voxels)).encode()).hexdigest()
    digest, found = hashlib.sha256(split_series(path)[1].encode()), False
    for entry in walk(path):
        found = True
        if entry.missing:
            raise FileNotFoundError(2, entry.missing, str(entry.path))
        digest.update(entry.path.name.encode() + b"\0" + hashlib.sha256(entry.read()).digest())
    if not found:
        raise FileNotFoundError(2, "No such file or directory", str(path))
    return digest.hexdigest()


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def split_series(path: Path) -> tuple[Path, str]:
    """The place and the series UID that a path chooses, empty where it chooses none."""
    return (path.parent, path.name.removeprefix(SERIES)) if path.name.startswith(SERIES) else (path, "")


def natural(path: Path | PurePosixPath) -> list[tuple[int, int, str]]:
    """A sort key in which image_2 comes before image_10."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), "") if i % 2 and len(part) < 19 else (1, 0, part) for i, part in enumerate(parts)]


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


class _OnDisk:
    """A zip file on disk: its names are known without opening it again, and it is opened to read the first entry."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def names(self) -> tuple[tuple[PurePosixPath, str], ...]:
        """Names of its entries, and as the zip file writes them."""
        return self._known[0]

    @property
    def amount(self) -> tuple[int, int]:
        """How many entries, and their bytes."""
        return self._known[1]

    @property
    def _known(self) -> _Names:
        try:
            state = self.path.stat()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return _names_on_disk(self.path, state.st_mtime_ns, state.st_size)

    @cached_property
    def archive(self) -> zipfile.ZipFile:
        """The open file."""
        return _opened(self.path, self.path)


class _InMemory:
    """A zip file that lies in another."""

    def __init__(self, data: bytes, at: Path) -> None:
        self.archive = _opened(io.BytesIO(data), at)
        self.names, self.amount = _names(self.archive, at)


def _opened(source: Path | io.BytesIO, at: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(source)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise _unreadable(at, error) from error


def _unreadable(at: Path, error: Exception) -> BadInput:
    return BadInput("not a readable zip file", where=str(at), got=str(error), do="get the file again")


@lru_cache(maxsize=64)
def _names_on_disk(path: Path, changed: int, size: int) -> _Names:  # noqa: ARG001
    with _opened(path, path) as archive:
        return _names(archive, path)


def _in_zip(
    source: _OnDisk | _InMemory, at: Path, inner: PurePosixPath, budget: _Budget, depth: int = 1
) -> Iterator[Entry]:
    """Entries of the zip file at `at` below `inner`."""
    if depth > DEEPEST:
        raise BadInput(f"zip files are nested more than {DEEPEST} deep", where=str(at), do="unpack it")
    budget.add(*source.amount)
    for name, written in source.names:
        below = name == inner or inner in name.parents
        if name.suffix.lower() == ZIP and (below or name in (inner, *inner.parents)):
            rest = PurePosixPath() if below else inner.relative_to(name)
            nested = _InMemory(_read(source, written, at / name), at / name)
            yield from _in_zip(nested, at / name, rest, budget, depth + 1)
        elif below:
            read = partial(_read, source, written, at / name)
            yield Entry(at / name, read, read)


def _names(archive: zipfile.ZipFile, at: Path) -> _Names:
    """Names in natural order, and how many entries with how many bytes there are; BadInput for too many."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    amount = len(infos), sum(info.file_size for info in infos)
    _Budget(at).add(*amount)
    names = [(PurePosixPath(info.filename), info.filename) for info in infos]
    for name, _ in names:
        if name.is_absolute() or ".." in name.parts or "\\" in str(name):
            raise BadInput("a name in the zip file leads out of it", where=str(at), got=ascii(str(name)))
    shown = (pair for pair in names if not any(map(_hidden, pair[0].parts)))
    return tuple(sorted(shown, key=lambda pair: natural(pair[0]))), amount


def _read(source: _OnDisk | _InMemory, written: str, where: Path, size: int = -1) -> bytes:
    whole = source.archive.getinfo(written).file_size
    if size < 0 and whole > MOST_NESTED_BYTES:
        got = f"{whole} bytes unpacked"
        raise BadInput("an entry is too large to be read in place", where=str(where), got=got, do="unpack it")
    try:
        with source.archive.open(written) as stream:
            return stream.read(size)
    except (*_DAMAGED, OSError, EOFError, KeyError, NotImplementedError, RuntimeError, ValueError) as error:
        raise BadInput("the entry can't be read", where=str(where), got=str(error)) from error
