"""What is exported of a cohort: which cells, as which bits, and who drew them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from smiler.domain.cells import Cell, annotated
from smiler.domain.checks import check_choice, check_once
from smiler.domain.cohort import Case, Cohort
from smiler.domain.organs import OrganSet
from smiler.domain.origin import Origin, origin_of
from smiler.domain.progress import Progress, Silent
from smiler.formats.labels import LabelOptions, Labels, read_case_labels
from smiler.formats.volumes import Grid, ReadOptions, read_header

Include = Literal["expert", "accepted", "all"]
INCLUDES: Mapping[Include, str] = {
    "expert": "what experts drew",
    "accepted": "and what they accepted of a model's proposals, or of masks of unknown origin",
    "all": "and proposals that nobody has accepted",
}


@dataclass(frozen=True)
class ExportRequest:
    """What to export, and where to. `organs` empty: all. copy_images: copy CT files instead of linking to them."""

    out: Path
    include: Include = "accepted"
    organs: tuple[str, ...] = ()
    copy_images: bool = False
    reading: ReadOptions = ReadOptions()
    labels: LabelOptions = LabelOptions()

    def __post_init__(self) -> None:
        check_choice(self.include, "--include", "choice", INCLUDES)
        check_once(self.organs, "--organs")


@dataclass(frozen=True)
class Piece:
    """One case as it is exported: its cells (proposals count as drawn in `labels`), and who drew each mask."""

    case: Case
    cells: Mapping[str, Cell]
    grid: Grid
    labels: Labels
    origins: Mapping[str, Origin] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def mask(self, organs: OrganSet, key: str) -> NDArray[np.uint8]:
        """An organ's mask (z, y, x)."""
        return (self.labels.drawn >> organs.index(key) & 1).astype(np.uint8)


def pieces(cohort: Cohort, request: ExportRequest, progress: Progress | None = None) -> Iterator[Piece]:
    """Every case, one at a time. BadInput names what can't be read."""
    for key in request.organs:
        cohort.organs.index(key)
    keys = request.organs or cohort.organs.keys
    for case in (progress or Silent()).track(cohort.cases, "exporting", len(cohort)):
        yield _piece(cohort, case, keys, request)


def _piece(cohort: Cohort, case: Case, keys: Sequence[str], request: ExportRequest) -> Piece:
    grid = read_header(cohort.image_path(case), request.reading)
    origins, cells, told = {}, {}, {}
    for key in keys:
        cell = case.cell(key)
        if cell.path:
            origins[key], about = origin_of(cohort, case, key)
            told.update({key: about} if about else {})
        if str(cell) and not (cell.path and not _wanted(origins[key], request.include)):
            cells[key] = cell
    drawn = {key: annotated(cell.path, cell.labels) if cell.auto else cell for key, cell in cells.items()}
    labels = read_case_labels(cohort, replace(case, cells=drawn), grid.geometry, request.labels)
    kept = {key: origins[key] for key in cells if key in origins}
    return Piece(case, cells, grid, labels, kept, {key: told[key] for key in kept if key in told})


def _wanted(origin: Origin, include: Include) -> bool:
    levels: Mapping[Origin, int] = {"expert": 0, "corrected": 0, "accepted": 1, "unknown": 1, "proposed": 2}
    return list(INCLUDES).index(include) >= levels[origin]
