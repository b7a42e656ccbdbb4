"""DICOM studies: every CT series below a folder or zip file is a case, DICOM-SEG and RTSTRUCT are its masks."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from smiler.domain.cells import Cell, annotated
from smiler.domain.endings import ending_of
from smiler.domain.errors import BadInput
from smiler.domain.geometry import Geometry
from smiler.domain.places import walk
from smiler.formats.anatomy import ANATOMY
from smiler.formats.base import Format, ImportOptions, LabelMap, RawCase, absolute, each, some
from smiler.formats.dicom import client
from smiler.formats.volumes import read_header, read_labels

LOOKED_AT = 40
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def recognises(source: Path) -> bool:
    """One of the first files is DICOM."""
    try:
        entries = [entry for entry in islice(walk(source), LOOKED_AT) if not ending_of(entry.path.name)]
        return any(entry.read()[128:132] == b"DICM" for entry in entries)
    except (BadInput, OSError):
        return False


def read(source: Path, options: ImportOptions) -> Iterator[RawCase]:
    """Every CT series of at least two slices, with the masks that refer to it."""
    found = client.scan(absolute(source))
    faults = [BadInput(what, where=where, got=got, do=do) for what, where, got, do in found["faults"]]
    series = [row for row in found["series"] if row["slices"] > 1 or len(found["series"]) == 1]
    owners = {row["path"]: _owner(row, series) for row in found["drawn"]}
    for row in found["drawn"]:
        if owners[row["path"]] is None:
            do = "put it beside its CT series, one patient a folder"
            faults.append(BadInput(f"the {row['kind']} refers to no CT series there", where=row["path"], do=do))
    names = _names(series, source)
    others = [name for name in found["skipped"] if not name.endswith(".json")]
    notes = [f"files that are neither CT nor masks: {some(others)}"] if others else []
    single = [row["path"] for row in found["series"] if row not in series]
    notes += [f"series of a single slice left out: {some(single)}"] if single else []

    def read_one(item: Mapping[str, Any]) -> RawCase:
        place, case_id = Path(item["path"]), names[item["path"]]
        grid = read_header(place, options.reading)
        if grid.shape[2] < item["slices"] and not any("there twice" in note for note in grid.notes):
            got = f"{grid.shape[2]} of {item['slices']} slices"
            raise BadInput("not the whole series can be read at one place", where=f"case {case_id}, {place}", got=got)
        told = [*notes, *grid.notes]
        cells: dict[str, Cell] = {}
        empty: frozenset[str] = frozenset()
        for drawn in found["drawn"]:
            if owners[drawn["path"]] == item["path"]:
                more, none = _cells(drawn, options, grid.geometry, told, cells, case_id)
                cells, empty = cells | more, empty | none
        told += [] if cells else ["no organ is annotated"]
        patient = options.patient_of(case_id) if options.patient_pattern else item["patient"].strip() or case_id
        return RawCase(case_id, patient, place, cells, tuple(told), empty, item["uid"] or _first_folder(place, source))

    yield from each(series, read_one, faults)


def _first_folder(place: Path, source: Path) -> str:
    """The folder of a case in an export whose series lost their UIDs."""
    parts = place.relative_to(absolute(source)).parts
    return parts[0] if parts else ""


def _owner(drawn: Mapping[str, Any], series: Sequence[Mapping[str, Any]]) -> str | None:
    """The series that a mask refers to: by its objects or its UID; by frame of reference where it names no object."""
    refers = set(drawn["uids"])
    if refers:
        rows = [row for row in series if row["uid"] in refers or refers & set(row["uids"])]
    else:
        rows = [row for row in series if row["frame"] and row["frame"] in drawn["frames"]]
    return str(rows[0]["path"]) if len(rows) == 1 else None


def _cells(
    drawn: Mapping[str, Any],
    options: ImportOptions,
    geometry: Geometry,
    notes: list[str],
    others: Mapping[str, Cell],
    case_id: str,
) -> tuple[dict[str, Cell], frozenset[str]]:
    """Cells by the organ's name. What a program drew and nobody corrected is a proposal, if the user doesn't object."""
    labels = LabelMap.read(Path(drawn["path"]), geometry)
    cells: dict[str, Cell] = {}
    empty: set[str] = set()
    automatic = []
    for segment in drawn["segments"]:
        name = organ_name(segment, options)
        if not options.wants(name):
            continue
        if name in cells:
            got = f"segment {segment['number']} of {drawn['path']}"
            raise BadInput("two masks for one organ", where=f"case {case_id}, organ {name}", got=got, do="remove one")
        cell = annotated(drawn["path"], (segment["number"],))
        if segment["kind"] == "AUTOMATIC" and options.automatic_means == "auto":
            automatic.append(name)
            cell = replace(_AUTO, path=drawn["path"], labels=cell.labels)
        if segment["number"] not in labels.values:
            if cell.auto:
                continue
            empty.add(name)
        if name in others and not _goes_before(cell, others[name], geometry, f"case {case_id}, organ {name}", notes):
            continue
        cells[name] = cell
    if automatic:
        do = "--automatic-means annotated if an expert accepted them"
        notes.append(f"drawn by a program, so taken as proposals: {', '.join(automatic)} ({do})")
    return cells, frozenset(empty)


def _goes_before(new: Cell, old: Cell, geometry: Geometry, where: str, notes: list[str]) -> bool:
    """Which of two masks of one organ is taken: an expert's before a program's; of equal ones the first.

    BadInput where both are of one kind and differ.
    """
    if new.auto != old.auto:
        notes.append(f"{where}: an expert's mask goes before a program's")
        return old.auto
    one, other = (read_labels(cell.path, geometry=geometry).mask(cell.labels) for cell in (old, new))
    if not np.array_equal(one, other):
        do = "remove one of the files, or leave the organ out with --organs"
        raise BadInput("two masks for one organ, and they differ", where=where, got=f"{old} and {new}", do=do)
    return False


_AUTO = Cell(path="-", auto=True)


def organ_name(segment: Mapping[str, Any], options: ImportOptions) -> str:
    """What a segment is called: its key where smiler wrote it, its SNOMED CT code and side, a known name, its label.

    A code that several organs have (a neoplasm) says nothing alone; a name gets the side that the code carries.
    """
    if segment["key"]:
        return str(segment["key"])
    coded = [key for key, organ in ANATOMY.items() if organ.snomed and organ.snomed == segment["snomed"]]
    coded = [key for key in coded if _side(key) == segment["side"]]
    if len(coded) == 1:
        return coded[0]
    names = [name for name in segment["names"] if name.strip()]
    sided = [f"{name} {segment['side']}" for name in names] if segment["side"] else []
    for name in (*sided, *names):
        key = _key(name, options)
        if key in ANATOMY and _side(str(key)) == (segment["side"] or _side(str(key))):
            return str(key)
    return (sided or names or [f"segment {segment['number']}"])[0]


def _side(key: str) -> str:
    return next((word for word in ("left", "right") if key.endswith(f"_{word}")), "")


def _key(name: str, options: ImportOptions) -> str | None:
    try:
        return options.names.key(name)
    except BadInput:
        return None


def _names(series: Sequence[Mapping[str, Any]], source: Path) -> dict[str, str]:
    """Path of each series -> case id: the patient's, with the series number where that is not enough."""
    patients = Counter(row["patient"] for row in series)
    names: dict[str, str] = {}
    for number, row in enumerate(series, start=1):
        base = row["patient"] or source.name.removesuffix(".zip")
        if patients[row["patient"]] > 1:
            base += f"_{row['number'] or number}"
        base = _UNSAFE.sub("_", base).strip("._-")[:100] or "case"
        name, again = base, 2
        while name in names.values():
            name, again = f"{base}_{again}", again + 1
        names[row["path"]] = name
    return names


FORMAT = Format(
    name="dicom",
    title="DICOM: a folder or zip file with CT series, DICOM-SEG and RTSTRUCT beside them",
    looks_for="DICOM files",
    recognises=recognises,
    read=read,
)
