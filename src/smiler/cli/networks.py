"""Commands around a network: train, predict, relabel, evaluate."""

from contextlib import nullcontext
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from smiler.cli.console import Bars
    from smiler.verbs.ensembles import FoldsFolder

from smiler.cli.cohorts import Change, CohortArgument, Json, split
from smiler.cli.spread import Jobs, Memory, Ray, chosen

RunArgument = Annotated[Path, typer.Argument(help="Run folder (or one of its checkpoint .json files).", metavar="RUN")]
AnyGreyValues = Annotated[
    bool, typer.Option("--any-grey-values", help="Take CT whose numbers are not HU as they are, instead of refusing.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


def plan(  # noqa: PLR0913  what the user has decided already
    cohort: CohortArgument,
    method: Annotated[str, typer.Option("--method", "-m", help="See: smiler methods.")] = "smiler",
    change: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="An option that you decide, as network.name=unet3d.")
    ] = None,
    organs: Annotated[str, typer.Option(help="Plan for these organs only, separated by commas.")] = "",
    time_budget: Annotated[float | None, typer.Option(min=0.01, help="Minutes that the training may take.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; else plan.toml in COHORT.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Where resampled volumes are kept.")] = None,
    as_json: Json = False,
) -> None:
    """Choose spacing, patch, context, batch and steps from the data and this machine, and say why.

    The choices are written as a recipe that you can edit; smiler train begins with it.

    Example: smiler plan my-cohort --time-budget 60
    """
    from smiler.cli.console import Bars, print_json
    from smiler.cli.console import out as console
    from smiler.cli.plan_view import show, to_json
    from smiler.domain.cohort import Cohort
    from smiler.verbs.plan import PlanRequest
    from smiler.verbs.plan import plan as run_plan

    request = PlanRequest(Cohort.open(cohort), method, _all_changes(change, organs), cache, time_budget, out)
    bars, path = Bars(quiet=as_json), request.path
    made = run_plan(request, bars)
    if as_json:
        print_json({**to_json(made), "plan": str(path), "notes": bars.notes})
    else:
        show(made, console)
        console.print(f"next: edit {path} if you like, then smiler train {cohort} RUN --method {method}")


def train(  # noqa: PLR0913  shortcuts for the options people change most
    cohort: CohortArgument,
    run: Annotated[Path, typer.Argument(help="Run folder to make.", metavar="RUN")],
    method: Annotated[str, typer.Option("--method", "-m", help="See: smiler methods.")] = "smiler",
    recipe: Annotated[Path | None, typer.Option("--recipe", "-r", help="TOML file with your own options.")] = None,
    change: Annotated[list[str] | None, typer.Option("--set", "-s", help="One option, as training.steps=500.")] = None,
    organs: Annotated[str, typer.Option(help="Train only these organs, separated by commas.")] = "",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps in all.")] = None,
    time_budget: Annotated[
        float | None, typer.Option(min=0.01, help="Minutes for steps and relabelling, and so how many steps.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Train so many runs: each patient validates one of them.")
    ] = None,
    fold: Annotated[int | None, typer.Option(min=0, help="Of the folds train only this one (0, 1, ...).")] = None,
    splits: Annotated[
        Path | None, typer.Option(help="Take the folds from a splits_final.json of nnU-Net or smiler.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped or killed.")] = False,
    planned: Annotated[
        bool, typer.Option("--plan/--no-plan", help="Begin with the cohort's plan; or with the method's numbers.")
    ] = True,
    cache: Annotated[Path | None, typer.Option(help="Where resampled volumes are kept.")] = None,
    as_json: Json = False,
) -> None:
    """Train a network on a partly annotated cohort.

    With --folds, RUN holds a run for each fold; predict takes them together, and steps and time are of one fold.

    Example: smiler train my-cohort runs/first --method smiler --time-budget 60
    """
    from smiler.cli.console import Bars, out, print_json
    from smiler.domain.cohort import Cohort
    from smiler.networks.device import is_first_process
    from smiler.verbs.ensembles import FoldsFolder
    from smiler.verbs.folds import FoldsRequest, train_folds
    from smiler.verbs.requests import RecipeChoice, train_request
    from smiler.verbs.train import train as run_training

    bars = Bars(quiet=as_json)
    changes = [*_all_changes(change, organs), *([f"training.steps={steps}"] if steps else [])]
    asked = RecipeChoice(method, recipe, tuple(changes), planned=planned)
    request = train_request(Cohort.open(cohort), run, asked, bars if is_first_process() else None)
    request = replace(request, cache=cache, resume=resume, budget_minutes=time_budget)
    if folds or splits or fold is not None or FoldsFolder(run).exists:
        _show_folds(train_folds(FoldsRequest(request, folds, splits, fold), bars), fold, bars)
        return
    done = run_training(request, bars)
    checkpoint = done.newest()
    if not is_first_process():
        return
    if as_json:
        told = {"run": str(run), "checkpoint": str(checkpoint.path), "model": checkpoint.model_hash}
        print_json({**told, "notes": bars.notes})
    else:
        out.print(f"trained: {checkpoint.path}")
        out.print(f"next: smiler relabel {run} {cohort} OUT, or smiler predict {run} IMAGE... --out DIR")


def _show_folds(folder: "FoldsFolder", fold: int | None, bars: "Bars") -> None:
    """What came out of all folds, or of one that is trained alone."""
    from smiler.cli.console import out, print_json
    from smiler.cli.score_view import show, to_json
    from smiler.networks.device import is_first_process
    from smiler.verbs.folds import validation
    from smiler.verbs.validation import validated

    if not is_first_process():
        return
    runs = folder.folds() if fold is None else [folder.fold(fold)]
    scores = validation(folder) if fold is None else validated(runs[0])
    if bars.quiet:
        found = [(run, run.newest()) for run in runs]
        each = [{"run": str(run.path), "checkpoint": str(c.path), "model": c.model_hash} for run, c in found]
        print_json({"run": str(folder.path), "folds": each, **to_json(scores or []), "notes": bars.notes})
        return
    for run in runs:
        out.print(f"trained: {run.newest().path}")
    show(scores or [], out)
    path = runs[0].path if fold is not None else folder.path
    out.print(f"every patient and organ: {path / 'validation' / 'scores.csv'}")
    out.print(f"next: smiler predict {path} IMAGE... --out DIR")


def predict(  # noqa: PLR0913  what to write is the user's choice
    run: RunArgument,
    images: Annotated[
        list[Path],
        typer.Argument(
            help="More runs, whose probabilities are averaged; then NIfTI files, DICOM folders or zips, cohorts.",
            metavar="[RUN...] IMAGE...",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the masks.")],
    organs: Annotated[str, typer.Option(help="Only these organs, separated by commas.")] = "",
    labelmap: Annotated[bool, typer.Option("--labelmap", help="One label map a case, not one mask an organ.")] = False,
    write: Annotated[
        str, typer.Option("--write", "-w", help="nifti, dicom-seg, rtstruct, separated by commas.")
    ] = "nifti",
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write probability maps.")] = False,
    largest_component: Annotated[
        bool, typer.Option("--largest-component", help="Keep only the largest piece of each organ.")
    ] = False,
    shifts: Annotated[
        int, typer.Option(min=0, max=4, help="Average with so many moved copies of the image; each takes as long.")
    ] = 0,
    any_grey_values: AnyGreyValues = False,
    device: Device = "auto",
    engine: Annotated[str, typer.Option(help="What runs the network; see: smiler methods.")] = "eager",
    change: Change = None,
    jobs: Jobs = None,
    ray: Ray = "",
    memory: Memory = None,
    as_json: Json = False,
) -> None:
    """Predict masks on each CT's own grid, with volumes in ml.

    Several runs, or a training in folds, predict together.

    Example: smiler predict runs/first ct.nii.gz --out masks
    """
    from smiler.cli.console import Bars, print_json
    from smiler.cli.console import out as console
    from smiler.domain.remote import place
    from smiler.domain.signpost import instead
    from smiler.prediction.options import PredictionOptions
    from smiler.verbs.ensembles import is_trained
    from smiler.verbs.predict import PredictRequest
    from smiler.verbs.predict import predict as run_prediction
    from smiler.verbs.requests import predict_request

    out, options = place(out), PredictionOptions(largest_component=largest_component, shifts=shifts)
    asked = PredictRequest(out, split(organs), labelmap, split(write), probabilities, options)
    places = [place(image) for image in images]
    more = list(takewhile(is_trained, places))
    if len(more) == len(places):
        raise instead("no image is given", places[-1])
    model, request = predict_request([run, *more], asked, device, engine, _changes(change, any_grey_values))
    spread, places = chosen(jobs, ray, model.gpus, memory), places[len(more) :]
    done = run_prediction(model, places, request, Bars(quiet=as_json), spread)
    if as_json:
        print_json({row.name: {"volumes_ml": row.volumes_ml, "notes": list(row.notes)} for row in done})
        return
    for row in done:
        console.print(f"{row.name}: " + ", ".join(f"{key} {ml:.1f} ml" for key, ml in row.volumes_ml.items()))
    console.print(f"masks and volumes.csv in {out}")


def relabel(  # noqa: PLR0913  how much is proposed, and by which rule
    run: RunArgument,
    cohort: CohortArgument,
    out: Annotated[Path, typer.Argument(help="Folder for the completed cohort.", metavar="OUT")],
    fraction: Annotated[float, typer.Option(min=0.01, max=1, help="Share of the predictions to propose.")] = 1.0,
    rule: Annotated[str, typer.Option(help="What ranks them; see: smiler methods.")] = "score",
    review_round: Annotated[
        bool, typer.Option("--round", help="For the review: proposals tell how unsure they are; OUT may be COHORT.")
    ] = False,
    any_grey_values: AnyGreyValues = False,
    device: Device = "auto",
    change: Change = None,
    jobs: Jobs = None,
    ray: Ray = "",
    memory: Memory = None,
    as_json: Json = False,
) -> None:
    """Complete a cohort: empty cells become auto: masks with their provenance. Expert cells stay as they are.

    Example: smiler relabel runs/first my-cohort completed
    """
    from smiler.cli.console import Bars, print_json
    from smiler.cli.console import out as console
    from smiler.domain.cells import Status
    from smiler.domain.cohort import Cohort
    from smiler.domain.remote import place
    from smiler.verbs.relabel import RelabelRequest
    from smiler.verbs.relabel import relabel as run_relabelling
    from smiler.verbs.requests import relabel_request

    out = place(out)
    asked = RelabelRequest(out, fraction, rule, review=review_round)
    model, request = relabel_request(run, asked, device, _changes(change, any_grey_values))
    spread = chosen(jobs, ray, model.gpus, memory)
    bars = Bars(quiet=as_json)
    completed = run_relabelling(model, Cohort.open(cohort), request, bars, spread)
    filled = {case.id: [key for key, cell in case.cells.items() if cell.auto] for case in completed}
    if as_json:
        print_json({"cohort": str(out), "proposed": filled, "notes": bars.notes})
        return
    for case in completed:
        empty = [key for key in model.organs.keys if case.status(key) is Status.UNANNOTATED and not case.cell(key).auto]
        told = [", ".join(filled[case.id]), f"nothing found of {', '.join(empty)}" if empty else ""]
        console.print(f"{case.id}: " + ("; ".join(text for text in told if text) or "nothing to complete"))
    console.print(f"completed cohort in {out}")


def evaluate(  # noqa: PLR0913  of what, against what, in how many processes
    predicted: Annotated[Path, typer.Argument(help="Run folder, or folder of masks.", metavar="RUN|DIR")],
    cohort: Annotated[Path, typer.Argument(help="Cohort (or sealed truth) to measure against.", metavar="COHORT")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for scores.csv; else RUN|DIR.")] = None,
    cases: Annotated[str, typer.Option(help="Only these cases, separated by commas.")] = "",
    any_grey_values: AnyGreyValues = False,
    device: Device = "auto",
    jobs: Jobs = None,
    ray: Ray = "",
    memory: Memory = None,
    as_json: Json = False,
) -> None:
    """Dice, NSD and HD95 per organ and patient, only where an expert annotated; n beside every mean.

    Means are over patients in whom the organ is present; where it is absent, false alarms are counted. What the network
    was trained on is told apart.

    Example: smiler evaluate runs/first hidden/truth
    """
    from smiler.cli.console import Bars, print_json
    from smiler.cli.console import out as console
    from smiler.cli.score_view import show, to_json
    from smiler.domain.errors import BadInput
    from smiler.domain.locks import claiming
    from smiler.domain.remote import place
    from smiler.evaluation.score_table import write_scores
    from smiler.evaluation.truth import Truth
    from smiler.verbs.ensembles import find_models, is_trained
    from smiler.verbs.evaluate import evaluate as run_evaluation

    truth, predicted = Truth.open(cohort), place(predicted)
    if cases:
        truth = Truth(truth.cohort.only(split(cases)))
    gpus = find_models([predicted], device).gpus if ray and is_trained(predicted) else 0.0
    path, spread, bars = place(out or predicted) / "scores.csv", chosen(jobs, ray, gpus, memory), Bars(quiet=as_json)
    with claiming(path.parent) if out or predicted.is_dir() else nullcontext():
        if path.is_dir():
            raise BadInput("a folder lies where the scores would", where=str(path), do="choose another one with --out")
        scores = run_evaluation(predicted, truth, device, bars, spread, any_grey_values=any_grey_values)
        write_scores(path, scores)
    if as_json:
        print_json({**to_json(scores), "notes": bars.notes})
    else:
        show(scores, console)
        console.print(f"every patient and organ: {path}")


def _all_changes(change: list[str] | None, organs: str) -> tuple[str, ...]:
    """Changes of the recipe, and the organs as one of them."""
    chosen = f"organs={list(split(organs))!r}".replace("'", '"')
    return (*(change or ()), *([chosen] if organs else ()))


def _changes(change: list[str] | None, any_grey_values: bool) -> list[str]:
    """The recipe's options that are read otherwise than in the run."""
    return [*(change or ()), *(["reading.grey_values=any"] if any_grey_values else [])]
