"""The bytes of a file, gzipped or not: opened with care, read exactly, every failure one BadInput."""

import io
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from isal import igzip, isal_zlib

from smiler.domain.errors import BadInput

GZIP_MAGIC = b"\x1f\x8b"
# Deflate yields at most 258 bytes from 2 bits, so that a gzip file never grows more than 1032 times.
LARGEST_RATIO = 1032
# Some writers fill the last block of 512 bytes with zeros; more, or anything else, is not padding.
PADDING = 512
_CHUNK = 1 << 20
_Gunzip: Any = igzip.IGzipFile  # isal has no types for it
_Inflate: Any = isal_zlib.decompressobj
_ZLIB_OR_GZIP = 47
_DAMAGED: tuple[type[Exception], ...] = (igzip.BadGzipFile, cast("type[Exception]", isal_zlib.error), zlib.error)


@dataclass(frozen=True)
class Source:
    """An open file as its uncompressed bytes; `size` is what it takes on disk, in bytes."""

    path: Path
    stream: Any
    gzipped: bool
    size: int

    @property
    def room(self) -> int:
        """The most uncompressed bytes that the file can hold."""
        return self.size * LARGEST_RATIO if self.gzipped else self.size

    def head(self, count: int) -> bytes:
        """Up to `count` bytes, fewer only at the end of the file."""
        parts = bytearray()
        while len(parts) < count and (part := self.stream.read(count - len(parts))):
            parts += part
        return bytes(parts)

    def fill(self, buffer: memoryview) -> None:
        """Fill the whole buffer, or say that the file is truncated."""
        done = 0
        while done < len(buffer):
            got = self.stream.readinto(buffer[done : done + _CHUNK])
            if not got:
                raise truncated(self.path, f"{len(buffer) - done} bytes fewer than the header promises")
            done += got

    def skip(self, count: int) -> None:
        """Pass over `count` bytes."""
        while count > 0:
            part = self.stream.read(min(count, _CHUNK))
            if not part:
                raise truncated(self.path, "the file ends before its voxels begin")
            count -= len(part)

    def skip_at_once(self, count: int) -> None:
        """The same in a file that is not compressed, whose size is known to be enough."""
        self.stream.seek(count, io.SEEK_CUR)

    def finish(self) -> int:
        """Check that nothing but padding follows (and with it the gzip checksum); give the padding's length."""
        rest = self.head(PADDING + 1)
        if len(rest) > PADDING or rest.strip(b"\0"):
            raise longer(self.path, f"{len(rest)} bytes or more after the last voxel")
        return len(rest)


class _Inflating(io.RawIOBase):
    """What a zlib or gzip stream within another file holds; EOFError where it ends too early."""

    def __init__(self, path: Path, raw: Any) -> None:
        self.path, self.raw, self.inflate = path, raw, _Inflate(wbits=_ZLIB_OR_GZIP)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as one step goes; 0 at the end of the stream."""
        while not self.inflate.eof:
            given = self.inflate.unconsumed_tail or self.raw.read(_CHUNK)
            part = self.inflate.decompress(given, len(buffer))
            if part:
                buffer[: len(part)] = part
                return len(part)
            if not given:
                raise EOFError
        rest = self.inflate.unused_data + self.raw.read(PADDING + 1)
        if len(rest) > PADDING or rest.strip(b"\0"):
            raise longer(self.path, f"{len(rest)} bytes or more after the compressed data")
        return 0


def inflated(source: Source, begin: int) -> Source:
    """The compressed data at which a file stands, `begin` bytes after its first one, as a source of their own."""
    return Source(source.path, _Inflating(source.path, source.stream), True, source.size - begin)


@contextmanager
def opened(path: Path, *, unpack: bool = True) -> Iterator[Source]:
    """Open a regular file; whether it is gzipped is read from its first bytes, never from its name.

    unpack: else it is read as it is.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise BadInput("the path is not a file", where=str(path), got=kind)
        with path.open("rb") as raw:
            gzipped = raw.read(2) == GZIP_MAGIC and unpack
            raw.seek(0)
            yield Source(path, _Gunzip(fileobj=raw) if gzipped else raw, gzipped, status.st_size)
    except EOFError as error:
        raise truncated(path, "the compressed data end too early") from error
    except _DAMAGED as error:
        raise BadInput("the gzip data are damaged", where=str(path), got=str(error), do="get the file again") from error
    except FileNotFoundError as error:
        raise BadInput("the file does not exist", where=str(path)) from error
    except OSError as error:
        raise BadInput("the file can't be read", where=str(path), got=error.strerror or str(error)) from error
    except MemoryError as error:
        raise BadInput("the volume does not fit into memory", where=str(path), do="crop or resample it") from error


def truncated(path: Path, got: str) -> BadInput:
    """The one sentence for a file that ends too early."""
    return BadInput("the file is truncated", where=str(path), got=got, do="get the file again")


def longer(path: Path, got: str) -> BadInput:
    """The one sentence for a file that holds more than its header promises."""
    return BadInput("the file is longer than its header says", where=str(path), got=got, do="check how it was written")
