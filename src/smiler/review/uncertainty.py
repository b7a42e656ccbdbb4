"""How unsure the model was of a proposal: NAME-uncertainty.nii.gz beside NAME.nii.gz, 0 (sure) to 1."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from smiler.domain.cells import parse_cell
from smiler.formats.volumes import read_header
from smiler.review.desk import Desk
from smiler.review.errors import Pair
from smiler.review.orientation import ras

ENDINGS = ("-uncertainty.nii.gz", "_uncertainty.nii.gz")
"""What relabelling writes, and what earlier versions wrote."""


def uncertainty_path(desk: Desk, pair: Pair) -> Path | None:
    """Where it lies, or None."""
    base = desk.ledger.base(pair)
    cell = parse_cell(base.cell) if base else None
    if cell is None or not cell.auto or not cell.path.endswith(".nii.gz"):
        return None
    paths = [desk.cohort.folder / (cell.path.removesuffix(".nii.gz") + ending) for ending in ENDINGS]
    return next((path for path in paths if path.is_file()), None)


def uncertainty_of(desk: Desk, pair: Pair) -> NDArray[np.uint8] | None:
    """uint8 (i, j, k), RAS+, 255 is 1; None where there is none or it lies on another grid."""
    path = uncertainty_path(desk, pair)
    if path is None:
        return None
    grid = read_header(path)
    if not grid.geometry.agrees(desk.grid(pair.case).geometry):
        return None
    image: Any = nib.load(path)
    values = np.rint(np.clip(np.asarray(image.dataobj, dtype=np.float32), 0, 1) * 255).astype(np.uint8)
    return ras(grid.canonical(values))
