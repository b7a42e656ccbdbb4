"""A sweep's figures: Dice over the share of missing annotations, relabelling, calibration, risk; from its tables.

Each figure is drawn twice: for the page in its colours, and as files (SVG, PNG) in plain ones.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from smiler.domain.files import replacing, write_text
from smiler.domain.shaped import read_as
from smiler.report.figures import STAND_INS, settings_in, to_svg
from smiler.report.inputs import SweepFacts, Uncertain
from smiler.report.names import Organs, arm_title, in_order
from smiler.report.tables import Row, Share, read_table

PLAIN: dict[str, str] = {
    "ink": "#1b1f24",
    "muted": "#5b6570",
    "grid": "#dfe3e8",
    "baseline": "#c8501b",
    "smile": "#1f6fb5",
    "smiler": "#00856a",
    "full": "#555f6b",
    "other": "#8a4fa8",
}
"""The page's colours in daylight, for files."""

RIVALS: dict[str, str] = {
    "baseline-rethreshold": "#e39a6f",
    "naive": "#a0522d",
    "per-organ": "#b8860b",
    "ignore-volume": "#8a4fa8",
    "marginal": "#d14d8b",
    "marginal-dice": "#7b2d5e",
    "smiler-faithful": "#7a9a01",
    "smiler-guarded": "#00b3b3",
    "smiler-mc": "#4c9f70",
    "smiler-entropy": "#9a6324",
    "smiler-ensemble": "#2e4fd1",
    "smiler-confidence": "#c23b4b",
}
RULE_TITLES: dict[str, str] = {
    "score": "score",
    "mc_dropout": "dropout spread",
    "entropy": "dropout entropy",
    "tta": "spread over shifts",
    "ensemble": "ensemble spread",
    "confidence": "learned confidence",
}
RULE_COLOURS = ("#1f6fb5", "#00856a", "#9a6324", "#d14d8b", "#2e4fd1", "#c23b4b")
USUAL = 0.7
"""Of several shares for which there is as much to show, the nearest to this one is shown."""

OLD_MEANS = "Mean over all test patients, where absence that was found right counts as 100 (the older definition)"

PANEL_INCHES = (4.4, 3.3)

Paint = Mapping[str, str]


@dataclass(frozen=True)
class Picture:
    """One figure of several panels side by side under one legend; `draw` fills the axes in some colours."""

    name: str
    title: str
    caption: str
    panels: int
    draw: Callable[[Sequence[Axes], Paint], Sequence[Line2D]]


@dataclass(frozen=True)
class Comparison:
    """What the page shows of a sweep."""

    pictures: Sequence[tuple[str, str, Markup]]
    alphas: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Row | None]]]
    areas: Sequence[Row]
    contrasts: Sequence[Row]
    facts: SweepFacts

    @property
    def absences(self) -> bool:
        """Whether any organ is absent in any test patient."""
        return any(cell and int(cell.get("absent") or 0) for _, cells in self.rows for cell in cells)


def read_comparison(folder: Path, organs: Organs) -> Comparison | None:
    """The sweep's tables and figures; None where the folder holds no sweep."""
    if not (folder / "tables" / "points.csv").exists():
        return None
    points = [row for row in read_table(folder / "tables" / "points.csv") if not row["organ"]]
    alphas = sorted({row["alpha"] for row in points}, key=float)
    arms = in_order({row["arm"] for row in points})
    found = {(row["arm"], row["alpha"]): row for row in points}
    pictures = [(p.title, p.caption, to_page(p)) for p in pictures_of(folder, organs)]
    return Comparison(
        pictures,
        alphas,
        [(arm, [found.get((arm, alpha)) for alpha in alphas]) for arm in arms],
        read_table(folder / "tables" / "areas.csv"),
        [row for row in read_table(folder / "tables" / "contrasts.csv") if not row["organ"]],
        read_as(folder / "summary.json", SweepFacts),
    )


def pictures_of(folder: Path, organs: Organs) -> list[Picture]:
    """Every figure for which the folder holds the numbers."""
    made = [
        _dice(read_table(folder / "tables" / "points.csv"), organs),
        *_relabelling(read_table(folder / "tables" / "relabelling.csv"), organs),
        _estimates(read_table(folder / "tables" / "relabelling.csv"), organs),
        *_uncertainty(folder / "uncertainty.json", organs),
    ]
    return [picture for picture in made if picture]


def save_pictures(folder: Path, organs: Organs) -> None:
    """Every figure as SVG and PNG in `folder/figures`."""
    for picture in pictures_of(folder, organs):
        with _drawn(picture, PLAIN) as figure:
            text = io.StringIO()
            figure.savefig(text, format="svg", metadata={"Date": None})
            write_text(folder / "figures" / f"{picture.name}.svg", text.getvalue())
            with replacing(folder / "figures" / f"{picture.name}.png", ".png") as temporary:
                figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


def to_page(picture: Picture) -> Markup:
    """The figure in the page's colours."""
    with _drawn(picture, STAND_INS) as figure:
        return to_svg(figure, f"sweep-{picture.name}", picture.title)


@contextmanager
def _drawn(picture: Picture, paint: Paint) -> Iterator[Figure]:
    columns = min(3, picture.panels)
    rows = -(-picture.panels // columns)
    with matplotlib.rc_context(settings_in(paint)):  # type: ignore[arg-type]
        size = (PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 0.9)
        figure = Figure(figsize=size, dpi=72, layout="constrained", facecolor="white")
        axes = [figure.add_subplot(rows, columns, place + 1) for place in range(picture.panels)]
        lines = picture.draw(axes, paint)
        figure.legend(
            handles=list(lines), loc="outside lower center", ncols=min(len(lines), 2 * columns), frameon=False
        )
        yield figure


def arm_colour(arm: str, paint: Paint) -> str:
    """The arm's colour, the same in every figure."""
    return paint[arm] if arm in paint else RIVALS.get(arm, paint["other"])


def _legend(arms: Sequence[str], paint: Paint) -> list[Line2D]:
    return [Line2D([], [], color=arm_colour(arm, paint), marker="o", ms=5, label=arm_title(arm)) for arm in arms]


def counts_absence(rows: Sequence[Row]) -> bool:
    """Whether the means of a table are of the older kind, which counted an absence that was right as Dice 100."""
    return any("absent" not in row for row in rows)


def _number(text: str) -> float:
    """A cell as Matplotlib wants it: an empty one (no patient, or one, who has no interval) is not drawn."""
    return float(text) if text else float("nan")


def _dice(rows: Sequence[Row], organs: Organs) -> Picture | None:
    if not rows:
        return None
    keys = ["", *organs.in_order(row["organ"] for row in rows if row["organ"])]
    arms = in_order({row["arm"] for row in rows})

    def draw(axes: Sequence[Axes], paint: Paint) -> Sequence[Line2D]:
        for panel, key in zip(axes, keys, strict=True):
            for place, arm in enumerate(arms):
                mine = sorted(
                    (r for r in rows if r["arm"] == arm and r["organ"] == key), key=lambda r: float(r["alpha"])
                )
                x = [100 * float(row["alpha"]) + 0.35 * (place - len(arms) / 2) for row in mine]
                y, low, high = ([_number(row[name]) for row in mine] for name in ("dice", "low", "high"))
                colour = arm_colour(arm, paint)
                style = ":" if arm == "full" else "-"
                panel.plot(x, y, style, color=colour, marker="o", ms=4, lw=2)
                panel.vlines(x, low, high, color=colour, lw=1, alpha=0.6)
            panel.set(xlabel="annotations missing, %", ylabel="Dice, points", ylim=(0, 100))
            panel.set_title(organs.title(key) if key else "Mean of the organs")
            panel.grid(axis="y")
        return _legend(arms, paint)

    whom = OLD_MEANS if counts_absence(rows) else "Mean over the test patients in whom the organ is present"
    caption = f"{whom}, with 95 % bootstrap intervals; points are moved apart a little to be seen."
    return Picture("dice_over_alpha", "Dice over the share of missing annotations", caption, len(keys), draw)


def _relabelling(rows: Sequence[Row], organs: Organs) -> list[Picture]:
    """Precision and recall against rounds, a panel an organ and a line an arm, at the share that most arms ran."""
    told = [row for row in rows if row["precision"]]
    if not told:
        return []
    shares = {row["alpha"] for row in told}
    alpha = max(
        shares, key=lambda share: (len({r["arm"] for r in told if r["alpha"] == share}), -abs(float(share) - USUAL))
    )
    chosen = [row for row in rows if row["alpha"] == alpha]
    keys = organs.in_order(row["organ"] for row in chosen)
    arms = in_order({row["arm"] for row in chosen})

    def picture(measure: str, title: str) -> Picture:
        def draw(axes: Sequence[Axes], paint: Paint) -> Sequence[Line2D]:
            for panel, key in zip(axes, keys, strict=True):
                for arm in arms:
                    mine = [r for r in chosen if r["arm"] == arm and r["organ"] == key and r[measure]]
                    x, y = [int(row["round"]) for row in mine], [float(row[measure]) for row in mine]
                    panel.plot(x, y, color=arm_colour(arm, paint), marker="o", ms=4, lw=2)
                panel.set(xlabel="round", ylabel=measure, ylim=(0, 1.02), title=organs.title(key))
                rounds = sorted({int(row["round"]) for row in chosen})
                panel.set_xticks(rounds)
                panel.set_xlim(rounds[0] - 0.25, rounds[-1] + 0.25)
                panel.grid(axis="y")
            return _legend(arms, paint)

        caption = f"{float(alpha):.0%} of the annotations missing; voxels of all folds together."
        return Picture(f"relabelling_{measure}", title, caption, len(keys), draw)

    return [
        picture("precision", "Precision of relabelling, TP / (TP + FP)"),
        picture("recall", "Recall of relabelling"),
    ]


def _estimates(rows: Sequence[Row], organs: Organs) -> Picture | None:
    told = [row for row in rows if row["estimated"] and row["precision"]]
    if not told:
        return None
    keys = organs.in_order(row["organ"] for row in told)

    def draw(axes: Sequence[Axes], paint: Paint) -> Sequence[Line2D]:
        for key in keys:
            mine = [row for row in told if row["organ"] == key]
            x, y = ([float(row[name]) for row in mine] for name in ("precision", "estimated"))
            axes[0].plot(x, y, "o", color=organs.colour(key), ms=7, mew=0, alpha=0.8)
        axes[0].plot([0, 1], [0, 1], color=paint["muted"], lw=1)
        axes[0].set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="true precision", ylabel="estimated precision")
        axes[0].set_title("Audit without truth")
        return [Line2D([], [], ls="", color=organs.colour(k), marker="o", label=organs.title(k)) for k in keys]

    caption = "Each point is an organ in a round at one share: what hidden expert pairs say, and what the truth says."
    return Picture("estimated_precision", "Precision of relabelling, estimated without truth", caption, 1, draw)


def _uncertainty(path: Path, organs: Organs) -> list[Picture]:
    table = read_as(path, dict[str, dict[Share, dict[str, Uncertain]]]) if path.exists() else {}
    if not table:
        return []
    shares = {alpha for rows in table.values() for alpha in rows}
    shares = {alpha for alpha in shares if float(alpha)} or shares
    alpha = max(shares, key=lambda share: (sum(share in rows for rows in table.values()), -abs(float(share) - USUAL)))
    chosen = {arm: table[arm][alpha] for arm in in_order(table) if alpha in table[arm]}
    keys = organs.in_order(key for rows in chosen.values() for key in rows)
    at = f"{float(alpha):.0%} of the annotations missing, test patients."
    return [_reliability(chosen, keys, organs, at), _risk(chosen, keys, organs, at)]


def _reliability(
    chosen: Mapping[str, Mapping[str, Uncertain]], keys: Sequence[str], organs: Organs, at: str
) -> Picture:
    def draw(axes: Sequence[Axes], paint: Paint) -> Sequence[Line2D]:
        for panel, key in zip(axes, keys, strict=True):
            panel.plot([0, 1], [0, 1], color=paint["muted"], lw=1)
            for arm, rows in chosen.items():
                bins = [row for row in (rows[key].bins if key in rows else ()) if row[0] >= 20]
                x, y = [row[1] or 0.0 for row in bins], [row[2] or 0.0 for row in bins]
                panel.plot(x, y, color=arm_colour(arm, paint), marker="o", ms=4, lw=2)
            panel.set(xlabel="probability", ylabel="share that is the organ", xlim=(0, 1.02), ylim=(0, 1.02))
            panel.set_title(organs.title(key))
        return _legend(list(chosen), paint)

    caption = f"{at} Voxels with a probability of at least 0.05, and below it those of the organ that were missed."
    return Picture("calibration", "Calibration: how often a probability is right", caption, len(keys), draw)


def _risk(chosen: Mapping[str, Mapping[str, Uncertain]], keys: Sequence[str], organs: Organs, at: str) -> Picture:
    """SMILE's own rules; and those that need an ensemble or a confidence, from the arms that have one."""
    sources = {"ensemble": "smiler-ensemble", "confidence": "smiler-confidence"}
    base = "smile" if "smile" in chosen else next(iter(chosen))
    measured = (rule for rows in chosen.values() for row in rows.values() for rule in row.risk)
    rules = list(dict.fromkeys((*RULE_TITLES, *measured)))
    lines = {rule: sources.get(rule, base) for rule in rules}
    lines = {rule: arm for rule, arm in lines.items() if any(rule in row.risk for row in chosen.get(arm, {}).values())}

    def draw(axes: Sequence[Axes], _paint: Paint) -> Sequence[Line2D]:
        colours = dict(zip(rules, cycle(RULE_COLOURS), strict=False))
        for panel, key in zip(axes, keys, strict=True):
            for rule, arm in lines.items():
                told = chosen[arm][key].risk.get(rule) if key in chosen[arm] else None
                risks = told.risk if told else ()
                pairs = [(10 * (i + 1), 100 * value) for i, value in enumerate(risks) if value is not None]
                panel.plot([x for x, _ in pairs], [y for _, y in pairs], color=colours[rule], marker="o", ms=4, lw=2)
            panel.set(xlabel="safest voxels accepted, %", ylabel="wrong, %", xlim=(0, 102))
            panel.set_ylim(bottom=0)
            panel.set_title(organs.title(key))
            panel.grid(axis="y")
        titles = {rule: f"{RULE_TITLES.get(rule, rule)} ({arm_title(arm)})" for rule, arm in lines.items()}
        return [Line2D([], [], color=colours[rule], marker="o", ms=5, label=title) for rule, title in titles.items()]

    caption = f"{at} Of the voxels that a network calls the organ, the share that is wrong among the safest ones."
    return Picture("risk_coverage", "Risk and coverage: what ranking by uncertainty is worth", caption, len(keys), draw)
