"""Scores in the terminal and as JSON."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from smiler.evaluation.scores import Score, summarise


def show(scores: Sequence[Score], console: Console) -> None:
    """One row an organ: mean with its interval, and n patients."""
    table = Table(title="mean over patients and its 95 % bootstrap interval", title_justify="left")
    for column in ("organ", "n", "Dice", "NSD", "HD95 mm"):
        table.add_column(column, justify="left" if column == "organ" else "right", no_wrap=True)
    by_metric = {metric: summarise(scores, metric) for metric in ("dice", "nsd", "hd95_mm")}
    for organ, dice in by_metric["dice"].items():
        texts = [
            f"{by_metric[m][organ].mean:.{d}f} [{by_metric[m][organ].low:.{d}f}, {by_metric[m][organ].high:.{d}f}]"
            for m, d in (("dice", 2), ("nsd", 2), ("hd95_mm", 0))
        ]
        table.add_row(organ, str(dice.n), *texts, style="bold" if organ == "mean" else "")
    console.print(table)


def to_json(scores: Sequence[Score]) -> dict[str, Any]:
    """metric -> organ -> mean, low, high, n."""
    return {
        metric: {
            organ: {"mean": value.mean, "low": value.low, "high": value.high, "n": value.n}
            for organ, value in summarise(scores, metric).items()
        }
        for metric in ("dice", "nsd", "hd95_mm")
    }
