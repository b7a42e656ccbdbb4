"""The key of a review, outside the cohort: whoever copies or backs up a cohort must not get what signs sign-ins.

A file of its own in the user's state folder ($XDG_STATE_HOME/smiler/review, else ~/.local/state), for nobody else.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from smiler.domain.errors import BadInput
from smiler.domain.files import cannot_write

BYTES = 32
_PRIVATE_FOLDER, _OTHERS = 0o700, 0o077
_POSIX = os.name == "posix"


def state_folder() -> Path | None:
    """Where this user's programs keep what outlives them; None where there is no such place."""
    named = os.environ.get("XDG_STATE_HOME" if _POSIX else "LOCALAPPDATA", "")
    if Path(named).is_absolute():
        return Path(named)
    try:
        return Path.home() / ".local" / "state"
    except RuntimeError:
        return None


class Keys:
    """The key of one cohort's review. It is read anew when its file changes: a server sees that it was renewed."""

    def __init__(self, cohort: Path) -> None:
        folder = state_folder()
        name = hashlib.sha256(os.fsencode(cohort.resolve())).hexdigest()[:32]
        self.path = folder / "smiler" / "review" / f"{name}.key" if folder else None
        self.trouble = ""
        self._lock = threading.Lock()
        self._key, self._state = secrets.token_bytes(BYTES), (0, 0, 0)

    def secret(self) -> bytes:
        """The key; made where there is none, or where others could have read it. In memory if it can't be kept."""
        with self._lock:
            try:
                self._follow()
            except OSError as error:
                where = str(self.path or "no folder for it")
                self.trouble = (
                    f"who is signed in must sign in again after a restart: {where}: {error.strerror or error}"
                )
            return self._key

    def derived(self, purpose: str) -> bytes:
        """A key for another purpose, of which this one can't be found out."""
        return hmac.new(self.secret(), f"purpose\0{purpose}".encode(), hashlib.sha256).digest()

    def renew(self) -> Path:
        """Make another key: nobody is signed in any more, at a running server either. BadInput if it can't be kept."""
        with self._lock:
            if self.path is None:
                do = "set XDG_STATE_HOME to a folder of yours"
                raise BadInput("there is no place for the review's key", where="home folder", do=do)
            try:
                self._write(self.path)
            except OSError as error:
                raise cannot_write(self.path, error) from error
            return self.path

    def _follow(self) -> None:
        if self.path is None:
            raise OSError("no home folder")
        try:
            with self.path.open("rb") as stream:
                state = os.fstat(stream.fileno())
                now = (state.st_mtime_ns, state.st_ino, state.st_size)
                if now == self._state:
                    return
                key = stream.read(BYTES + 1)
        except FileNotFoundError:
            self._write(self.path)
            return
        foreign = _POSIX and (state.st_uid != os.geteuid() or state.st_mode & _OTHERS)
        if foreign or len(key) != BYTES:
            self._write(self.path)
        else:
            self._key, self._state = key, now

    def _write(self, path: Path) -> None:
        """A fresh key, in a file that is this user's alone from its first byte on."""
        path.parent.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        key, (handle, name) = secrets.token_bytes(BYTES), tempfile.mkstemp(prefix=".", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(key)
                stream.flush()
                os.fsync(stream.fileno())
                state = os.fstat(stream.fileno())
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
        self._key, self._state = key, (state.st_mtime_ns, state.st_ino, state.st_size)
