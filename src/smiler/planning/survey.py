"""What the volumes and organs of a cohort measure: headers of all cases, masks of a few, no grey value."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput, Faults, raise_all
from smiler.domain.geometry import Geometry
from smiler.domain.progress import Progress, Silent
from smiler.formats.labels import LabelOptions, read_case_labels
from smiler.formats.nifti import ReadOptions
from smiler.formats.volumes import read_header
from smiler.workers.memory import lacking

MEASURED_CASES, THREADS = 24, 4
"""Cases whose masks are read, evenly spread over the ledger."""


@dataclass(frozen=True)
class Survey:
    """Sizes of a cohort.

    `spacing_mm`, `shape`: (n, 3) of all cases, (z, y, x). `extents_mm`: organ -> (m, 3), the box (z, y, x) around the
    organ in each measured case that shows it. `together_mm`: (m, 3), the box around all organs of a measured case.
    """

    cases: tuple[str, ...]
    spacing_mm: NDArray[np.float64]
    shape: NDArray[np.int64]
    extents_mm: dict[str, NDArray[np.float64]]
    together_mm: NDArray[np.float64]

    @property
    def in_plane_mm(self) -> float:
        """Median voxel size in the axial plane."""
        return float(np.median(self.spacing_mm[:, 1:]))

    @property
    def slice_mm(self) -> float:
        """Median slice distance."""
        return float(np.median(self.spacing_mm[:, 0]))

    @property
    def field_mm(self) -> NDArray[np.float64]:
        """Median size (z, y, x) of a volume."""
        return np.asarray(np.median(self.shape * self.spacing_mm, axis=0))

    @cached_property
    def smallest(self) -> tuple[str, float]:
        """The organ with the smallest median width in the axial plane, and that width in mm."""
        widths = {key: float(np.median(np.sqrt(box[:, 1] * box[:, 2]))) for key, box in self.extents_mm.items()}
        key = min(widths, key=lambda name: widths[name])
        return key, widths[key]

    def largest(self, count: int) -> tuple[str, ...]:
        """The cases of the largest volumes, which need most memory."""
        order = np.argsort(-np.prod(self.shape * self.spacing_mm, axis=1), kind="stable")
        return tuple(self.cases[i] for i in order[:count])


def survey(
    cohort: Cohort,
    reading: ReadOptions | None = None,
    labels: LabelOptions | None = None,
    progress: Progress | None = None,
) -> Survey:
    """Measure a cohort. Expert masks alone count; every case whose header can't be read is listed at once.

    Raises:
        BadInput: the cohort has no case, or no expert drew anything in the measured ones.
    """
    if not len(cohort.cases):
        raise BadInput("the cohort has no case", where="cohort", do="smiler import SOURCE COHORT")
    grids = _grids(cohort, reading or ReadOptions())
    drawn_in = [number for number, case in enumerate(cohort.cases) if any(_expert(case, k) for k in cohort.organs.keys)]
    chosen = [drawn_in[i] for i in np.unique(np.linspace(0, len(drawn_in) - 1, MEASURED_CASES).round().astype(int))]
    extents: dict[str, list[NDArray[np.float64]]] = {}
    together = []
    for number in (progress or Silent()).track(chosen, "measuring organs", len(chosen)) if drawn_in else ():
        case = cohort.cases[number]
        with lacking(f"case {case.id}"):
            boxes = _boxes(cohort, case, grids[number], labels or LabelOptions())
        for key, box in boxes.items():
            extents.setdefault(key, []).append(_size(box, grids[number]))
        if boxes:
            all_boxes = np.stack(list(boxes.values()))
            whole = np.stack([all_boxes[:, 0].min(axis=0), all_boxes[:, 1].max(axis=0)])
            together.append(_size(whole, grids[number]))
    if not together:
        raise BadInput("no expert mask in any case: nothing to learn from", where="cohort", do="annotate an organ")
    return Survey(
        tuple(case.id for case in cohort.cases),
        np.array([grid.spacing for grid in grids], dtype=np.float64),
        np.array([grid.shape for grid in grids]),
        {key: np.stack(extents[key]) for key in cohort.organs.keys if key in extents},
        np.stack(together),
    )


def _grids(cohort: Cohort, reading: ReadOptions) -> list[Geometry]:
    def header(case: Case) -> Geometry | BadInput:
        try:
            return read_header(cohort.image_path(case), reading).geometry
        except (Faults, BadInput) as error:
            return BadInput(error.what, where=f"case {case.id}, {error.where}", got=error.got, do=error.do)

    with ThreadPoolExecutor(THREADS) as pool:
        headers = list(pool.map(header, cohort.cases))
    raise_all([each for each in headers if isinstance(each, BadInput)])
    return [each for each in headers if isinstance(each, Geometry)]


def _expert(case: Case, organ: str) -> bool:
    cell = case.cell(organ)
    return bool(cell.path) and not cell.auto


def _boxes(cohort: Cohort, case: Case, grid: Geometry, options: LabelOptions) -> dict[str, NDArray[np.int64]]:
    """Organ -> first and last+1 voxel (2, 3) of what an expert drew of it."""
    bits = read_case_labels(cohort, case, grid, options).drawn
    bits = np.where(bits < 0, np.int32(0), bits)
    seen: Sequence[NDArray[Any]] = [
        np.bitwise_or.reduce(bits.reshape(bits.shape[0], -1), axis=1),
        np.bitwise_or.reduce(np.bitwise_or.reduce(bits, axis=0), axis=1),
        np.bitwise_or.reduce(np.bitwise_or.reduce(bits, axis=0), axis=0),
    ]
    boxes = {}
    for k, key in enumerate(cohort.organs.keys):
        places = [np.flatnonzero(axis >> k & 1) for axis in seen]
        if all(len(place) for place in places):
            boxes[key] = np.array([[place[0] for place in places], [place[-1] + 1 for place in places]])
    return boxes


def _size(box: NDArray[np.int64], grid: Geometry) -> NDArray[np.float64]:
    return np.asarray((box[1] - box[0]) * np.asarray(grid.spacing), dtype=np.float64)
