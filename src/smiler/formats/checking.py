"""The files behind the cases of an import: can each CT be read to its last byte, and do the masks lie on its grid?"""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from smiler.domain.errors import BadInput
from smiler.formats.base import RawCase
from smiler.formats.volumes import ReadOptions, check, is_nifti, off_the_grid, read_header

MOST_THREADS = 8
OFF_GRID = "masks don't lie on their CT's grid, so that audit and training refuse them: smiler audit --fix-geometry"


@dataclass(frozen=True)
class Checked:
    """What was found of one case: why its CT can't be read, masks of other sizes, whether others lie off its grid."""

    id: str
    unreadable: BadInput | None = None
    others: tuple[BadInput, ...] = ()
    off_grid: bool = False


class Checks:
    """Checks cases while others are read; `results` waits for all of them."""

    def __init__(self, reading: ReadOptions) -> None:
        self.reading = reading
        self.pool = ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1))
        self.asked: list[Future[Checked]] = []

    def __enter__(self) -> "Checks":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.pool.shutdown(cancel_futures=True)

    def add(self, case: RawCase) -> None:
        """Check this case, too."""
        self.asked.append(self.pool.submit(check_case, case, self.reading))

    def results(self) -> list[Checked]:
        """In the order of the cases."""
        return [future.result() for future in self.asked]


def check_case(case: RawCase, reading: ReadOptions) -> Checked:
    """Check the CT, and compare the headers of its masks."""
    try:
        ct = check(case.image, reading)
    except BadInput as error:
        return Checked(case.id, unreadable=_of_case(error, case.id))
    others, off_grid = [], False
    for path in dict.fromkeys(cell.path for cell in case.cells.values() if cell.path and is_nifti(cell.path)):
        try:
            mask = read_header(path, reading)
        except BadInput as error:
            others.append(_of_case(error, case.id))
            continue
        if mask.geometry.agrees(ct.geometry):
            continue
        if mask.shape != ct.shape and mask.geometry.shape != ct.geometry.shape:
            fault = off_the_grid(mask, ct.geometry, ct.axis_codes)
            do = "give the label map of this CT, or say --off-grid keep, then smiler audit --fix-geometry resample"
            others.append(BadInput(fault.what, where=f"case {case.id}, {path}", got=fault.got, do=do))
        else:
            off_grid = True
    return Checked(case.id, None, tuple(others), off_grid)


def _of_case(error: BadInput, case_id: str) -> BadInput:
    return BadInput(error.what, where=f"case {case_id}, {error.where}", got=error.got, do=error.do)
