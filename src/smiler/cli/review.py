"""The command `review`: serve the page, or check, copy or export what was reviewed."""

from pathlib import Path
from typing import Annotated

import typer

from smiler.cli.cohorts import CohortArgument, Json


def review(  # noqa: PLR0913  how to serve, for whom, or what else to do with the ledger
    cohort: CohortArgument,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 0,
    allow_remote: Annotated[bool, typer.Option("--allow-remote", help="Listen beyond this machine.")] = False,
    reviewer: Annotated[str, typer.Option(help="Your name in the history; else your login.")] = "",
    users: Annotated[Path | None, typer.Option(help="File with one reviewer's name a line.")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    page: Annotated[Path | None, typer.Option(hidden=True, help="Folder of another page.")] = None,
    as_json: Json = False,
) -> None:
    """Review proposals in the browser: accept, correct, reject, mark absent; cases.csv follows each decision.

    Example: smiler review completed
    """
    from smiler.cli.console import Bars
    from smiler.cli.review_view import announce, names
    from smiler.review.desk import at_desk
    from smiler.review.server.page import BUILT
    from smiler.review.server.run import ServeOptions, serve

    reviewers = names(host, reviewer, users, allow_remote=allow_remote)
    options = ServeOptions(host, port, reviewers, page or BUILT)
    with at_desk(cohort, Bars(quiet=as_json).note) as desk:
        serve(desk, options, lambda urls: announce(urls, as_json=as_json, browser=not no_browser))
