"""Commands that show: demo, report, methods."""

from pathlib import Path
from typing import Annotated

import typer

from smiler.cli.cohorts import Json


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make.")] = Path("demo"),
    steps: Annotated[int, typer.Option(min=10, help="Training steps of every arm.")] = 2800,
    jobs: Annotated[int | None, typer.Option(min=1, help="Trainings side by side; else by the cores.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other patients.")] = 0,
    as_json: Json = False,
) -> None:
    """See it work: a synthetic cohort loses 70 % of its annotations, four networks learn from what is left.

    Minutes on two CPU cores. Example: smiler demo --out demo
    """
    from smiler.cli.console import Bars, print_json
    from smiler.cli.console import out as console
    from smiler.cli.demo_view import show
    from smiler.experiments.demo import DemoOptions, run_demo
    from smiler.experiments.jobs import usual_jobs

    options = DemoOptions(seed=seed, steps=steps, jobs=jobs or usual_jobs())
    summary = run_demo(out, options, Bars(quiet=as_json))
    if as_json:
        print_json(summary)
    else:
        show(summary, out, console)


def report(
    folder: Annotated[Path, typer.Argument(help="Run, demo or results folder.", metavar="DIR")],
    as_json: Json = False,
) -> None:
    """Write DIR/report.html: one self-contained page with figures and tables.

    Example: smiler report runs/first
    """
    from smiler.cli.console import out as console
    from smiler.cli.console import print_json
    from smiler.report.report import write_report

    path = write_report(folder)
    if as_json:
        print_json({"report": str(path)})
    else:
        console.print(f"report: {path}")


def methods(
    options: Annotated[bool, typer.Option("--options", help="Every option with its default and meaning.")] = False,
    method: Annotated[str, typer.Option("--method", "-m", help="Whose defaults to show with --options.")] = "smiler",
    as_json: Json = False,
) -> None:
    """What can be chosen, and what it means.

    Example: smiler methods --options
    """
    from smiler.cli.console import out as console
    from smiler.cli.console import print_json
    from smiler.cli.method_view import describe, show

    if as_json:
        print_json(describe(method))
    else:
        show(method, console, with_options=options)
