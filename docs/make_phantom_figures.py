"""Draws docs/pictures/phantom.png and prints the tables of docs/phantom.md."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from smiler.phantom import ORGANS, PhantomCase, generate
from smiler.phantom.measure import best_interval, measure
from smiler.phantom.reference import REFERENCE

SEEDS = (1, 4, 7)
TABLE_PATIENTS = 24
WINDOW_HU = (-160, 240)
COLOURS = dict(
    zip(
        (organ.key for organ in ORGANS),
        ("#e4572e", "#ffd23f", "#3bceac", "#b388eb", "#4cc9f0", "#4895ef", "#80ed99", "#ff4d6d",
         "#ffffff"),
        strict=True,
    )
)  # fmt: skip


def centre(case: PhantomCase, key: str, axis: int) -> int:
    """The slice along an axis in which the organ is largest."""
    return int(np.moveaxis(case.masks[key], axis, 0).sum(axis=(1, 2)).argmax())


def pitch(case: PhantomCase, axis: int) -> tuple[float, float]:
    """Row and column distance in mm of a slice across `axis`."""
    z, y, x = case.spacing
    return ((y, x), (z, x), (z, y))[axis]


def draw(axes: Axes, case: PhantomCase, axis: int, index: int, contours: bool) -> None:
    """One slice across `axis` in millimetres, the feet or the back at the bottom."""
    rows, columns = pitch(case, axis)
    image = np.moveaxis(case.hu, axis, 0)[index]
    height, width = image.shape[0] * rows, image.shape[1] * columns
    extent = (0.0, width, height, 0.0) if axis == 0 else (0.0, width, 0.0, height)
    axes.imshow(
        image, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], extent=extent,
        origin="upper" if axis == 0 else "lower", interpolation="bicubic",
    )  # fmt: skip
    if contours:
        outline(axes, case, axis, index)
    axes.set_axis_off()


def outline(axes: Axes, case: PhantomCase, axis: int, index: int) -> None:
    """Contours of the organs that the slice meets."""
    rows, columns = pitch(case, axis)
    for key, colour in COLOURS.items():
        mask = np.moveaxis(case.masks[key], axis, 0)[index]
        if mask.any():
            y = (np.arange(mask.shape[0]) + 0.5) * rows
            x = (np.arange(mask.shape[1]) + 0.5) * columns
            axes.contour(x, y, mask.astype(float), levels=[0.5], colors=[colour], linewidths=0.9)


def figure(target: Path, seeds: tuple[int, ...] = SEEDS) -> None:
    """Rows: patients. Columns: two axial slices (plain and outlined), coronal, sagittal."""
    figure_, grid = plt.subplots(len(seeds), 5, figsize=(15, 2.75 * len(seeds)), squeeze=False)
    for row, seed in zip(grid, seeds, strict=True):
        case = generate(seed)
        upper, lower = centre(case, "pancreas", 0), centre(case, "liver", 0)
        draw(row[0], case, 0, lower, contours=True)
        draw(row[1], case, 0, upper, contours=False)
        draw(row[2], case, 0, upper, contours=True)
        draw(row[3], case, 1, centre(case, "aorta", 1), contours=True)
        draw(row[4], case, 2, centre(case, "pancreas", 2), contours=True)
    for axes, title in zip(
        grid[0], ("axial, liver", "axial, pancreas", "the same, outlined", "coronal", "sagittal"),
        strict=True,
    ):  # fmt: skip
        axes.set_title(title)
    handles = [Line2D([], [], color=colour, label=key) for key, colour in COLOURS.items()]
    figure_.legend(handles=handles, ncol=9, loc="lower center", facecolor="#555555",
                   labelcolor="white", fontsize=9)  # fmt: skip
    figure_.tight_layout(rect=(0, 0.04, 1, 1), pad=0.4)
    figure_.savefig(target, dpi=72)
    plt.close(figure_)


def print_anatomy(cases: list[PhantomCase]) -> None:
    """Measured patients against phantoms, mean +- sd over patients, as a Markdown table."""
    print("| organ | volume ml | phantom | HU | phantom | x, y | phantom | share % | phantom |")
    print("|---|---|---|---|---|---|---|---|---|")
    found = [measure(case) for case in cases]
    for key, organ in REFERENCE.items():
        rows = [m[key] for m in found if key in m]
        volume, hu, x, y, share = (
            np.array([getattr(m, name) for m in rows]) for name in ("volume_ml", "hu", "x", "y", "share")
        )
        print(
            f"| {key} | {organ.volume_ml:.0f} ± {organ.volume_sd_ml:.0f} | {volume.mean():.0f} ± {volume.std():.0f}"
            f" | {organ.hu:.0f} ± {organ.hu_sd:.0f} | {hu.mean():.0f} ± {hu.std():.0f}"
            f" | {organ.x:.2f}, {organ.y:.2f} | {x.mean():.2f}, {y.mean():.2f}"
            f" | {organ.share:.2f} | {share.mean():.2f} |"
        )


def print_thresholds(cases: list[PhantomCase]) -> None:
    """The best HU interval per organ over all patients, and chosen anew for each patient."""
    print("| organ | best interval, HU | Dice | Dice, interval chosen per patient |")
    print("|---|---|---|---|")
    for organ in ORGANS:
        best = best_interval(cases, organ.key)
        own = [best_interval([case], organ.key).dice for case in cases if organ.key not in case.absent]
        print(f"| {organ.key} | {best.low_hu} to {best.high_hu} | {best.dice:.2f} | {np.mean(own):.2f} |")


if __name__ == "__main__":
    folder = Path(__file__).parent / "pictures"
    folder.mkdir(exist_ok=True)
    figure(folder / "phantom.png")
    patients = [generate(seed) for seed in range(TABLE_PATIENTS)]
    print_anatomy(patients)
    print_thresholds(patients)
