"""A cohort: the organs and, for each volume, what is known of each of them. References only, no voxels."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from smiler.domain.cells import UNANNOTATED, Cell, Status
from smiler.domain.errors import BadInput, raise_all
from smiler.domain.organs import OrganSet
from smiler.domain.remote import absolute, is_address, place

CASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MANIFEST, LEDGER = "cohort.toml", "cases.csv"


def fits_ledger(text: str) -> bool:
    """Whether a text comes back from the ledger as it was: no line breaks, marks nobody sees, or blanks at its ends."""
    return text.isprintable() and text == text.strip()


@dataclass(frozen=True)
class Case:
    """One volume: its image and one cell per organ (an organ without a cell is unannotated)."""

    id: str
    patient: str
    image: str
    cells: Mapping[str, Cell] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not CASE_ID.fullmatch(self.id):
            raise BadInput(
                "not a usable case id",
                where=f"case {self.id!r}",
                do="use letters, digits, '.', '_' and '-', beginning with a letter or a digit",
            )
        if not self.image or not self.patient:
            raise BadInput("a case needs an image and a patient", where=f"case {self.id}")
        for what, text in (("patient", self.patient), ("path of the image", self.image)):
            if not fits_ledger(text):
                raise BadInput(f"the {what} can't stand in the ledger", where=f"case {self.id}", got=ascii(text))

    def cell(self, organ: str) -> Cell:
        """What is known of an organ."""
        return self.cells.get(organ, UNANNOTATED)

    def status(self, organ: str) -> Status:
        """What an expert said about an organ in this volume."""
        return self.cell(organ).status

    def with_cells(self, cells: Mapping[str, Cell]) -> "Case":
        """The same case with some cells replaced."""
        return replace(self, cells={**self.cells, **cells})


@dataclass(frozen=True)
class Cohort:
    """Organs and cases; `folder` is what relative paths start from. `sealed` marks hidden truth."""

    folder: Path
    organs: OrganSet
    cases: tuple[Case, ...]
    name: str = ""
    sealed: bool = False

    def __post_init__(self) -> None:
        seen: set[str] = set()
        faults = []
        for case in self.cases:
            if case.id.lower() in seen:
                faults.append(BadInput("the case id is used twice", where=f"case {case.id}"))
            seen.add(case.id.lower())
            for key in set(case.cells) - set(self.organs.keys):
                faults.append(BadInput("the cohort has no such organ", where=f"case {case.id}", got=repr(key)))
        raise_all(faults)

    @classmethod
    def open(cls, folder: str | Path) -> "Cohort":
        """Read `cohort.toml`, then `cases.csv`; every fault of a file is listed at once."""
        from smiler.domain.ledger import read_cohort

        return read_cohort(place(folder), sealed=False)

    def save(self) -> None:
        """Write `cohort.toml` and `cases.csv` into the folder, atomically."""
        from smiler.domain.ledger import write_cohort

        write_cohort(self)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)

    def __bool__(self) -> bool:
        raise TypeError("a cohort may be there without a case: ask `is None`, or `.cases`")

    def case(self, case_id: str) -> Case:
        """The case of that id."""
        for case in self.cases:
            if case.id == case_id:
                return case
        raise BadInput("no such case", where=str(self.folder / LEDGER), got=repr(case_id))

    def at(self, path: str) -> Path:
        """Where a path of the ledger leads."""
        return place(path, self.folder)

    def image_path(self, case: Case) -> Path:
        """Where the case's image lies."""
        return self.at(case.image)

    def mask_path(self, case: Case, organ: str) -> Path:
        """Where the mask of an annotated or proposed organ lies."""
        return self.at(case.cell(organ).path)

    def only(self, case_ids: Iterable[str]) -> "Cohort":
        """The same cohort with some of its cases, in ledger order."""
        wanted = set(case_ids)
        for unknown in wanted - {case.id for case in self.cases}:
            self.case(unknown)
        return replace(self, cases=tuple(case for case in self.cases if case.id in wanted))

    def missing_share(self, organ: str) -> float:
        """alpha of an organ: the share of cases in which nobody looked for it."""
        if not self.cases:
            return 0.0
        return sum(case.status(organ) is Status.UNANNOTATED for case in self.cases) / len(self.cases)


def relocate(cohort: Cohort, case: Case, folder: Path) -> Case:
    """The case with its paths written from another cohort folder: relative within it, else absolute, addresses kept."""
    base = absolute(folder)

    def move(path: str) -> str:
        if is_address(path):
            return path
        target = absolute(cohort.at(path))
        return target.relative_to(base).as_posix() if target.is_relative_to(base) else target.as_posix()

    def move_cell(cell: Cell) -> Cell:
        return replace(cell, path=move(cell.path)) if cell.path else cell

    cells = {key: move_cell(cell) for key, cell in case.cells.items()}
    return replace(case, image=move(case.image), cells=cells)
