"""Figures as inline SVG that follows the page: its text is text, its colours are the page's, light or dark.

Matplotlib knows no CSS variables, so a figure is drawn in stand-in colours, which are replaced afterwards. Panels are
small, so that they stand side by side on a screen and one under the other on a phone.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smiler.evaluation.statistics import Interval

STAND_INS: dict[str, str] = {
    "ink": "#0a0001",
    "muted": "#0a0002",
    "grid": "#0a0003",
    "baseline": "#0a0004",
    "smile": "#0a0005",
    "smiler": "#0a0006",
    "full": "#0a0007",
    "other": "#0a0008",
}
"""Names of the variables in report.css, and the colour that stands for each while Matplotlib draws."""

WIDTH, LABEL = 420, 15
"""Width of a panel, and height of a label, in CSS pixels."""


def settings_in(paint: Mapping[str, str]) -> dict[str, object]:
    """Matplotlib's settings for a figure in these colours."""
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "smiler",
        "text.parse_math": False,
        "font.size": 12,
        "axes.titlesize": 13,
        "axes.titlelocation": "left",
        "axes.labelsize": 12,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "text.color": paint["ink"],
        "axes.titlecolor": paint["ink"],
        "axes.edgecolor": paint["muted"],
        "axes.labelcolor": paint["muted"],
        "xtick.color": paint["muted"],
        "ytick.color": paint["muted"],
        "xtick.labelcolor": paint["ink"],
        "ytick.labelcolor": paint["ink"],
        "grid.color": paint["grid"],
    }


_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


@dataclass(frozen=True)
class Dot:
    """One row of a dot panel: a mean with its interval, and the patients behind it."""

    label: str
    style: str
    interval: Interval
    patients: Sequence[float]


@dataclass(frozen=True)
class DotPanel:
    """Means with whiskers, one row each, on one axis with the unit in its label."""

    title: str
    xlabel: str
    rows: Sequence[Dot]
    limits: tuple[float, float] | None = None
    signed: bool = False


@dataclass(frozen=True)
class Line:
    """One line with its label at its end."""

    label: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class LinePanel:
    """Lines over rounds with the label at the end of each, values from 0 to 1."""

    title: str
    ylabel: str
    lines: Sequence[Line]
    ticks: Mapping[int, str]


@dataclass(frozen=True)
class Curve:
    """A training curve: loss against steps, and where each later stage begins."""

    title: str
    style: str
    x: Sequence[float]
    y: Sequence[float]
    stages: Mapping[float, str]


def draw_dots(panel: DotPanel, name: str) -> Markup:
    """Dots with whiskers over faint patients; mean and n printed at the right."""
    with _panel(44 + 26 * len(panel.rows) + 40) as (figure, axes):
        for place, row in enumerate(panel.rows):
            colour = STAND_INS[row.style]
            interval = row.interval
            axes.plot(row.patients, [place] * len(row.patients), "o", color=colour, ms=5, mew=0, alpha=0.28)
            if interval.bounds:
                axes.plot(interval.bounds, [place, place], color=colour, lw=2.2, solid_capstyle="butt")
            axes.plot([interval.mean], [place], "o", color=colour, ms=8, mew=0)
            text = f"{interval.mean:{'+' if panel.signed else ''}.1f}\N{NO-BREAK SPACE} n={interval.n}"
            axes.text(1.03, place, text.replace("-", "−"), transform=axes.get_yaxis_transform(), va="center")
        if panel.signed:
            axes.axvline(0, color=STAND_INS["ink"], lw=1)
        axes.set_yticks(range(len(panel.rows)), [shortened(row.label, 22) for row in panel.rows])
        axes.set(ylim=(len(panel.rows) - 0.5, -0.5), xlabel=panel.xlabel, title=shortened(panel.title, 44))
        if panel.limits:
            axes.set_xlim(*panel.limits)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        return to_svg(figure, name, panel.title)


def draw_lines(panel: LinePanel, name: str) -> Markup:
    """Lines from 0 to 1 over a few rounds, each labelled at its end."""
    height = max(250, 90 + LABEL * len(panel.lines))
    with _panel(height) as (figure, axes):
        ends = _spread([line.y[-1] for line in panel.lines], LABEL / (height - 80))
        for line, end in zip(panel.lines, ends, strict=True):
            axes.plot(line.x, line.y, "o-", color=line.colour, lw=2.2, ms=6)
            axes.text(1.02, end, shortened(line.label, 18), transform=axes.get_yaxis_transform(), va="center")
            axes.plot([1.0], [end], "o", color=line.colour, ms=5, transform=axes.get_yaxis_transform(), clip_on=False)
        axes.set_xticks(list(panel.ticks), list(panel.ticks.values()))
        axes.set(ylim=(0, 1.02), xlim=(min(panel.ticks) - 0.25, max(panel.ticks) + 0.25))
        axes.set(ylabel=panel.ylabel, title=panel.title)
        axes.grid(axis="y")
        return to_svg(figure, name, panel.title)


def draw_curve(curve: Curve, name: str) -> Markup:
    """Loss against steps, a thin line where a round begins."""
    with _panel(210) as (figure, axes):
        axes.plot(curve.x, curve.y, color=STAND_INS[curve.style], lw=1.6)
        for start, label in curve.stages.items():
            axes.axvline(start, color=STAND_INS["muted"], lw=0.8, ls=(0, (3, 3)))
            axes.text(start, 1.0, f" {label}", transform=axes.get_xaxis_transform(), va="top", fontsize=11)
        axes.set(ylim=(0, None), xlim=(0, None), xlabel="step", ylabel="loss", title=shortened(curve.title, 44))
        axes.grid(axis="y")
        return to_svg(figure, name, curve.title)


def to_svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an inline <svg>. `name` sets its ids apart from other figures'; `label` is read aloud."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata=_NO_METADATA)
    text = stream.getvalue()
    body = text[text.index("<defs>") : text.rindex("</svg>")]
    body = re.sub(r"<style.*?</style>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r"font-family: [^;\"]*; ", "", body).replace("xlink:href", "href")
    body = re.sub(r'( id="| href="#|url\(#)', rf"\g<1>{name}-", body)
    for variable, colour in STAND_INS.items():
        body = body.replace(f": {colour}", f": var(--{variable})")
    width, height = (round(side * 72) for side in figure.get_size_inches())
    head = Markup('<svg class="chart" role="img" aria-label="{}" width="{}" height="{}" viewBox="0 0 {} {}">')
    return head.format(label, width, height, width, height) + Markup(body + "</svg>")  # Matplotlib escaped its texts


def shortened(text: str, most: int) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


@contextmanager
def _panel(height: int) -> Iterator[tuple[Figure, Axes]]:
    with matplotlib.rc_context(settings_in(STAND_INS)):  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, layout="constrained")
        yield figure, figure.add_subplot()


def _spread(places: Sequence[float], gap: float) -> list[float]:
    """The places, moved as little as they must be to stand `gap` apart (from the top down, then back inside)."""
    order = sorted(range(len(places)), key=lambda index: -places[index])
    moved = list(places)
    for above, below in pairwise(order):
        moved[below] = min(moved[below], moved[above] - gap)
    for below, above in pairwise(order[::-1]):
        floor = gap / 2 if below == order[-1] else moved[below]
        moved[below] = max(moved[below], floor)
        moved[above] = max(moved[above], moved[below] + gap)
    return moved
