"""Small charts of one figure over runs, its bound a dashed line, as inline SVG in the colours of smiler's report."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from smiler.report.figures import STAND_INS, settings_in, to_svg

WIDTH, HEIGHT = 300, 130
"""CSS pixels."""
MACHINES = ("smile", "smiler", "other", "baseline", "full")
"""A colour of report.css for each machine, in the order in which they come; after the fifth again from the first."""


@dataclass(frozen=True)
class Chart:
    """A figure of each run (None: not measured), the run's machine, and the bound."""

    title: str
    values: Sequence[float | None]
    machines: Sequence[str]
    bound: float


def colour_of(machine: str, machines: Sequence[str]) -> str:
    """The name of a machine's colour."""
    return MACHINES[list(dict.fromkeys(machines)).index(machine) % len(MACHINES)]


def draw(chart: Chart, name: str) -> Markup:
    """One line a machine over the runs' numbers; a run that was not measured is a gap with a cross at the foot."""
    with matplotlib.rc_context(settings_in(STAND_INS)):  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72, layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(chart.bound, color=STAND_INS["ink"], lw=1, ls=(0, (4, 3)))
        for machine in dict.fromkeys(chart.machines):
            points = [(n, v) for n, v, own in _known(chart) if own == machine]
            colour = STAND_INS[colour_of(machine, chart.machines)]
            axes.plot([n for n, _ in points], [v for _, v in points], "o-", color=colour, lw=1.8, ms=6)
        lost = [n for n, value in enumerate(chart.values, start=1) if value is None]
        axes.plot(lost, [0.06] * len(lost), "x", color=STAND_INS["muted"], transform=axes.get_xaxis_transform())
        axes.set(xlim=(0.5, len(chart.values) + 0.5), ylim=_limits(chart))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="y")
        return to_svg(figure, name.replace(".", "-"), chart.title)


def _known(chart: Chart) -> list[tuple[int, float, str]]:
    rows = zip(range(1, len(chart.values) + 1), chart.values, chart.machines, strict=True)
    return [(number, value, machine) for number, value, machine in rows if value is not None]


def _limits(chart: Chart) -> tuple[float, float]:
    """Around all values and the bound, with some air."""
    values = [chart.bound, *(value for _, value, _ in _known(chart))]
    low, high = min(values), max(values)
    air = 0.25 * (high - low) or 0.02 * abs(high)
    return low - air, high + air
