"""results/bench/report.html: every kept run of `make bench` beside the others and beside what it is held to.

    make bench-report

One page without scripts or outside files, in the looks of smiler's own report. What was not measured is said.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmarks.charts import Chart, colour_of, draw
from benchmarks.runs import FOLDER, Run, outcome_of, read_runs
from benchmarks.targets import TARGETS, Target, Verdict
from smiler.domain.errors import SmilerError
from smiler.domain.files import write_text

OTHERS = {
    "peers": ("peers.json", "make bench-peers"),
    "memory": ("memory.json", "make bench-memory"),
    "volumes": ("volumes.json", "make bench-volumes"),
    "audit": ("audit.json", "make bench-audit"),
}
"""Outcomes of the other benchmarks: file, and the command that makes it."""


@dataclass(frozen=True)
class Row:
    """A target, what each run says of it, and how the last one stands."""

    target: Target
    values: Sequence[float | None]
    verdict: Verdict
    chart: Markup

    @property
    def last(self) -> str:
        """The last run's figure in words."""
        value = self.values[-1]
        return Verdict.UNKNOWN.value if value is None else self.target.told(value)


@dataclass(frozen=True)
class Page:
    """What the template reads. `others`: outcomes of the other benchmarks, None where there is no file."""

    runs: Sequence[Run]
    rows: Sequence[Row]
    ratios: Sequence[tuple[str, Sequence[float | None]]]
    others: dict[str, dict[str, Any] | None]

    @property
    def last(self) -> Run:
        """The newest run."""
        return self.runs[-1]

    @property
    def machines(self) -> dict[str, str]:
        """Each machine with the name of its colour."""
        all_of_them = [run.machine for run in self.runs]
        return {machine: colour_of(machine, all_of_them) for machine in all_of_them}

    def standing(self, verdict: str) -> list[Row]:
        """Targets that stand so in the last run."""
        return [row for row in self.rows if row.verdict.value == verdict]


def read_page(folder: Path = FOLDER) -> Page:
    """Every outcome in the folder; BadInput where one can't be read, or no run is kept."""
    runs = read_runs(folder)
    others = {name: _if_there(folder / file) for name, (file, _) in OTHERS.items()}
    return Page(runs, [_row(target, runs) for target in TARGETS], _other_ratios(runs), others)


def _if_there(path: Path) -> dict[str, Any] | None:
    return outcome_of(path) if path.exists() else None


def _row(target: Target, runs: Sequence[Run]) -> Row:
    values = [run.value(target.group, target.key) for run in runs]
    chart = Chart(target.title, values, [run.machine for run in runs], target.bound)
    return Row(target, values, target.verdict(runs[-1]), draw(chart, f"{target.group}-{target.key}"))


def _other_ratios(runs: Sequence[Run]) -> list[tuple[str, list[float | None]]]:
    """Ratios that no target bounds."""
    bound = {target.key for target in TARGETS}
    keys = dict.fromkeys(key for run in runs for key in run.facts.get("ratios", {}) if key not in bound)
    return [(key, [run.value("ratios", key) for run in runs]) for key in keys]


def render(page: Page) -> str:
    """The page as HTML; every text is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = resources.files("smiler.report").joinpath("report.css").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(page=page, sources=OTHERS, css=Markup(css))


def main(folder: Path = FOLDER) -> None:
    """Write the page, or say in one line why not."""
    try:
        write_text(folder / "report.html", render(read_page(folder)))
    except SmilerError as error:
        sys.exit(str(error))
    print(folder / "report.html")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
