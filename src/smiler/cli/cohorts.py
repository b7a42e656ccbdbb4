"""Commands about cohorts: phantom, import, audit, hide."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from smiler.cli.spread import Jobs, Ray, chosen

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Change = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="How files are read: reading.detilt=true, labels.overlap=first."),
]
CohortArgument = Annotated[Path, typer.Argument(help="Folder with cohort.toml and cases.csv.", metavar="COHORT")]


def phantom(
    cohort: Annotated[Path, typer.Argument(help="Folder to make.", metavar="COHORT")],
    cases: Annotated[int, typer.Option("--cases", "-n", min=1, max=100000, help="How many volumes.")] = 24,
    size: Annotated[str, typer.Option(help="Voxels as ZxYxX.")] = "40x128x128",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other patients.")] = 0,
    as_json: Json = False,
) -> None:
    """Make a synthetic, completely annotated cohort.

    Example: smiler phantom my-phantom --cases 12 --size 32x96x96
    """
    from smiler.cli.console import Bars, out, print_json
    from smiler.experiments.phantom_cohort import make_phantom_cohort, parse_size

    made = make_phantom_cohort(cohort, cases, parse_size(size), seed, Bars(quiet=as_json))
    if as_json:
        print_json({"cohort": str(cohort), "cases": len(made), "organs": list(made.organs.keys)})
    else:
        out.print(f"{len(made)} synthetic cases with {len(made.organs)} organs in {cohort}")


def import_(  # noqa: PLR0913  one option each for what a layout can't say itself
    source: Annotated[Path, typer.Argument(help="Data set folder; it stays where it is and as it is.")],
    cohort: Annotated[Path, typer.Argument(help="Cohort folder to make or to merge into.", metavar="COHORT")],
    format_name: Annotated[
        str | None,
        typer.Option("--format", "-f", help="Layout of the source; see: smiler methods; else detected."),
    ] = None,
    absent_means: Annotated[
        str, typer.Option(help="A label without any voxel in a case means: absent, unannotated, or ask.")
    ] = "ask",
    taken_as: Annotated[
        str,
        typer.Option("--as", help="The masks are by: expert (drawn or accepted), proposals (a program's), or ask."),
    ] = "ask",
    organs: Annotated[str, typer.Option(help="Import only these organs, separated by commas.")] = "",
    image: Annotated[Path | None, typer.Option(help="folder format: image file or folder of images.")] = None,
    labelmap: Annotated[Path | None, typer.Option(help="folder format: label map file or folder of them.")] = None,
    labels: Annotated[
        str, typer.Option(help="folder format: totalsegmentator-v2, btcv, ..., FILE.toml or 5=liver,1=spleen.")
    ] = "",
    mask: Annotated[list[str] | None, typer.Option(help="folder format: ORGAN=PATH of masks; repeatable.")] = None,
    prefix: Annotated[str, typer.Option(help="Goes before every case id of this source.")] = "",
    automatic_means: Annotated[
        str, typer.Option(help="DICOM segments that a program drew are: auto (proposals) or annotated.")
    ] = "auto",
    unreadable: Annotated[
        str, typer.Option(help="Cases whose CT can't be read: refuse (nothing is imported), or leave-out.")
    ] = "refuse",
    off_grid: Annotated[
        str,
        typer.Option(help="Masks of another size than their CT: refuse, or keep for audit --fix-geometry."),
    ] = "refuse",
    same_organ: Annotated[
        str, typer.Option(help="Several DICOM segments or ROIs of one organ: refuse, or unite.")
    ] = "refuse",
    patient_pattern: Annotated[
        str | None, typer.Option(help="Regular expression whose group finds the patient in a case id.")
    ] = None,
    synonyms: Annotated[Path | None, typer.Option(help="TOML with your own organ names.")] = None,
    change: Change = None,
    as_json: Json = False,
) -> None:
    """Import a data set in place; several calls merge into one cohort.

    Example: smiler import Task09_Spleen my-cohort
    """
    import sys

    from smiler.cli.console import print_json
    from smiler.cli.importing import import_asking
    from smiler.formats.numbering import label_table

    values: dict[str, Any] = {
        "absent_means": absent_means,
        "taken_as": taken_as,
        "organs": split(organs),
        "labels": label_table(labels) if labels else {},
        "images": image,
        "labelmaps": labelmap,
        "masks": _pairs(mask or []),
        "patient_pattern": patient_pattern,
        "synonyms": synonyms,
        "prefix": prefix,
        "automatic_means": automatic_means,
        "unreadable": unreadable,
        "off_grid": off_grid,
        "same_organ": same_organ,
        "reading": _reading(change)[0],
    }
    report = import_asking(source, cohort, values, format_name, ask=sys.stdin.isatty() and not as_json)
    if as_json:
        print_json(
            {
                "added": list(report.added),
                "organs_added": list(report.organs_added),
                "notes": list(report.notes),
                "conflicts": list(report.conflicts),
            }
        )


def audit(  # noqa: PLR0913  what to read, where to write, in how many processes
    cohort: CohortArgument,
    deep: Annotated[bool, typer.Option("--deep", help="Also read every CT voxel.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for report.html, coverage.png and audit.json.")
    ] = None,
    fix_geometry: Annotated[
        str,
        typer.Option(help="Masks off the CT's grid: copy its header, or resample; new files in COHORT/fixed."),
    ] = "",
    change: Change = None,
    jobs: Jobs = None,
    ray: Ray = "",
    as_json: Json = False,
) -> None:
    """Coverage matrix, what the loss will see per organ, and every fault at once. Exit code 1 on faults.

    Example: smiler audit my-cohort --out audit
    """
    from smiler.audit.audit import AuditOptions, audit_cohort
    from smiler.cli.audit_view import show
    from smiler.cli.console import Bars, print_json
    from smiler.cli.console import out as console
    from smiler.domain.cohort import Cohort
    from smiler.domain.files import write_json
    from smiler.domain.locks import claiming
    from smiler.domain.remote import local
    from smiler.report.inputs import Audit as Inputs
    from smiler.report.matrix import save_matrix
    from smiler.report.report import write_report

    bars, (reading, labels) = Bars(quiet=as_json), _reading(change)
    if fix_geometry:
        _fix(cohort, fix_geometry, bars)
    options = AuditOptions(deep=deep, reading=reading, labels=labels)
    with nullcontext() if out is None else claiming(local(out, "the audit's page")):
        found = audit_cohort(Cohort.open(cohort), options, bars, chosen(jobs, ray))
        if out is not None:
            write_json(out / "audit.json", found.to_json())
            save_matrix(Inputs.model_validate(found.to_json()), out / "coverage.png")
            bars.note(f"page: {write_report(out)}")
    if as_json:
        print_json(found.to_json())
    else:
        show(found, console)
    if not found.ok:
        raise typer.Exit(1)


def export(  # noqa: PLR0913  one option each for what the layouts leave open
    cohort: CohortArgument,
    out: Annotated[Path, typer.Argument(help="Folder to make.", metavar="OUT")],
    kind: Annotated[str, typer.Option("--format", "-f", help="What to write; see: smiler methods.")] = "nnunet",
    include: Annotated[
        str, typer.Option(help="expert: drawn by experts; accepted: and accepted proposals; all: and the others.")
    ] = "accepted",
    organs: Annotated[str, typer.Option(help="Only these organs, separated by commas.")] = "",
    copy_images: Annotated[bool, typer.Option("--copy-images", help="Copy CT files instead of linking.")] = False,
    layout: Annotated[str, typer.Option("--data-sets", help="nnunet: auto, one or per-organ.")] = "auto",
    change: Change = None,
    as_json: Json = False,
) -> None:
    """Write a cohort as other tools read it; an import brings it back exactly.

    Example: smiler export my-cohort nnUNet_raw --format nnunet
    """
    from typing import cast

    from smiler.cli.console import Bars, print_json
    from smiler.cli.console import out as console
    from smiler.domain.cohort import Cohort
    from smiler.export.export import export as export_cohort
    from smiler.export.nnunet import Layout
    from smiler.export.pieces import ExportRequest, Include

    request = ExportRequest(out, cast(Include, include), split(organs), copy_images, *_reading(change))
    done = export_cohort(Cohort.open(cohort), kind, request, cast(Layout, layout), Bars(quiet=as_json))
    if as_json:
        folders = [str(folder) for folder in done.folders]
        print_json(
            {"folder": str(done.folder), "data_sets": folders, "cases": list(done.cases), "notes": list(done.notes)}
        )
        return
    for note in done.notes:
        console.print(f"lost: {note}")
    inside = f", as {', '.join(folder.name for folder in done.folders)}" if done.folders != (done.folder,) else ""
    console.print(f"{len(done.cases)} cases in {done.folder}{inside}")


def hide(
    cohort: CohortArgument,
    out: Annotated[Path, typer.Argument(help="Folder to make: OUT/cohort to train on, OUT/truth sealed.")],
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Share of annotations to hide, per organ.")] = 0.7,
    seed: Annotated[int, typer.Option(min=0, help="The same seed hides nested sets for every alpha.")] = 0,
    as_json: Json = False,
) -> None:
    """Hide annotations of a completely annotated cohort; the truth is sealed apart.

    Example: smiler hide my-cohort hidden --alpha 0.7
    """
    from smiler.cli.console import Bars, print_json
    from smiler.cli.console import out as console
    from smiler.domain.cohort import Cohort
    from smiler.experiments.hide import hide as hide_cohort

    hidden = hide_cohort(Cohort.open(cohort), out, alpha, seed, Bars(quiet=as_json))
    kept = {key: round(1 - hidden.missing_share(key), 4) for key in hidden.organs.keys}
    if as_json:
        print_json({"cohort": str(out / "cohort"), "truth": str(out / "truth"), "annotated_share": kept})
    else:
        console.print(f"{out / 'cohort'} keeps {', '.join(f'{k} {v:.0%}' for k, v in kept.items())}")
        console.print(f"{out / 'truth'} is sealed: only smiler evaluate opens it")


def _reading(changes: list[str] | None) -> tuple[Any, Any]:
    """How images and masks are read, checked as a recipe's options are."""
    from smiler.domain.errors import BadInput
    from smiler.formats.labels import LabelOptions
    from smiler.formats.volumes import ReadOptions

    if not changes:
        return ReadOptions(), LabelOptions()
    from smiler.recipe.recipe import load_recipe  # takes seconds: it knows the networks too

    for change in changes:
        if not change.startswith(("reading.", "labels.")):
            do = "see smiler methods --options"
            raise BadInput("only options under reading and labels are of use here", where="--set", got=change, do=do)
    recipe = load_recipe("smile", None, changes)
    return recipe.reading, recipe.labels


def _fix(cohort: Path, how: str, bars: Any) -> None:
    from typing import cast

    from smiler.audit.fix import How, fix_geometry
    from smiler.domain.cohort import Cohort

    for row in fix_geometry(Cohort.open(cohort), cast(How, how), progress=bars):
        bars.note(f"case {row.case}: {row.source} is now {row.path}: {row.note}")


def split(text: str) -> tuple[str, ...]:
    """A list written with commas; an empty text is none. BadInput for commas alone: none is not all."""
    from smiler.domain.errors import BadInput

    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if text and not parts:
        raise BadInput("the list names nothing", where="options", got=repr(text), do="name something, or leave it out")
    return parts


def _pairs(texts: list[str]) -> dict[str, Path]:
    from smiler.domain.errors import BadInput

    pairs = {}
    for text in texts:
        name, sign, path = text.partition("=")
        if not (name and sign and path):
            raise BadInput("not a mask folder", where="--mask", got=repr(text), do="write --mask liver=masks/liver")
        pairs[name] = Path(path)
    return pairs
