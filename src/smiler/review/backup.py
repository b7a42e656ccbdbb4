"""Take a review elsewhere: a consistent copy while reviewers work, and its history as a table."""

import csv
import io
import sqlite3
from contextlib import closing
from pathlib import Path

from smiler.domain.errors import BadInput, CheckFailed
from smiler.domain.files import as_os_error, replacing, write_text
from smiler.domain.locks import claiming
from smiler.review.blobs import Blobs
from smiler.review.desk import FOLDER
from smiler.review.ledger import FILE, Ledger
from smiler.review.revisions import COLUMNS, Revision
from smiler.review.verify import open_ledger


def back_up(cohort: Path, out: Path) -> int:
    """Copy database and masks into a folder laid out as COHORT/review; how many masks it holds.

    The database first: every mask that it names was on disk before. Masks that are there already are not copied again.
    CheckFailed, after all else is copied, if one is damaged.
    """
    with claiming(out):
        _check_place(cohort, out)
        return _back_up(cohort, out)


def _check_place(cohort: Path, out: Path) -> None:
    """BadInput where the history of another review, or more of this one than is here, would be written over."""
    do = "choose another folder"
    if out.resolve() == (cohort / FOLDER).resolve():
        raise BadInput("a copy is another folder than the review itself", where=str(out), do=do)
    if not (out / FILE).exists():
        return
    ledger, last = open_ledger(cohort), _last_event(out / FILE)
    try:
        here = ledger.database.rows("SELECT hash FROM event WHERE number = ?", last[0])
    finally:
        ledger.close()
    if last[0] and [row["hash"] for row in here] != [last[1]]:
        raise BadInput("another review lies there", where=str(out), do=do)


def _last_event(path: Path) -> tuple[int, str]:
    """Number and hash of a copy that nobody has opened; 0 where nothing happened yet."""
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists() and wal.stat().st_size:
        raise BadInput("a review was opened there", where=str(path), do="choose another folder")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as database:
            found = database.execute("SELECT number, hash FROM event ORDER BY number DESC LIMIT 1").fetchone()
    except sqlite3.Error as error:
        raise BadInput("the database there can't be read", where=str(path), got=str(error)) from error
    return (int(found[0]), str(found[1])) if found else (0, "")


def _back_up(cohort: Path, out: Path) -> int:
    ledger, source, target = open_ledger(cohort), Blobs(cohort / FOLDER), Blobs(out)
    try:
        with replacing(out / FILE) as temporary, as_os_error(sqlite3.Error):
            ledger.database.copy_to(temporary)
        names = sorted({name for found in ledger.all_revisions() if (name := ledger.stored(found)[0])})
    finally:
        ledger.close()
    damaged = [name for name in names if not _copied(name, source, target)]
    if damaged:
        raise CheckFailed(f"{len(damaged)} masks are damaged and not in the copy; see smiler review COHORT --verify")
    return len(names)


def _copied(name: str, source: Blobs, target: Blobs) -> bool:
    """Whether the mask is in the copy, whole; what lies beside it goes along."""
    if target.intact(name):
        return True
    if not source.intact(name):
        return False
    for path in source.files(name):
        with replacing(target.path(name).with_name(path.name)) as temporary:
            temporary.write_bytes(path.read_bytes())
    return target.intact(name)


def write_history(cohort: Path, out: Path) -> int:
    """Every revision as a row of a CSV file, in the order of time; how many. BadInput if another file lies there."""
    head = ",".join(COLUMNS)
    if out.exists() and (out.is_dir() or not out.read_bytes().startswith(head.encode())):
        raise BadInput("another file lies there", where=str(out), do="choose another name")
    ledger = open_ledger(cohort)
    try:
        revisions = ledger.all_revisions()
        write_text(out, _table(ledger, revisions))
    finally:
        ledger.close()
    return len(revisions)


def _table(ledger: Ledger, revisions: list[Revision]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for revision in revisions:
        name, voxels = ledger.stored(revision)
        row = {**revision.to_json(), "mask": name, "voxels": voxels, "kept": int(revision.kept)}
        writer.writerow([_plain(row[column]) for column in COLUMNS])
    return stream.getvalue()


def _plain(value: object) -> object:
    """No text begins as a formula does: a spreadsheet would compute it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
