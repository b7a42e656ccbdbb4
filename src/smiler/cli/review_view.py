"""How `review` shows itself: addresses, reviewers, what a check found."""

import getpass
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from smiler.cli.browser import opened
from smiler.cli.console import Bars, out, print_json
from smiler.domain.errors import BadInput, CheckFailed
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

    options = ServeOptions(
        where.host,
        where.port,
        reviewers,
        where.page,
        monailabel=where.monailabel,
        repeats=where.repeats,
        public_url=where.public_url,
    )
    bars = Bars(quiet=where.as_json)
    with at_desk(cohort, bars.note, progress=bars) as desk:
        bound = bind(desk, options)
        announce(bound.urls, bound.slicer, where)
        alone = next(iter(bound.urls.values())) if where.browser and len(bound.urls) == 1 else ""
        with opened(alone) if alone else nullcontext():
            bound.run()


def announce(urls: Mapping[str, str], slicer: Mapping[str, str], where: Where) -> None:
    """Print each reviewer's addresses. slicer: for 3D Slicer, if it may connect."""
    if where.as_json:
        print_json({"urls": dict(urls), **({"slicer": dict(slicer)} if slicer else {})})
    else:
        for name, url in urls.items():
            out.print(f"{name}: {url}" if len(urls) > 1 else f"review page: {url}", markup=False, soft_wrap=True)
            if name in slicer:
                out.print(f"  3D Slicer, MONAI Label server: {slicer[name]}", markup=False, soft_wrap=True)
        out.print("Ctrl-C ends it; what was decided is stored.", markup=False)
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
        out.print(text, markup=False, soft_wrap=True)


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
        raise CheckFailed("\n".join(found.faults))


def _show(told: Mapping[str, Any]) -> None:
    if "history" in told:
        out.print(f"{told['history']['revisions']} revisions in {told['history']['file']}", markup=False)
    if "backup" in told:
        out.print(f"database and {told['backup']['masks']} masks in {told['backup']['folder']}", markup=False)
    if "verify" in told:
        found = told["verify"]
        for note in found["notes"]:
            out.print(f"note: {note}", markup=False)
        counts = f"{found['events']} events, {found['revisions']} revisions, {found['masks']} masks"
        number = len(found["faults"])
        wrong = f"{number} fault{'s' * (number != 1)}" if number else "all whole"
        out.print(f"{counts}: {wrong}; newest event {found['last']}", markup=False, soft_wrap=True)


def show_simulation(cohort: Path, truth: Path, folder: Path, *, as_json: bool) -> None:
    """Replay a perfect reviewer; a table, and files in the folder."""
    from smiler.domain.cohort import Cohort
    from smiler.evaluation.truth import Truth
    from smiler.experiments.review_simulation import LEVELS, ORDERS, simulate

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
