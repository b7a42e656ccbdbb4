"""Training curves from events, and the course of relabelling over rounds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from smiler.report.figures import Curve, Line, LinePanel, draw_curve, draw_lines
from smiler.report.inputs import Relabelled
from smiler.report.names import Organs, arm_style, arm_title, in_order
from smiler.training.events import read_events


@dataclass(frozen=True)
class Relabelling:
    """What the page shows of the relabelling."""

    panels: Sequence[Markup]
    rows: Sequence[Relabelled]


def read_curves(folder: Path) -> list[Curve]:
    """A curve for every run that has logged a step: the folder's own, then runs/* and folds."""
    below = [*folder.glob("runs/*/events.jsonl"), *folder.glob("fold_*/events.jsonl")]
    runs = {path.parent.name: path for path in sorted(below)}
    own = {"": folder / "events.jsonl"} if (folder / "events.jsonl").exists() else {}
    files = {**own, **{arm: runs[arm] for arm in in_order(runs)}}
    return [curve for arm, path in files.items() if (curve := read_curve(path, arm))]


def draw_curves(curves: Sequence[Curve]) -> list[Markup]:
    """A panel a curve."""
    return [draw_curve(curve, f"curve{place}") for place, curve in enumerate(curves)]


def read_curve(path: Path, arm: str) -> Curve | None:
    """Loss against steps, the stages one after another; None where no step was logged."""
    stages: dict[int, list[tuple[float, float]]] = {}
    for stage, step, loss in _steps(path):
        stages.setdefault(stage, []).append((step, loss))
    x: list[float] = []
    y: list[float] = []
    starts: dict[float, str] = {}
    for stage in sorted(stages):
        offset = x[-1] if x else 0.0
        if stage:
            starts[offset] = f"round {stage}"
        x += [offset + step for step, _ in stages[stage]]
        y += [loss for _, loss in stages[stage]]
    return Curve(arm_title(arm) or "This run", arm_style(arm), x, y, starts) if x else None


def _steps(path: Path) -> Iterator[tuple[int, float, float]]:
    for event in read_events(path):
        if event["event"] == "step":
            yield int(event["stage"]), float(event["step"]), float(event["loss"])


def make_relabelling(rows: Sequence[Relabelled], organs: Organs) -> Relabelling:
    """Precision and recall against rounds, one line an organ, and the table."""
    ordered = sorted(rows, key=lambda row: row.round)
    ticks = {row.round: f"round {row.round}\n{100 * row.gamma:.0f} %" for row in ordered}
    panels = []
    for measure in ("precision", "recall"):
        lines = _lines(ordered, measure, organs)
        if lines:
            title = {"precision": "Precision of the accepted voxels", "recall": "Recall of the missing organ"}[measure]
            panels.append(draw_lines(LinePanel(title, measure, lines, ticks), measure))
    return Relabelling(panels, ordered)


def _lines(rows: Sequence[Relabelled], measure: str, organs: Organs) -> list[Line]:
    lines = []
    for key in organs.in_order(row.organ for row in rows):
        points = [(row.round, getattr(row, measure)) for row in rows if row.organ == key]
        points = [(x, y) for x, y in points if y is not None]
        if points:
            lines.append(Line(organs.title(key), organs.colour(key), [x for x, _ in points], [y for _, y in points]))
    return lines
