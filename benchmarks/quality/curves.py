"""What the rows say: quality.json, quality.png (Dice against minutes) and the table of docs/quality.md.

python -m benchmarks.quality.curves
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality.settings import METHODS

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "quality.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
BUSY = 1.5
"""Rows made at a higher load average are marked: their core was shared."""

Row = Mapping[str, Any]
Key = tuple[float, float, str]


def read(rows: Path) -> list[Row]:
    """All rows of a folder, by name."""
    return [json.loads(path.read_text()) for path in sorted(rows.glob("*.json"))]


def by_key(rows: Iterable[Row]) -> dict[Key, list[Row]]:
    """(alpha, budget, method) -> a row a seed, in the order of the table."""
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        job = row["job"]
        groups.setdefault((job["alpha"], job["budget"], job["method"]), []).append(row)
    order = list(METHODS)
    return dict(sorted(groups.items(), key=lambda item: (*item[0][:2], order.index(item[0][2]))))


def mean(rows: Sequence[Row], metric: str) -> float:
    """Over seeds."""
    return statistics.mean(row["scores"]["mean"][metric] for row in rows)


def by_case(rows: Sequence[Row]) -> dict[str, float]:
    """case -> Dice in per cent, over its organs and the seeds."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for case, organs in row["scores"]["values"].items():
            values.setdefault(case, []).extend(pair[0] for pair in organs.values())
    return {case: statistics.mean(dice) for case, dice in values.items()}


def best_of_nnunet(groups: Mapping[Key, Sequence[Row]], alpha: float, budget: float) -> str | None:
    """nnU-Net's method with the highest Dice there."""
    there = [key[2] for key in groups if key[:2] == (alpha, budget) and METHODS[key[2]].tool == "nnunet_peer"]
    return max(there, key=lambda method: mean(groups[alpha, budget, method], "dice")) if there else None


def against(mine: Sequence[Row], theirs: Sequence[Row]) -> str:
    """Mean difference in points over the common cases, with its 95 % bootstrap interval."""
    from smiler.evaluation.statistics import paired_difference

    a, b = by_case(mine), by_case(theirs)
    common = sorted(a.keys() & b.keys())
    if not common:
        return "no common case"
    found = paired_difference([a[case] for case in common], [b[case] for case in common])
    between = f" [{found.low:+.1f}, {found.high:+.1f}]" if found.low is not None else ""
    return f"{found.mean:+.1f}{between}"


def table(rows: Iterable[Row]) -> str:
    """Markdown, a line a method in each setting and budget."""
    groups = by_key(rows)
    lines = [
        "| hidden | min | spent | method | Dice | NSD | less nnU-Net's best [95 %] | steps | cases | seeds | load |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (alpha, budget, method), found in groups.items():
        best = best_of_nnunet(groups, alpha, budget)
        beside = "" if best is None else "its best" if best == method else against(found, groups[alpha, budget, best])
        dice = [row["scores"]["mean"]["dice"] for row in found]
        spread = f" ({min(dice):.1f} to {max(dice):.1f})" if len(dice) > 1 else ""
        load = max(max(row["load"]) for row in found)
        steps = round(statistics.mean(row["facts"]["steps"] for row in found))
        spent = statistics.mean(row["spent_s"]["all"] for row in found) / 60
        cells = (
            f"{alpha:.0%}", f"{budget:g}", f"{spent:.1f}", METHODS[method].title,
            f"{statistics.mean(dice):.1f}{spread}",
            f"{mean(found, 'nsd'):.1f}", beside, f"{steps:,}", str(found[0]["scores"]["cases"]), str(len(found)),
            f"{load:.1f}{' busy' if load > BUSY else ''}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The same as numbers; per-case values stay in the rows."""
    return [
        {
            "hidden": key[0],
            "minutes": key[1],
            "method": key[2],
            "seeds": [row["job"]["seed"] for row in found],
            "dice": [row["scores"]["mean"]["dice"] for row in found],
            "nsd": [row["scores"]["mean"]["nsd"] for row in found],
            "commits": sorted({row["commit"] for row in found}),
            "spent_s": [row["spent_s"]["all"] for row in found],
            "load": max(max(row["load"]) for row in found),
        }
        for key, found in by_key(rows).items()
    ]


def draw(rows: Iterable[Row], out: Path) -> None:
    """Dice against minutes, a panel a setting; the band is the seeds' spread."""
    from matplotlib.figure import Figure

    groups = by_key(rows)
    settings = sorted({key[0] for key in groups})
    figure = Figure(figsize=(6 * max(len(settings), 1), 4.5), layout="constrained")
    for axes, alpha in zip(figure.subplots(1, len(settings), squeeze=False)[0], settings, strict=True):
        for name, method in METHODS.items():
            ours = {key[1]: found for key, found in groups.items() if (key[0], key[2]) == (alpha, name)}
            if not ours:
                continue
            dice = [[row["scores"]["mean"]["dice"] for row in found] for found in ours.values()]
            middle = [statistics.mean(values) for values in dice]
            axes.plot(list(ours), middle, "o-", color=method.colour, label=method.title)
            axes.fill_between(
                list(ours), [min(v) for v in dice], [max(v) for v in dice], color=method.colour, alpha=0.2
            )
        axes.set(title=f"{alpha:.0%} of annotations hidden", xlabel="minutes of one core", ylabel="Dice, %")
        axes.legend(fontsize="small")
    figure.savefig(out, dpi=150)


def write(results: Path) -> None:
    """All of it, where there are rows."""
    rows = read(results / "rows")
    if not rows:
        return
    (results / "quality.json").write_text(json.dumps(summary(rows), indent=1) + "\n")
    draw(rows, results / "quality.png")
    page = PAGE.read_text()
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}")
    print(table(rows))


if __name__ == "__main__":
    write(REPOSITORY / "results" / "quality")
