"""The review's SQLite file: one connection, one writer at a time, and nothing is acknowledged before it is on disk."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from smiler.domain.errors import BadInput
from smiler.domain.files import cannot_write

FORMAT = 1
WAIT_SECONDS = 10.0
_SCHEMA = """
CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE revision (
    "case" TEXT NOT NULL, organ TEXT NOT NULL, number INTEGER NOT NULL, state TEXT NOT NULL, source TEXT NOT NULL,
    cell TEXT NOT NULL, parent INTEGER, mask TEXT NOT NULL, content TEXT NOT NULL, grid TEXT NOT NULL,
    model TEXT NOT NULL, round INTEGER, agreement REAL, unsure_cm2 REAL,
    voxels INTEGER, added INTEGER, removed INTEGER, dice REAL,
    reviewer TEXT NOT NULL, active_seconds REAL, time TEXT NOT NULL, note TEXT NOT NULL, kept INTEGER NOT NULL,
    PRIMARY KEY ("case", organ, number));
CREATE TABLE head (
    "case" TEXT NOT NULL, organ TEXT NOT NULL, number INTEGER NOT NULL, wanted TEXT NOT NULL,
    seen TEXT NOT NULL, PRIMARY KEY ("case", organ));
CREATE INDEX behind ON head ("case", organ) WHERE wanted != seen;
CREATE TABLE stored (
    "case" TEXT NOT NULL, organ TEXT NOT NULL, number INTEGER NOT NULL, mask TEXT NOT NULL, voxels INTEGER NOT NULL,
    PRIMARY KEY ("case", organ, number));
CREATE TABLE event (
    number INTEGER PRIMARY KEY, time TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
    previous TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TABLE answer (
    reviewer TEXT NOT NULL, key TEXT NOT NULL, asked TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (reviewer, key));
CREATE TABLE file (path TEXT PRIMARY KEY, state TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TRIGGER revision_stays BEFORE UPDATE ON revision BEGIN SELECT RAISE(ABORT, 'a revision never changes'); END;
CREATE TRIGGER revision_kept BEFORE DELETE ON revision BEGIN SELECT RAISE(ABORT, 'a revision is never deleted'); END;
CREATE TRIGGER event_stays BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'an event never changes'); END;
CREATE TRIGGER event_kept BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'an event is never deleted'); END;
"""
_PRIMARY = 0xFF
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_NOT_WRITTEN = {
    sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMMAP, sqlite3.SQLITE_IOERR_DELETE,
}  # fmt: skip
"""What SQLite calls a full disk, a folder that is read only, and a write that failed."""
_LATER = (
    'CREATE TABLE IF NOT EXISTS listed (place INTEGER PRIMARY KEY, "case" TEXT NOT NULL, patient TEXT NOT NULL, '
    "image TEXT NOT NULL)",
)
"""What databases of the first versions lack: the rows that cases.csv had when it was read last."""


class Database:
    """Rows by name; `writing` is one transaction, `rows` a read. Several threads may use it: one after the other."""

    def __init__(self, path: Path) -> None:
        self.path, self._is_new = path, not path.exists()
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._prepare()
        except OSError as error:
            raise cannot_write(path, error) from error
        except sqlite3.Error as error:
            raise self._fault(error) from error

    def _prepare(self) -> None:
        with self.writing():
            if not self.rows("SELECT name FROM sqlite_master WHERE name = 'setting'"):
                for statement in _statements(_SCHEMA):
                    self.run(statement)
                self.run("INSERT INTO setting VALUES ('format', ?)", FORMAT)
            for statement in _LATER:
                self.run(statement)
            found = self.setting("format")
        if found != str(FORMAT):
            raise BadInput(f"only format {FORMAT} is known", where=str(self.path), got=repr(found), do="update smiler")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction: all or nothing, and on disk when it ends. Nested ones are part of the outer."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            try:
                with self._transaction():
                    yield
            except sqlite3.OperationalError as error:
                raise cannot_write(self.path, OSError(str(error))) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        with ExitStack() as stack:
            stack.callback(self._undo)
            yield
            self._connection.execute("COMMIT")

    def _undo(self) -> None:
        """Roll back what was not committed."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    @property
    def in_transaction(self) -> bool:
        """Whether something is written that may still be undone."""
        return self._connection.in_transaction

    def run(self, statement: str, *values: Any) -> None:
        """One statement inside `writing`."""
        with self._lock:
            self._connection.execute(statement, values)

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Every row of a query."""
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.DatabaseError as error:
                raise self._fault(error) from error

    def _fault(self, error: sqlite3.Error) -> BadInput:
        """A disk that is full or can't be written to; else the file is damaged. One that was never there is neither."""
        code = getattr(error, "sqlite_errorcode", None)
        full = code is not None and (code & _PRIMARY in _NO_ROOM or code in _NOT_WRITTEN)
        if full or (self._is_new and isinstance(error, sqlite3.OperationalError)):
            return cannot_write(self.path, OSError(str(error)))
        return _unusable(self.path, error)

    def setting(self, key: str) -> str | None:
        """A setting, or None."""
        found = self.rows("SELECT value FROM setting WHERE key = ?", key)
        return str(found[0]["value"]) if found else None

    def forget(self, key: str) -> None:
        """Remove a setting, so that the file holds it nowhere: neither in free pages nor in the log beside it."""
        if self.setting(key) is None:
            return
        with self._lock:
            self._connection.execute("PRAGMA secure_delete=ON")
            with self.writing():
                self.run("DELETE FROM setting WHERE key = ?", key)
            with suppress(sqlite3.OperationalError):  # somebody reads: the log goes when the last one closes the file
                for statement in ("PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                    self._connection.execute(statement).fetchall()

    def copy_to(self, path: Path) -> None:
        """A consistent copy, made while others write."""
        with self._lock:
            target = sqlite3.connect(path)
            try:
                self._connection.backup(target)
            finally:
                target.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def _statements(script: str) -> Iterator[str]:
    part = ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            yield part
            part = ""


def _unusable(path: Path, error: sqlite3.Error) -> BadInput:
    do = "get it back from a backup (smiler review COHORT --backup DIR makes them)"
    return BadInput("the review's database can't be read", where=str(path), got=str(error), do=do)
