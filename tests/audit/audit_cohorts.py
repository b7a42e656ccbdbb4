"""Tiny cohorts on disk: a label map per case, cells written as in the ledger."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smiler.domain.cells import parse_cell
from smiler.domain.cohort import Case, Cohort
from smiler.domain.geometry import Geometry
from smiler.domain.organs import Organ, OrganSet
from smiler.formats.nifti import grid_of, write_ct, write_labels

SPACING = (2.0, 1.0, 1.0)
ORGANS = OrganSet(
    (Organ("liver", "Liver"), Organ("tumour", "Tumour", part_of="liver"), Organ("spleen", "Spleen"), Organ("pancreas"))
)


def body(shape: tuple[int, int, int] = (6, 5, 8)) -> NDArray[np.uint8]:
    """Liver 1 on the patient's right with a tumour 2 inside, spleen 3 on the left, pancreas 4, something else 9."""
    labels = np.zeros(shape, np.uint8)
    labels[1:5, 1:4, 0:3] = 1
    labels[2, 2, 1:3] = 2
    labels[2:4, 1:3, 6] = 3
    labels[3, 3, 4:6] = 4
    labels[0, 0, 0] = 9
    return labels


def add_case(folder: Path, case_id: str, cells: Mapping[str, str], labels: NDArray[Any] | None = None) -> Case:
    """Write `ID.nii.gz` and the label map `ID_map.nii.gz`; in cells, MAP stands for the label map."""
    labels = body() if labels is None else labels
    geometry = Geometry.canonical(labels.shape, SPACING)
    write_ct(
        folder / f"{case_id}.nii.gz", np.full(labels.shape, zlib.crc32(case_id.encode()) % 999, np.int16), geometry
    )
    write_labels(folder / f"{case_id}_map.nii.gz", labels, grid_of(geometry))
    parsed = {key: parse_cell(text.replace("MAP", f"{case_id}_map.nii.gz")) for key, text in cells.items()}
    return Case(case_id, f"patient-{case_id}", f"{case_id}.nii.gz", parsed)


def cohort_of(folder: Path, cases: Sequence[Case], organs: OrganSet = ORGANS) -> Cohort:
    return Cohort(folder, organs, tuple(cases))
