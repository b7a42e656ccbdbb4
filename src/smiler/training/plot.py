"""`progress.png`: loss and learning rate of every stage against steps."""

import io
from pathlib import Path

from smiler.domain.files import replacing
from smiler.training.events import read_events


def plot_progress(run: Path) -> None:
    """Draw `progress.png` of a run folder from its events."""
    from matplotlib.figure import Figure

    events = [event for event in read_events(run / "events.jsonl") if event["event"] == "step"]
    if not events:
        return
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    offset = 0
    for stage in sorted({event["stage"] for event in events}):
        rows = [event for event in events if event["stage"] == stage]
        steps = [offset + row["step"] for row in rows]
        axes.plot(steps, [row["loss"] for row in rows], label="first training" if stage == 0 else f"round {stage}")
        offset = steps[-1]
    axes.set(xlabel="step", ylabel="loss", title=run.name, ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    with replacing(run / "progress.png") as temporary:
        temporary.write_bytes(picture.getvalue())
