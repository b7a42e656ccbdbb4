"""Addresses that fsspec reaches (s3://, gs://, az://, https://) as paths: they join as paths do, and ask their store.

Only what a store can do is done there: look, list, read whole, write whole, delete. Whoever needs a file on disk says
`fetched`, whoever writes one says `replacing` (files.py).
"""

import os
import posixpath
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smiler.domain.errors import BadInput

if TYPE_CHECKING:
    _Base = Path
else:
    _Base = type(Path())  # until Python 3.12 only the system's own kind of path can be subclassed

_ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):(?P<slashes>/+)(?P<rest>.*)", re.DOTALL)
_WEB = ("http:", "https:")
_SECRETS = re.compile(r"(?<=//)[^/@\s]*@|\?[^\s'\"]*")
"""In an address of the web: a password, and a query, which may be a signature."""


class Remote(_Base):
    """`SCHEME://HOST/NAME...`; as text without what may be secret in it. Make one with `place`."""

    def __str__(self) -> str:
        return _SECRETS.sub("", self.address) if self.parts[:1] and self.parts[0] in _WEB else self.address

    @property
    def address(self) -> str:
        """The whole address, as fsspec wants it."""
        first, *rest = self.parts or (".",)
        return f"{first}//{'/'.join(rest)}" if first.endswith(":") else "/".join((first, *rest))

    @property
    def file_name(self) -> str:
        """The name without a query."""
        return str(self.name).partition("?")[0] if self.parts[0] in _WEB else str(self.name)

    def exists(self, **_: Any) -> bool:
        """Whether something is there; BadInput where that can't be found out."""
        return bool(self._kind())

    def is_file(self, **_: Any) -> bool:
        """Whether it is an object."""
        return self._kind() == "file"

    def is_dir(self, **_: Any) -> bool:
        """Whether objects lie below it."""
        return self._kind() == "directory"

    def size(self) -> int:
        """Bytes of the object, 0 where the store doesn't tell; FileNotFoundError if there is none."""
        with self.store() as (store, key):
            return int(store.info(key).get("size") or 0)

    def iterdir(self) -> Generator["Remote"]:
        """What lies directly below it."""
        with self.store() as (store, key):
            names = [posixpath.basename(str(name).rstrip("/")) for name in store.ls(key, detail=False)]
        yield from (self / name for name in names if name)

    def read_bytes(self) -> bytes:
        """The object's content; FileNotFoundError if there is none."""
        with self.store() as (store, key):
            return bytes(store.cat_file(key))

    def read_text(self, encoding: str | None = None, errors: str | None = None, **_: Any) -> str:
        """The object's content as text."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        if not (missing_ok and not self.is_file()):
            with self.store() as (store, key):
                store.rm_file(key)

    def mkdir(self, *_: Any, **__: Any) -> None:
        """Nothing: stores have no folders."""

    def absolute(self) -> "Remote":
        """Itself."""
        return self

    def resolve(self, strict: bool = False) -> "Remote":  # noqa: ARG002  as in Path
        """Itself."""
        return self

    def _kind(self) -> str:
        try:
            with self.store() as (store, key):
                return str(store.info(key)["type"])
        except FileNotFoundError:
            return ""

    @contextmanager
    def store(self) -> Iterator[tuple[Any, str]]:
        """The store, and what it calls the object; its errors become one BadInput, but for FileNotFoundError."""
        try:
            from fsspec.core import url_to_fs

            store, key = url_to_fs(self.address)
            store.invalidate_cache()  # another process may have written since
            yield store, key
        except (BadInput, FileNotFoundError):
            raise
        except ImportError as error:
            do = "install the package that it names; for s3:// it is pip install 'smiler-seg[cloud]'"
            raise BadInput("a package for this address is missing", where=str(self), got=str(error), do=do) from error
        except Exception as error:  # each store has its own kinds of errors
            got = f"{type(error).__name__}: {_SECRETS.sub('', str(error))}".strip(": ")
            do = "check the address, your credentials and the connection, then call again"
            raise BadInput("the store can't be used", where=str(self), got=got, do=do) from error

    def upload(self, file: Path) -> None:
        """Write a finished local file there, whole."""
        try:
            with self.store() as (store, key):
                store.put_file(str(file), key)
        except FileNotFoundError as error:
            do = "make the bucket, or check its name"
            raise BadInput("cannot write the object", where=str(self), got=str(error), do=do) from error


def place(path: str | Path, folder: Path | None = None) -> Path:
    """The path that a user's text means, counted from `folder`; an address becomes a Remote, `file://` a plain path.

    A Path made of an address has lost a slash, and means the address too.
    """
    if isinstance(path, Remote):
        return path
    found = _ADDRESS.fullmatch(str(path))
    if found and (_known(found["scheme"]) if isinstance(path, Path) else len(found["slashes"]) > 1):
        return _addressed(str(path), found["scheme"], found["slashes"], found["rest"])
    if folder is None or Path(path).is_absolute():
        return Path(path)
    if isinstance(folder, Remote):  # stores know no ".."
        return Remote(*folder.parts[:1], posixpath.normpath("/".join((*folder.parts[1:], str(path)))))
    return folder / path


def local(path: str | Path, what: str) -> Path:
    """The path, or BadInput if it is an address: `what` must lie on a disk."""
    found = place(path)
    if isinstance(found, Remote):
        raise BadInput(f"{what} must be on a disk", where=str(found), do="copy or mount it, or choose a local folder")
    return found


def is_address(text: str) -> bool:
    """Whether a text is an address."""
    found = _ADDRESS.fullmatch(text)
    return found is not None and len(found["slashes"]) > 1


def absolute(path: Path) -> Path:
    """The path from the root, links left as they are; an address is one."""
    return path if isinstance(path, Remote) else Path(os.path.abspath(path))  # noqa: PTH100  resolve follows links


def _addressed(text: str, scheme: str, slashes: str, rest: str) -> Path:
    if scheme in ("file", "local"):
        return Path("/" + rest)
    if not _known(scheme):
        do = "use s3://, gs://, az://, https:// or another that fsspec knows"
        raise BadInput("no such kind of address", where=text, got=f"{scheme}://", do=do)
    names = rest.partition("?")[0].rstrip("/").split("/")
    if len(slashes) > 2 or {"", ".", ".."} & set(names):
        do = "write SCHEME://HOST/NAME without empty names, '.' and '..'"
        raise BadInput("the address can't be followed", where=text, do=do)
    return Remote(f"{scheme}:/{rest}")


def _known(scheme: str) -> bool:
    try:
        from fsspec import available_protocols
    except ImportError:
        return True  # whoever uses the address tells that fsspec is missing
    return scheme in available_protocols()
