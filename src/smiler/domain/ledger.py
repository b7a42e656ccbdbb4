"""The cohort on disk: `cohort.toml` names the organs, `cases.csv` has one row a volume."""

import csv
import io
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from smiler.domain.cells import Cell, parse_cell, reads_back
from smiler.domain.cohort import LEDGER, MANIFEST, Case, Cohort, fits_ledger
from smiler.domain.errors import BadInput, Faults, raise_all
from smiler.domain.files import cannot_write, write_text
from smiler.domain.organs import Organ, OrganSet
from smiler.domain.places import exists
from smiler.domain.remote import Remote, place
from smiler.domain.signpost import instead, signpost

FORMAT = 1
_WORDS = {"absent", "unannotated", "none", "missing", "nan", "n/a", "na", "-", "0", "no"}
_FIXED = ("case", "patient", "image")
_MANIFEST_KEYS = {"format", "name", "sealed", "organ"}
_ORGAN_KEYS = {"key", "title", "snomed", "colour", "part_of", "overlaps"}


def read_cohort(folder: Path, *, sealed: bool) -> Cohort:
    """Open a cohort folder. A sealed one (hidden truth) opens only where `sealed` says that truth is wanted."""
    if not isinstance(folder, Remote) and signpost(folder).kind not in ("cohort", "other"):
        raise instead("not a cohort: the file does not exist", folder, folder / MANIFEST)
    organs, name, is_sealed = read_manifest(folder / MANIFEST)
    _refuse_sealed(folder, is_sealed and not sealed)
    return Cohort(folder, organs, read_ledger(folder / LEDGER, organs), name, is_sealed)


def _refuse_sealed(folder: Path, refused: bool) -> None:
    if refused:
        do = "train on the cohort from which the annotations were hidden"
        raise BadInput("this cohort is sealed truth: only evaluation may read it", where=str(folder), do=do)


def cohort_at(folder: Path, *, lost_proposals: bool = False) -> Cohort | None:
    """The cohort that lies there, to be merged into; None if there is none.

    One without cases where there is only `cohort.toml`: its writer was killed before the ledger came. lost_proposals:
    files of `auto:` cells may be gone, since they are made again.
    """
    ledger = (folder / LEDGER).exists()
    if not ledger and not (folder / MANIFEST).exists():
        return None
    organs, name, sealed = read_manifest(folder / MANIFEST)
    _refuse_sealed(folder, sealed)
    cases = read_ledger(folder / LEDGER, organs, lost_proposals=lost_proposals) if ledger else ()
    return Cohort(folder, organs, cases, name)


def write_cohort(cohort: Cohort) -> None:
    """Write both files, each atomically; the ledger last, since it is what names the cases.

    A `cohort.toml` that says the same already stays as a person wrote it.
    """
    raise_all([_unwritable(case, key) for case in cohort for key, cell in case.cells.items() if not reads_back(cell)])
    try:
        cohort.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(cohort.folder, error) from error
    if not _says_so(cohort):
        write_text(cohort.folder / MANIFEST, manifest_text(cohort))
    write_text(cohort.folder / LEDGER, ledger_text(cohort))


def _says_so(cohort: Cohort) -> bool:
    path = cohort.folder / MANIFEST
    try:
        return path.exists() and read_manifest(path) == (cohort.organs, cohort.name, cohort.sealed)
    except BadInput:
        return False


def _unwritable(case: Case, organ: str) -> BadInput:
    return BadInput(
        "the cell can't stand in the ledger: it would be read as something else",
        where=f"case {case.id}, organ {organ}",
        got=ascii(str(case.cell(organ))),
        do="rename the file: no 'auto:' before it, no '#' or '@' at its end, no line break",
    )


def manifest_text(cohort: Cohort) -> str:
    """`cohort.toml` of a cohort."""
    organs: list[dict[str, Any]] = []
    for organ in cohort.organs:
        row = {"key": organ.key, "title": organ.title, "snomed": organ.snomed, "colour": organ.colour}
        row |= {"part_of": organ.part_of or "", "overlaps": sorted(organ.overlaps)}  # type: ignore[dict-item]
        organs.append({key: value for key, value in row.items() if value})
    head: dict[str, Any] = {"format": FORMAT, "name": cohort.name, "sealed": cohort.sealed}
    return tomli_w.dumps({key: value for key, value in head.items() if value} | {"organ": organs})


def ledger_text(cohort: Cohort) -> str:
    """`cases.csv` of a cohort."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_FIXED, *cohort.organs.keys])
    keys = cohort.organs.keys
    for case in cohort:
        writer.writerow([case.id, case.patient, case.image, *(str(case.cell(key)) for key in keys)])
    return stream.getvalue()


def read_manifest(path: Path) -> tuple[OrganSet, str, bool]:
    """Organs, name and seal out of `cohort.toml`; unknown keys are refused."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise BadInput("not a cohort: the file does not exist", where=str(path)) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput("the file is not readable TOML", where=str(path), got=str(error)) from error
    faults = [
        BadInput("unknown key", where=str(path), got=repr(key), do=f"use {', '.join(sorted(_MANIFEST_KEYS))}")
        for key in table
        if key not in _MANIFEST_KEYS
    ]
    if table.get("format") != FORMAT:
        faults.append(BadInput(f"only format = {FORMAT} is known", where=str(path), got=repr(table.get("format"))))
    for key, kind, word in (("name", str, "a text"), ("sealed", bool, "true or false"), ("organ", list, "a list")):
        if not isinstance(table.get(key, kind()), kind):
            faults.append(BadInput(f"{key} is {word}", where=str(path), got=repr(table[key])))
    raise_all(faults)
    rows = table.get("organ", [])
    organs = [_organ(row, f"{path}, organ {i + 1}", faults) for i, row in enumerate(rows)]
    raise_all(faults)
    try:
        organ_set = OrganSet(tuple(organ for organ in organs if organ))
    except BadInput as error:
        raise BadInput(error.what, where=f"{path}: {error.where}", got=error.got, do=error.do) from error
    return organ_set, table.get("name", ""), table.get("sealed", False)


def _organ(row: Any, where: str, faults: list[BadInput]) -> Organ | None:
    if not isinstance(row, dict) or not isinstance(row.get("key"), str):
        faults.append(BadInput("an organ is a table with a key", where=where))
        return None
    texts = {key: value for key, value in row.items() if key != "overlaps"}
    overlaps = row.get("overlaps", [])
    for key, value in texts.items():
        if key not in _ORGAN_KEYS or not isinstance(value, str):
            faults.append(BadInput("unknown key or not a text", where=where, got=f"{key} = {value!r}"))
    if not isinstance(overlaps, list) or not all(isinstance(value, str) for value in overlaps):
        faults.append(BadInput("overlaps is a list of organ keys", where=where, got=repr(overlaps)))
    if faults:
        return None
    try:
        part_of = texts.pop("part_of", None)
        return Organ(**texts, part_of=part_of or None, overlaps=frozenset(overlaps))
    except BadInput as error:
        faults.append(error)
        return None


def read_ledger(path: Path, organs: OrganSet, *, lost_proposals: bool = False) -> tuple[Case, ...]:
    """Cases out of `cases.csv`; all faults together, each with its row (as a spreadsheet counts) and column.

    lost_proposals: files of `auto:` cells may be gone.
    """
    rows = _rows(path)
    header = rows[0]
    reader = _LedgerReader(path, organs, header, lost_proposals)
    reader.check_header()
    for number, row in enumerate(rows[1:], start=2):
        if any(value.strip() for value in row):
            reader.read_row(number, row)
    raise_all(reader.faults)
    return tuple(reader.cases)


def _rows(path: Path) -> list[list[str]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise BadInput("not a cohort: the file does not exist", where=str(path)) from error
    except UnicodeDecodeError as error:
        row = path.read_bytes()[: error.start].count(b"\n") + 1
        raise BadInput(
            "the file is not UTF-8", where=f"{path}, row {row}", got=str(error), do="save it as CSV UTF-8"
        ) from error
    except OSError as error:
        raise BadInput("the file can't be read", where=str(path), got=str(error)) from error
    if "\x00" in text:
        raise BadInput("the file holds NUL characters", where=str(path), do="save it as CSV UTF-8")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise BadInput("the file is not CSV", where=str(path), got=str(error), do="check its quotes") from error
    if not rows or not rows[0]:
        raise BadInput("the ledger is empty", where=str(path), do="the first row is case,patient,image,ORGAN,...")
    return rows


@dataclass
class _LedgerReader:
    path: Path
    organs: OrganSet
    header: list[str]
    lost_proposals: bool = False
    faults: list[BadInput] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)

    def fault(self, row: int, column: str, what: str, got: str = "", do: str = "") -> None:
        where = f"{self.path}, row {row}" + (f", column {column}" if column else "")
        self.faults.append(BadInput(what, where=where, got=got, do=do))

    def check_header(self) -> None:
        names = [name.strip() for name in self.header]
        self.header = names
        for name in names:
            if name not in (*_FIXED, *self.organs.keys):
                known = ", ".join((*_FIXED, *self.organs.keys))
                self.fault(1, name, "unknown column", repr(name), f"use {known}, or declare the organ in {MANIFEST}")
            elif names.count(name) > 1:
                self.fault(1, name, "the column stands twice")
        for name in (*_FIXED, *self.organs.keys):
            if name not in names:
                self.fault(1, name, "the column is missing")
        raise_all(self.faults)

    def read_row(self, number: int, row: Sequence[str]) -> None:
        if len(row) != len(self.header):
            self.fault(number, "", f"the row has {len(row)} columns, the header {len(self.header)}")
            return
        values = dict(zip(self.header, (value.strip() for value in row), strict=True))
        before = len(self.faults)
        self._check_identity(number, values)
        cells = {key: self._cell(number, key, values[key]) for key in self.organs.keys}
        if len(self.faults) == before:
            self.cases.append(_case(values, cells))

    def _check_identity(self, number: int, values: Mapping[str, str]) -> None:
        case_id = values["case"]
        if case_id.lower() in self.seen:
            first = self.seen[case_id.lower()]
            self.fault(number, "case", "the case id is used twice", repr(case_id), f"row {first} has it too")
        self.seen.setdefault(case_id.lower(), number)
        for column in ("patient", "image"):
            if not values[column]:
                self.fault(number, column, "the cell is empty")
            elif not fits_ledger(values[column]):
                self.fault(number, column, "the cell holds characters that can't be seen", ascii(values[column]))
        try:
            Case(case_id, "-", "-")
        except BadInput as error:
            self.fault(number, "case", error.what, repr(case_id), error.do)
        if values["image"]:
            self._check_exists(number, "image", values["image"])

    def _cell(self, number: int, key: str, text: str) -> Cell | None:
        try:
            cell = parse_cell(text)
        except Faults:
            raise
        except BadInput as error:
            self.fault(number, key, error.what, error.got, error.do)
            return None
        if cell.path and not (cell.auto and self.lost_proposals):
            self._check_exists(number, key, cell.path)
        return cell

    def _check_exists(self, number: int, column: str, path: str) -> None:
        """An address is looked at when it is fetched: a store needs a moment for each question."""
        try:
            found = place(path, self.path.parent)
        except BadInput as error:
            self.fault(number, column, error.what, repr(path), error.do)
            return
        if not isinstance(found, Remote) and not exists(found):
            do = "" if Path(path).is_absolute() else "paths start at the cohort's folder"
            if "\\" in path and not Path(path).is_absolute():
                do = f"write / between the names of folders: {path.replace(chr(92), '/')}"
            if path.strip().lower() in _WORDS:
                do = "write absent, in small letters, if an expert looked; leave the cell empty if nobody did"
            self.fault(number, column, "the file does not exist", repr(path), do)


def _case(values: Mapping[str, str], cells: Mapping[str, Cell | None]) -> Case:
    kept = {key: cell for key, cell in cells.items() if cell is not None and str(cell)}
    return Case(values["case"], values["patient"], values["image"], kept)
