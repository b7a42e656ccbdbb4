"""The commands and their order in the help. Nothing heavy is imported before a command runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from smiler.cli import cohorts, networks, reports, review


class _Commands(TyperGroup):
    """Commands whose complaints about words show them as text: a name that a shell put there may steer a terminal."""

    def make_context(self, *words: Any, **more: Any) -> Any:
        """As every group does."""
        with _complaints_in_plain_text():
            return super().make_context(*words, **more)

    def invoke(self, ctx: Any) -> Any:
        """As every group does."""
        with _complaints_in_plain_text():
            return super().invoke(ctx)


@contextmanager
def _complaints_in_plain_text() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message") and isinstance(getattr(error, "message", None), str):
            from smiler.cli.console import plain

            error.message = plain(error.message)  # type: ignore[attr-defined]
        raise


app = typer.Typer(
    name="smiler",
    cls=_Commands,
    help="Train organ segmentation on CT cohorts in which every volume is only partly annotated, complete the missing "
    "annotations, and report honestly.\n\nBegin with: smiler demo",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

app.command()(reports.demo)
app.command("import")(cohorts.import_)
app.command()(cohorts.audit)
app.command()(networks.plan)
app.command()(networks.train)
app.command()(networks.relabel)
app.command()(review.review)
app.command()(networks.predict)
app.command()(networks.evaluate)
app.command()(cohorts.export)
app.command()(reports.sweep)
app.command()(reports.report)
app.command()(cohorts.phantom)
app.command()(cohorts.hide)
app.command()(reports.methods)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from smiler.domain.provenance import tool_version

        typer.echo(f"smiler {tool_version()}")
        raise typer.Exit

    from smiler.workers.memory import check_limit

    check_limit()
