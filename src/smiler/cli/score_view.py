"""Scores in the terminal and as JSON: what the network was trained on apart from what it was not."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from smiler.evaluation.metrics import Scale, columns
from smiler.evaluation.scores import HEADINGS, WARNING, Learned, Score, absences, by_learned, columns_of, summarise
from smiler.evaluation.statistics import Interval


def show(scores: Sequence[Score], console: Console) -> None:
    """A table for each kind of scores: one row an organ, mean with its interval, n patients, absence."""
    for kind, rows in by_learned(scores).items():
        console.print(_table(HEADINGS[kind], rows))
        if kind is Learned.YES:
            console.print(WARNING, style="yellow")
    console.print("mean over the n patients in whom the organ is present, and its 95 % bootstrap interval; right where")
    console.print("absent: the organ is absent and nothing of it was found")


def _table(title: str, scores: Sequence[Score]) -> Table:
    metrics = {name: columns()[name] for name in columns_of(scores)}
    means = {name: summarise(scores, name) for name in metrics}
    table = Table(title=title, title_justify="left", padding=(0, 0), pad_edge=False)
    for head in ("organ", "n", *(scale.heading for scale in metrics.values()), "right where\nabsent", "false\nalarms"):
        table.add_column(Text(head), justify="left" if head == "organ" else "right", no_wrap=True)
    for organ, absent in absences(scores).items():
        dice = means["dice"].get(organ)
        texts = [_text(means[name].get(organ), scale) for name, scale in metrics.items()]
        alarms = str(absent.false_alarms) if absent.cases else "–"
        row = (organ, str(dice.n if dice else 0), *texts, str(absent), alarms)
        table.add_row(*row, style="bold" if organ == "mean" else "")
    return table


def _text(value: Interval | None, scale: Scale) -> str:
    if value is None:
        return "–"
    bounds = f"[{value.low:.{scale.digits}f}, {value.high:.{scale.digits}f}]" if value.bounds else "–"
    return f"{value.mean:.{scale.digits}f} {bounds}"


def to_json(scores: Sequence[Score]) -> dict[str, Any]:
    """learned -> yes, no, unknown -> metric -> organ -> mean, low, high, n; `absence` -> organ -> cases, right, ..."""
    return {"learned": {kind.value: _kind(rows) for kind, rows in by_learned(scores).items()}}


def _kind(scores: Sequence[Score]) -> dict[str, Any]:
    absent = absences(scores)
    metrics: dict[str, Any] = {"scores": len(scores)}
    for name in columns_of(scores):
        means = summarise(scores, name)
        metrics[name] = {organ: _mean(means.get(organ)) for organ in absent}
    metrics["absence"] = {organ: row.to_json() for organ, row in absent.items()}
    return metrics


def _mean(value: Interval | None) -> dict[str, Any]:
    if value is None:
        return {"mean": None, "low": None, "high": None, "n": 0}
    return {"mean": value.mean, "low": value.low, "high": value.high, "n": value.n}
