"""`report.html`: everything that a folder holds of a cohort, a run or a comparison, on one page without scripts.

| input in the folder | section |
|---|---|
| `summary.json` | headline, relabelling |
| `audit.json` | who annotated what, what the loss sees |
| `validation/scores.csv` | the same of what a run, or each run of a training in folds, held out |
| `scores.csv` | Dice, NSD, HD95 by organ and arm; differences |
| `tables/*.csv`, `uncertainty.json` | a sweep: Dice over the share of missing annotations, relabelling, calibration |
| `overlays.npz`, `rounds.npz` | CT slices with contours, by arm and by round |
| `events.jsonl`, `runs/*/events.jsonl`, `fold_*/events.jsonl` | training curves |
| `recipe.toml`, `folds.json`, `provenance.json` | shown as they are |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from smiler.domain.files import read_json, write_text
from smiler.domain.signpost import instead
from smiler.evaluation.scores import WARNING
from smiler.evaluation.statistics import FEW, Interval
from smiler.report import coverage, overlays
from smiler.report.comparison import Comparison, read_comparison
from smiler.report.coverage import Cover, make_cover
from smiler.report.curves import Relabelling, draw_curves, make_relabelling, read_curves
from smiler.report.headline import Headline, make_headline
from smiler.report.inputs import Audit, Summary, read_model, read_text
from smiler.report.names import Organs, arm_title
from smiler.report.overlays import Overlays, make_overlays, read_stack
from smiler.report.scorebook import Scorebook, anchor_of, make_scorebooks, organ_title, read_scores

INPUTS = (
    "summary.json",
    "audit.json",
    "scores.csv",
    "validation/scores.csv",
    "overlays.npz",
    "tables/points.csv",
    "events.jsonl",
    "runs/*/events.jsonl",
    "fold_*/events.jsonl",
)


@dataclass(frozen=True)
class Page:
    """The sections; None or empty where the folder holds nothing for one."""

    name: str
    organs: Organs
    headline: Headline | None
    cover: Cover | None
    scores: Sequence[Scorebook]
    overlays: Overlays | None
    relabelling: Relabelling | None
    comparison: Comparison | None
    rounds: Overlays | None
    curves: Sequence[Markup]
    sources: Sequence[tuple[str, str]]


def write_report(folder: Path) -> Path:
    """Write `folder/report.html` from what is in the folder and return its path.

    The same inputs give the same page. Raises BadInput naming the file when one can't be used or none is there.
    """
    path = folder / "report.html"
    write_text(path, render(read_page(folder)))
    return path


def read_page(folder: Path) -> Page:
    """Read and check every input, then compute what the page shows."""
    if not any(found for pattern in INPUTS for found in folder.glob(pattern)):
        raise instead("nothing to report", folder, do=f"give a folder with one of {', '.join(INPUTS)}")
    audit = read_model(folder / "audit.json", Audit)
    summary = read_model(folder / "summary.json", Summary)
    arms, held_out = read_scores(folder / "scores.csv"), read_scores(folder / "validation" / "scores.csv")
    stack = read_stack(folder / "overlays.npz")
    rounds = read_stack(folder / "rounds.npz")
    curves, sources = read_curves(folder), _sources(folder)
    titles = summary.organs if summary else {}
    organs = Organs(audit.organs, audit.titles) if audit else Organs(tuple(titles), titles)
    scores = make_scorebooks(arms, organs) if arms else []
    validation = make_scorebooks(held_out, organs, held_out=True) if held_out else []
    return Page(
        name=folder.resolve().name,
        organs=organs,
        headline=make_headline(summary, scores[0] if scores else None) if summary else None,
        cover=make_cover(audit, organs) if audit else None,
        scores=[*scores, *validation],
        overlays=make_overlays(stack, organs) if stack else None,
        relabelling=make_relabelling(summary.relabel, organs) if summary and summary.relabel else None,
        comparison=read_comparison(folder, organs),
        rounds=make_overlays(rounds, organs) if rounds else None,
        curves=draw_curves(curves),
        sources=sources,
    )


def render(page: Page) -> str:
    """The page as HTML; every text of the user's is escaped."""
    return _template().render(page=page, css=Markup(_packaged("report.css")))


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals.update(
        arm_title=arm_title,
        organ_title=organ_title,
        statuses=coverage.MEANINGS,
        few=FEW,
        score_id=_score_id,
        trained_warning=WARNING,
        glyph=coverage.glyph,
        learned_by=("smile", "ignore-volume"),
        window=(overlays.LEVEL_HU, overlays.WIDTH_HU),
    )
    environment.filters.update(number=_number, percent=_percent, p_value=_p_value, span=_span, optional=_optional)
    return environment.from_string(_packaged("template.html.j2"))


def _packaged(name: str) -> str:
    return resources.files("smiler.report").joinpath(name).read_text(encoding="utf-8")


def _sources(folder: Path) -> list[tuple[str, str]]:
    """The recipe and the provenance as they are; the latter must be JSON."""
    if (folder / "provenance.json").exists():
        read_json(folder / "provenance.json")
    texts = [(name, read_text(folder / name)) for name in ("recipe.toml", "folds.json", "provenance.json")]
    return [(name, text) for name, text in texts if text is not None]


def _score_id(book: Scorebook, first: bool) -> str:
    """The section's id: `scores`, and of a second kind `scores-yes` or `scores-held-no`."""
    return "scores" if first else f"scores-{anchor_of(book.learned, held_out=book.held_out)}"


DASH = "–"


def _number(value: float | None, digits: int = 1, sign: str = "") -> str:
    """A number with a real minus sign and thousands apart; – where there is none."""
    return DASH if value is None else f"{value:{sign},.{digits}f}".replace("-", "−")


def _span(interval: Interval | None, sign: str = "") -> str:
    """Low to high; – where there is no interval, as with one patient."""
    bounds = interval.bounds if interval else None
    return " to ".join(_number(bound, 1, sign) for bound in bounds) if bounds else DASH


def _optional(text: str) -> float | None:
    """A number of a table, None where its cell is empty."""
    return float(text) if text else None


def _percent(share: float | None) -> str:
    """A share as per cent, small ones with more digits; – where it is not known."""
    if share is None:
        return DASH
    if share == 0:
        return "0 %"
    value = 100 * share
    if value < 0.01:
        return "< 0.01 %"
    return f"{value:.2f} %" if value < 1 else f"{value:.1f} %" if value < 99.95 else f"{value:.0f} %"


def _p_value(value: float | None) -> str:
    """A p value; – where one patient is no test."""
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
