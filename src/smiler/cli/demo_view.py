"""The demo's result in the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_TITLES = {
    "baseline": "baseline: a missing organ is background",
    "smile": "SMILE: what nobody knows is ignored",
    "smiler": "SMILEr: the same in one softmax, and rounds of relabelling",
    "full": "full annotation: nothing missing",
}


def show(summary: Mapping[str, Any], folder: Path, console: Console) -> None:
    """Mean Dice per arm on patients held out, where an organ is present; where it is absent, whether that was right."""
    title = f"{summary['alpha']:.0%} of the annotations missing; {summary['n_test']} patients held out"
    table = Table("arm", "mean Dice", "absence right", "false alarms", title=title, title_justify="left")
    for arm, text in _TITLES.items():
        dice, absence = summary["dice"][arm], summary["absence"][arm]
        right = f"{absence['right']} of {absence['cases']}"
        table.add_row(text, "–" if dice is None else f"{dice:.1f}", right, str(absence["false_alarms"]))
    console.print(table)
    console.print(f"{summary['seconds']:.0f} s; open {folder / 'report.html'}")
