"""Commands that show: demo, report, methods."""

from pathlib import Path
from typing import Annotated

import typer

from smiler.cli.cohorts import CohortArgument, Json


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
    from smiler.workers.cores import usual_jobs

    options = DemoOptions(seed=seed, steps=steps, jobs=jobs or usual_jobs())
    summary = run_demo(out, options, Bars(quiet=as_json))
    if as_json:
        print_json(summary)
    else:
        show(summary, out, console)


def sweep(  # noqa: PLR0913  a comparison has many sides
    cohort: CohortArgument,
    out: Annotated[Path, typer.Argument(help="Folder to make, or to go on in.", metavar="OUT")],
    alphas: Annotated[str, typer.Option(help="Shares of annotations to hide.")] = "0,.3,.5,.7,.9",
    arms: Annotated[
        str, typer.Option("--methods", "-m", help="Arms, separated by commas, or all; see: smiler methods.")
    ] = "",
    folds: Annotated[int, typer.Option(min=2, help="Folds, by patient.")] = 5,
    run_folds: Annotated[int | None, typer.Option(min=1, help="Run only so many of them.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds; each hides, draws and initialises anew.")] = "0",
    validation: Annotated[float, typer.Option(min=0, max=0.5, help="Share of training patients that choose.")] = 0.1,
    organs: Annotated[str, typer.Option(help="Only these organs, separated by commas.")] = "",
    recipe: Annotated[Path | None, typer.Option("--recipe", "-r", help="TOML with options for every arm.")] = None,
    change: Annotated[list[str] | None, typer.Option("--set", "-s", help="One option for every arm.")] = None,
    steps: Annotated[int | None, typer.Option(min=10, help="Training steps of every arm.")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Trainings side by side.")] = None,
    budget: Annotated[float | None, typer.Option(min=0.1, help="Minutes of training in all; lowers the steps.")] = None,
    ray: Annotated[
        str, typer.Option(metavar="local|auto|ADDRESS", help="Spread trainings with Ray: here, or over its machines.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Compare arms over the share of missing annotations: same folds, steps, slices and test for all.

    The cohort must be completely annotated; killed or called again, it goes on. Example: smiler sweep my-phantom
    sweeps/first --alphas .5,.9 --methods full,baseline,smile,smiler --budget 60
    """
    from smiler.cli.cohorts import split
    from smiler.cli.console import Bars, print_json
    from smiler.cli.console import out as console
    from smiler.cli.sweep_view import numbers, show, whole_numbers
    from smiler.domain.cohort import Cohort
    from smiler.domain.errors import CheckFailed
    from smiler.experiments.arms import ARMS
    from smiler.experiments.results import write_results
    from smiler.experiments.sweep import USUAL, SweepOptions, run_sweep

    options = SweepOptions(
        arms=tuple(ARMS) if arms == "all" else split(arms) or USUAL,
        alphas=numbers(alphas, "--alphas"),
        folds=folds,
        run_folds=run_folds,
        seeds=whole_numbers(seeds, "--seeds"),
        validation=validation,
        organs=split(organs),
        recipe=recipe,
        changes=(*(change or ()), *((f"training.steps={steps}",) if steps else ())),
        jobs=jobs,
        budget_minutes=budget,
        ray=ray,
    )
    done = run_sweep(Cohort.open(cohort), out, options, Bars(quiet=as_json))
    summary = write_results(done)
    if as_json:
        print_json(summary)
    else:
        show(summary, out, console)
    if done.failed:
        names = "\n".join(f"{path}: {text}" for path, text in done.failed.items())
        raise CheckFailed(f"{len(done.failed)} trials failed; call again to run them once more\n{names}")


def report(
    folder: Annotated[Path, typer.Argument(help="Run, demo or results folder.", metavar="DIR")],
    as_json: Json = False,
) -> None:
    """Write DIR/report.html: one self-contained page with figures and tables.

    Example: smiler report runs/first
    """
    from smiler.cli.console import out as console
    from smiler.cli.console import print_json
    from smiler.domain.locks import claiming
    from smiler.report.report import write_report

    with claiming(folder):
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
