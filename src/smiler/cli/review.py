"""The command `review`: serve the page, or check, copy or export what was reviewed."""

from pathlib import Path
from typing import Annotated

import typer

from smiler.cli.cohorts import CohortArgument, Json
from smiler.review.repeats import SHARE


def review(  # noqa: PLR0913  how to serve, for whom, or what else to do with the ledger
    cohort: CohortArgument,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: the cohort's usual one, or any that is free.")] = 0,
    allow_remote: Annotated[bool, typer.Option("--allow-remote", help="Listen beyond this machine.")] = False,
    public_url: Annotated[
        str, typer.Option(help="Address under which a proxy makes the page known, as https://review.example.org.")
    ] = "",
    reviewer: Annotated[str, typer.Option(help="Your name in the history; else your login.")] = "",
    users: Annotated[Path | None, typer.Option(help="File with one reviewer's name a line.")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    monailabel: Annotated[
        bool, typer.Option("--monailabel", help="Let 3D Slicer's MONAI Label extension connect, too.")
    ] = False,
    repeats: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of decided proposals that come a second time, unannounced."),
    ] = SHARE,
    verify: Annotated[bool, typer.Option("--verify", help="Check history, masks and cases.csv, then end.")] = False,
    undo_edit: Annotated[
        bool,
        typer.Option(
            "--undo-edit",
            help="Take back the newest edit of cases.csv that changed decisions, then end; on the page: Undo.",
        ),
    ] = False,
    backup: Annotated[Path | None, typer.Option(help="Copy database and masks into a folder, then end.")] = None,
    sign_out_all: Annotated[
        bool, typer.Option("--sign-out-all", help="Renew the key that signs sign-ins: everybody signs in again; end.")
    ] = False,
    history: Annotated[Path | None, typer.Option(help="Write every revision to a CSV file, then end.")] = None,
    simulate: Annotated[
        Path | None,
        typer.Option(help="The same cases fully annotated: what would the queue's order save a perfect reviewer?"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for what --simulate finds.")] = Path("simulation"),
    page: Annotated[Path | None, typer.Option(hidden=True, help="Folder of another page.")] = None,
    as_json: Json = False,
) -> None:
    """Review proposals in the browser: accept, correct, reject, mark absent; cases.csv follows each decision.

    Example: smiler review completed
    """
    from smiler.cli import review_view

    if undo_edit:
        review_view.undo_edit(cohort, reviewer, as_json=as_json)
        return
    if verify or backup is not None or history is not None:
        review_view.look_after(cohort, backup, history, verify=verify, as_json=as_json)
        return
    if sign_out_all:
        review_view.sign_out_all(cohort, as_json=as_json)
        return
    if simulate is not None:
        review_view.show_simulation(cohort, simulate, out, as_json=as_json)
        return
    where = review_view.Where(host, port, page, not no_browser, as_json, monailabel, repeats, public_url)
    reviewers = review_view.names(where, reviewer, users, allow_remote=allow_remote)
    review_view.serve_page(cohort, where, reviewers)
