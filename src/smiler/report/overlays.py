"""CT slices with the organs of every arm drawn over them: a picture once, contours as SVG paths in mm."""

import base64
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from smiler.domain.errors import BadInput
from smiler.report.names import Organs, arm_title, in_order

LEVEL_HU, WIDTH_HU = 40, 400
"""The usual abdominal window."""

FACTS = frozenset({"hu", "spacing", "case", "z"})
FIRST = ("truth", "annotated")
"""Columns before the arms; `annotated`: what experts have left of the truth."""


@dataclass(frozen=True)
class Contour:
    """One organ on one slice: an SVG path in mm."""

    organ: str
    colour: str
    path: str


@dataclass(frozen=True)
class Cell:
    """One arm on one slice, and which organs of the truth it does not show at all."""

    contours: Sequence[Contour]
    missed: Sequence[str]


@dataclass(frozen=True)
class Slice:
    """One row: the CT as PNG (base64), its size in mm, and a cell an arm."""

    case: str
    z: int
    png: str
    width_mm: float
    height_mm: float
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Overlays:
    """What the page shows: columns are arms, rows are slices, the legend holds the organs that occur."""

    columns: Sequence[str]
    slices: Sequence[Slice]
    legend: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Stack:
    """`overlays.npz`: CT in HU (n, y, x), pixel spacing (n, 2) in mm (y, x), and bit fields (n, y, x) by arm."""

    hu: NDArray[np.int16]
    spacing: NDArray[np.float64]
    case: Sequence[str]
    z: Sequence[int]
    arms: Mapping[str, NDArray[np.int32]]


def read_stack(path: Path) -> Stack | None:
    """The slices and what each arm shows on them; None where there is no such file, BadInput if it can't be used."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        names = set(arrays) - FACTS
        ordered = [name for name in FIRST if name in names] + in_order(names - set(FIRST))
        arms = {name: arrays[name].astype(np.int32) for name in ordered}
        stack = Stack(
            arrays["hu"].astype(np.int16),
            arrays["spacing"].astype(float),
            [str(case) for case in arrays["case"]],
            [int(z) for z in arrays["z"]],
            arms,
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput("the file doesn't hold overlays", where=str(path), got=str(error)) from error
    _check(path, stack)
    return stack if len(stack.hu) else None


def make_overlays(stack: Stack, organs: Organs) -> Overlays:
    """Rows of slices and columns of arms."""
    present = int(np.bitwise_or.reduce([np.bitwise_or.reduce(bits, axis=None) for bits in stack.arms.values()]))
    names = [*organs.keys, *(f"organ {bit + 1}" for bit in range(len(organs.keys), 31))]
    keys = {bit: name for bit, name in enumerate(names) if present >> bit & 1}
    return Overlays(
        [arm.capitalize() if arm in FIRST else arm_title(arm) for arm in stack.arms],
        [_slice(stack, index, keys, organs) for index in range(len(stack.hu))],
        [(organs.title(key), organs.colour(key)) for key in keys.values()],
    )


def _slice(stack: Stack, index: int, keys: Mapping[int, str], organs: Organs) -> Slice:
    dy, dx = (float(step) for step in stack.spacing[index])
    rows, columns = stack.hu[index].shape
    truth = stack.arms.get("truth", np.zeros_like(stack.hu, dtype=np.int32))[index]
    cells = [_cell(bits[index], truth, keys, organs, (dy, dx)) for bits in stack.arms.values()]
    return Slice(stack.case[index], stack.z[index], png_of(stack.hu[index]), columns * dx, rows * dy, cells)


def _cell(
    bits: NDArray[np.int32],
    truth: NDArray[np.int32],
    keys: Mapping[int, str],
    organs: Organs,
    spacing: tuple[float, float],
) -> Cell:
    masks = {bit: (bits >> bit & 1).astype(bool) for bit in keys}
    contours = [
        Contour(organs.title(key), organs.colour(key), outline(masks[bit], spacing))
        for bit, key in keys.items()
        if masks[bit].any()
    ]
    missed = [organs.title(key) for bit, key in keys.items() if (truth >> bit & 1).any() and not masks[bit].any()]
    return Cell(contours, missed)


def outline(mask: NDArray[np.bool_], spacing: tuple[float, float]) -> str:
    """The border of a mask (y, x) as an SVG path in mm; the first pixel covers 0 to one spacing."""
    axes = Figure().add_subplot()
    padded = np.pad(mask.astype(float), 1)
    paths = axes.contour(padded, levels=[0.5]).get_paths()
    dy, dx = spacing
    parts = []
    for polygon in (points for path in paths for points in path.to_polygons(closed_only=False)):
        corners = [f"{(x - 0.5) * dx:.1f} {(y - 0.5) * dy:.1f}" for x, y in np.asarray(polygon)[:-1]]
        parts.append(f"M{'L'.join(corners)}Z")
    return "".join(parts)


def png_of(hu: NDArray[np.int16]) -> str:
    """A slice (y, x) in HU as a grey PNG in the abdominal window, base64."""
    grey = np.clip((hu.astype(float) - LEVEL_HU) / WIDTH_HU + 0.5, 0, 1)
    pixels = np.repeat((255 * grey).round().astype(np.uint8)[..., None], 3, axis=2)
    stream = io.BytesIO()
    matplotlib.image.imsave(stream, pixels, format="png", metadata={"Software": None})  # type: ignore[dict-item]
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _check(path: Path, stack: Stack) -> None:
    n = len(stack.hu)
    shapes: dict[str, Any] = {name: bits.shape for name, bits in stack.arms.items()}
    fits = stack.hu.ndim == 3 and stack.spacing.shape == (n, 2) and len(stack.case) == len(stack.z) == n
    if not (fits and stack.arms and set(shapes.values()) == {stack.hu.shape}):
        raise BadInput(
            "the arrays don't fit each other",
            where=str(path),
            got=f"hu {stack.hu.shape}, spacing {stack.spacing.shape}, {len(stack.case)} cases, {shapes}",
            do="give hu and every arm as (n, y, x), spacing as (n, 2), case and z as (n,)",
        )
    if not (np.isfinite(stack.spacing).all() and (stack.spacing > 0).all()):
        got = str(stack.spacing.tolist())[:80]
        raise BadInput("the pixel spacing must be positive", where=f"{path}, spacing", got=got)
