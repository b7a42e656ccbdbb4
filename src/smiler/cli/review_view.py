"""How `review` shows itself: addresses, reviewers, what a check found."""

import getpass
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from rich.table import Table

from smiler.cli.browser import opened
from smiler.cli.console import Bars, err, json_text, out, plain, print_json
from smiler.domain.errors import BadInput, CheckFailed
from smiler.review.edits import UNDO_COMMAND, Edit
from smiler.review.repeats import SHARE

MOST_NAME = 64
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Where:
    """Where to serve, which page, and how to tell it."""

    host: str
    port: int
    page: Path | None
    browser: bool
    as_json: bool
    monailabel: bool = False
    repeats: float = SHARE
    public_url: str = ""

    @property
    def remote(self) -> tuple[str, str] | None:
        """The option by which other machines can reach it, and its value."""
        if self.public_url:
            return "--public-url", self.public_url
        return None if self.host in LOOPBACK else ("--host", self.host)


def names(where: Where, reviewer: str, users: Path | None, *, allow_remote: bool) -> tuple[str, ...]:
    """Who may review; beyond this machine only who is named in a file, and only if that is allowed."""
    if where.remote and not allow_remote:
        option, got = where.remote
        do = "add --allow-remote and --users FILE, and see that the network between is yours"
        raise BadInput("that address can be reached from other machines", where=option, got=got, do=do)
    if where.remote and users is None:
        do = "write one reviewer's name a line into a file and give it with --users"
        raise BadInput("reviewers on other machines are named", where="--users", do=do)
    if users is not None:
        return _from_file(users)
    return (_name(reviewer or _login(), "--reviewer"),)


def _from_file(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("the file can't be read", where=str(path), got=str(error)) from error
    found = [_name(line.strip(), f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.split("#")[0].strip()]
    if not found or len(set(found)) != len(found):
        raise BadInput("one name a line, each once", where=str(path), got=f"{len(found)} names")
    return tuple(found)


def _name(text: str, where: str) -> str:
    if not (text and len(text) <= MOST_NAME and text.isprintable()):
        raise BadInput("not a reviewer's name", where=where, got=ascii(text[:80]), do=f"1 to {MOST_NAME} letters")
    return text


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "reviewer"


def serve_page(cohort: Path, where: Where, reviewers: tuple[str, ...]) -> None:
    """Serve until it is stopped."""
    try:
        from smiler.review.server.run import ServeOptions, bind
    except ImportError as error:
        do = "pip install 'smiler-seg[review]'"
        raise BadInput("the page's server is not installed", where="review", got=str(error), do=do) from error
    from smiler.review.desk import at_desk
    from smiler.review.server.page import BUILT, NOT_BUILT, is_built

    if not is_built(where.page or BUILT):
        err.print(f"warning: {NOT_BUILT}", soft_wrap=True)
    options = ServeOptions(
        where.host,
        where.port,
        reviewers,
        where.page,
        monailabel=where.monailabel,
        repeats=where.repeats,
        public_url=where.public_url,
    )
    bars, notes = Bars(quiet=where.as_json), Notes()
    with at_desk(cohort, notes.add if where.as_json else bars.note, progress=bars) as desk:
        bound = bind(desk, options)
        if where.as_json:
            addresses = {"urls": dict(bound.urls), **({"slicer": dict(bound.slicer)} if bound.slicer else {})}
            notes.begin(addresses, desk.edits.open)
        elif edits := desk.edits.open():
            bars.note(f"not undone yet: {'; '.join(edit.title for edit in edits)} ({UNDO_COMMAND}, or on the page)")
        announce(bound.urls, bound.slicer, where)
        alone = next(iter(bound.urls.values())) if where.browser and len(bound.urls) == 1 else ""
        with opened(alone) if alone else nullcontext():
            bound.run()


class Notes:
    """What is told, as JSON: first together with the addresses, then a line for each note as it comes.

    A thread of its own writes the lines: whoever reads no more than the addresses must hold nobody up.
    """

    def __init__(self) -> None:
        self._lines = SimpleQueue[str]()
        self._first: list[str] | None = []
        self._edits: Callable[[], list[Edit]] = list

    def add(self, text: str) -> None:
        """One note."""
        if self._first is not None:
            self._first.append(text)
            return
        edits = [edit.to_json() for edit in self._edits()]
        self._lines.put(json_text({"note": text, "edits": edits}))

    def begin(self, told: Mapping[str, Any], edits: Callable[[], list[Edit]]) -> None:
        """Print the addresses with the notes so far, and edits of cases.csv that can be undone."""
        first, self._first, self._edits = self._first or [], None, edits
        print_json({**told, "edits": [edit.to_json() for edit in edits()], "notes": first})
        Thread(target=self._write, daemon=True).start()

    def _write(self) -> None:
        with suppress(OSError, ValueError):  # nobody reads any more
            while True:
                sys.stdout.write(self._lines.get())
                sys.stdout.flush()


def announce(urls: Mapping[str, str], slicer: Mapping[str, str], where: Where) -> None:
    """Print each reviewer's addresses. slicer: for 3D Slicer, if it may connect."""
    if not where.as_json:
        for name, url in urls.items():
            out.print(f"{name}: {url}" if len(urls) > 1 else f"review page: {url}", soft_wrap=True)
            if name in slicer:
                out.print(f"  3D Slicer, MONAI Label server: {slicer[name]}", soft_wrap=True)
        out.print("Ctrl-C ends it; what was decided is stored.")
    sys.stdout.flush()


def sign_out_all(cohort: Path, *, as_json: bool) -> None:
    """Renew the review's key."""
    from smiler.review.keys import Keys
    from smiler.review.verify import open_ledger

    open_ledger(cohort).close()
    Keys(cohort).renew()
    if as_json:
        print_json({"signed_out": True})
    else:
        text = "everybody is signed out; the addresses of a server that runs still sign in: start it again for new ones"
        out.print(text, soft_wrap=True)


def undo_edit(cohort: Path, reviewer: str, *, as_json: bool) -> None:
    """Take back the newest edit of cases.csv that was not undone yet, and tell what came back."""
    from smiler.review.desk import at_desk
    from smiler.review.undo import undo_newest

    bars, notes = Bars(quiet=as_json), list[str]()
    with at_desk(cohort, notes.append if as_json else bars.note, progress=bars) as desk:
        undone = undo_newest(desk, _name(reviewer or _login(), "--reviewer"))
        title, trouble = desk.edits.edit(undone.edit).title, desk.sheet.trouble
    if as_json:
        print_json({"undone": {**undone.to_json(), "title": title}, "notes": notes, "trouble": trouble or None})
        return
    out.print(f"{title}: undone, {undone.cells} cells and {undone.rows} rows are as before")
    for text in undone.left:
        out.print(f"left as it is: {text}", soft_wrap=True)


def look_after(cohort: Path, backup: Path | None, history: Path | None, *, verify: bool, as_json: bool) -> None:
    """Check, copy or export, and tell what came of it; CheckFailed if the check finds a fault."""
    from smiler.review.backup import back_up, write_history
    from smiler.review.verify import verify as run_check

    told: dict[str, Any] = {}
    if history is not None:
        told["history"] = {"file": str(history), "revisions": write_history(cohort, history)}
    if backup is not None:
        told["backup"] = {"folder": str(backup), "masks": back_up(cohort, backup)}
    found = run_check(cohort) if verify else None
    if found is not None:
        told["verify"] = asdict(found)
    if as_json:
        print_json(told)
    else:
        _show(told)
    if found is not None and not found.ok:
        raise CheckFailed("\n".join(map(plain, found.faults)))


def _show(told: Mapping[str, Any]) -> None:
    if "history" in told:
        out.print(f"{told['history']['revisions']} revisions in {told['history']['file']}")
    if "backup" in told:
        out.print(f"database and {told['backup']['masks']} masks in {told['backup']['folder']}")
    if "verify" in told:
        found = told["verify"]
        for note in found["notes"]:
            out.print(f"note: {note}", soft_wrap=True)
        for edit in found["edits"]:
            out.print(f"not undone yet: {edit['title']}; {UNDO_COMMAND}", soft_wrap=True)
        counts = f"{found['events']} events, {found['revisions']} revisions, {found['masks']} masks"
        number = len(found["faults"])
        wrong = f"{number} fault{'s' * (number != 1)}" if number else "all whole"
        out.print(f"{counts}: {wrong}; newest event {found['last']}", soft_wrap=True)


def show_simulation(cohort: Path, truth: Path, folder: Path, *, as_json: bool) -> None:
    """Replay a perfect reviewer; a table, and files in the folder."""
    from smiler.domain.cohort import Cohort
    from smiler.domain.locks import claiming
    from smiler.evaluation.truth import Truth
    from smiler.experiments.review_simulation import LEVELS, ORDERS, simulate

    with claiming(folder):
        found = simulate(Cohort.open(cohort), Truth.open(truth), progress=Bars(quiet=as_json))
        found.save(folder)
    told = found.summary()
    if as_json:
        print_json(told)
        return
    table = Table("order", *(f"{level:.0%} of the gain" for level in LEVELS), "over random, half the gain")
    for order in ORDERS:
        minutes = told["minutes"][order]
        table.add_row(
            order, *(f"{minutes[str(level)]:.0f} min" for level in LEVELS), f"{told['over_random'][order]['0.5']:.2f}"
        )
    out.print(table)
    out.print(f"{told['pairs']} proposals, {told['all_minutes']:.0f} minutes for all; {folder / 'simulation.png'}")
