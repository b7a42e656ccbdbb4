"""The README's picture from a finished demo: python docs/make_demo_figure.py demo docs/pictures/demo.png"""

import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

ARMS = {
    "baseline": ("usual baseline", "#c8501e"),
    "smile": ("SMILE", "#1f6eb7"),
    "smiler": ("SMILEr", "#00896a"),
    "full": ("full annotation", "#59626e"),
}


def main(demo: Path, target: Path) -> None:
    """Mean Dice of each arm, and the same slice under truth and under each arm."""
    summary = json.loads((demo / "summary.json").read_text())
    audit = json.loads((demo / "audit.json").read_text())
    with np.load(demo / "overlays.npz", allow_pickle=False) as arrays:
        slices = dict(arrays)
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    bars, pictures = figure.subfigures(2, 1, height_ratios=[1, 1.25])
    axes = bars.add_subplot()
    names = [ARMS[arm][0] for arm in ARMS]
    values = [summary["dice"][arm] for arm in ARMS]
    drawn = axes.barh(names, values, color=[ARMS[arm][1] for arm in ARMS], height=0.6)
    axes.bar_label(drawn, fmt="%.1f", padding=4)
    axes.invert_yaxis()
    axes.set(
        xlim=(0, 100),
        xlabel=f"mean Dice of {len(audit['organs'])} organs where present, {summary['n_test']} patients held out",
    )
    axes.set_title(f"{summary['alpha']:.0%} of the organ annotations hidden (phantom)", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    row = int(np.argmax([(plane != 0).sum() for plane in slices["truth"]]))
    colours = mpl.colormaps["tab10"].colors
    for place, arm in zip(pictures.subplots(1, 5), ("truth", *ARMS), strict=True):
        place.imshow(slices["hu"][row], cmap="gray", vmin=-160, vmax=240)
        for k in range(len(audit["organs"])):
            mask = (slices[arm][row] >> k & 1).astype(float)
            if mask.any():
                place.contour(mask, levels=[0.5], colors=[colours[k % 10]], linewidths=1.2)
        place.set_title(ARMS[arm][0] if arm in ARMS else "truth", fontsize=10)
        place.axis("off")
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
