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
from smiler.formats.dicom.signature import HEAD_BYTES, looks_dicom
from smiler.formats.mask_owner import Owner, owner_of
from smiler.formats.volumes import read_header, read_labels

LOOKED_AT = 40
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def recognises(source: Path) -> bool:
    """One of the first files is DICOM."""
    try:
        entries = [entry for entry in islice(walk(source), LOOKED_AT) if not ending_of(entry.path.name)]
        return any(looks_dicom(entry.head(HEAD_BYTES)) for entry in entries if not entry.missing)
    except (BadInput, OSError):
        return False


def read(source: Path, options: ImportOptions) -> Iterator[RawCase]:
    """Every CT series of at least two slices, with the masks that refer to it."""
    found = client.scan(absolute(source))
    faults = [BadInput(what, where=where, got=got, do=do) for what, where, got, do in found["faults"]]
    series = [row for row in found["series"] if row["slices"] > 1 or len(found["series"]) == 1]
    if not series and found["series"]:
        faults.append(_each_slice_a_series(found["series"], source))
    owners: dict[str, Owner] = {}
    for row in found["drawn"]:
        try:
            owners[row["path"]] = owner_of(row, series, found["localizers"], options)
        except BadInput as error:
            faults.append(error)
    names, several = _names(series, source), _one_id_for_several(series)
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
        if not options.patient_pattern and item["patient"] in several:
            told.append(several[item["patient"]])
        cells: dict[str, Cell] = {}
        empty: frozenset[str] = frozenset()
        for drawn in found["drawn"]:
            owner = owners.get(drawn["path"])
            if owner is not None and owner.series == item["path"]:
                told += owner.notes
                more, none = _cells(drawn, options, grid.geometry, told, cells, case_id)
                cells, empty = cells | more, empty | none
        told += [] if cells else ["no organ is annotated"]
        patient = options.patient_of(case_id) if options.patient_pattern else item["patient"].strip() or case_id
        return RawCase(case_id, patient, place, cells, tuple(told), empty, item["uid"] or _first_folder(place, source))

    yield from each(series, read_one, faults)


def _each_slice_a_series(rows: Sequence[Mapping[str, Any]], source: Path) -> BadInput:
    """What is said of slices that nothing joins: neither a series UID nor patient, study, frame and geometry."""
    do = "give the slices of one volume one SeriesInstanceUID and FrameOfReferenceUID, or convert it to NIfTI"
    got = f"{len(rows)} series of one slice: {some([row['path'] for row in rows])}"
    return BadInput("each slice has a SeriesInstanceUID of its own", where=str(source), got=got, do=do)


def _one_id_for_several(series: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """PatientID -> a note, where series of several people may have it: folds split by patient."""
    notes = {}
    for patient in {row["patient"] for row in series if row["patient"]}:
        rows = [row for row in series if row["patient"] == patient]
        people = {name: {row["person"][name] for row in rows} - {""} for name in rows[0]["person"]}
        by = [name for name, values in people.items() if len(values) > 1]
        studies = len({row["study"] for row in rows})
        do = "tell them apart in cases.csv, or with --patient-pattern ('(.+)': each case is a patient)"
        if by:
            notes[patient] = f"PatientID {patient!a} is one patient here, and several by {', '.join(by)}: {do}"
        elif studies > 1:
            notes[patient] = (
                f"{studies} studies have the PatientID {patient!a}, one patient here; if they are several, {do}"
            )
    return notes


def _first_folder(place: Path, source: Path) -> str:
    """The folder of a case in an export whose series lost their UIDs."""
    parts = place.relative_to(absolute(source)).parts
    return parts[0] if parts else ""


def _cells(
    drawn: Mapping[str, Any],
    options: ImportOptions,
    geometry: Geometry,
    notes: list[str],
    others: Mapping[str, Cell],
    case_id: str,
) -> tuple[dict[str, Cell], frozenset[str]]:
    """Cells by the organ's name. What a program drew and nobody corrected is a proposal, if the user doesn't object."""
    wanted = _by_organ(drawn, options, notes)
    if not wanted:
        return {}, frozenset()
    masks = _read_masks(drawn, geometry, case_id)
    notes += masks.notes
    cells: dict[str, Cell] = {}
    empty: set[str] = set()
    automatic = []
    for name, every in wanted.items():
        segments: Sequence[Mapping[str, Any]] = _usable(every, masks, name, drawn, notes)
        if len(segments) > 1:
            segments = _united(segments, name, drawn, options, f"case {case_id}, organ {name}")
        if not segments:
            continue
        cell = annotated(drawn["path"], tuple(segment["number"] for segment in segments))
        if segments[0]["kind"] == "AUTOMATIC" and options.automatic_means == "auto":
            automatic.append(name)
            cell = replace(_AUTO, path=drawn["path"], labels=cell.labels)
        if masks.values.isdisjoint(cell.labels):
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


def _by_organ(drawn: Mapping[str, Any], options: ImportOptions, notes: list[str]) -> dict[str, list[Mapping[str, Any]]]:
    """The wanted segments of each organ; ROIs that enclose nothing are no organs."""
    named: dict[str, str] = {}
    wanted: dict[str, list[Mapping[str, Any]]] = {}
    for segment in drawn["segments"]:
        name = organ_name(segment, options)
        if not options.wants(name):
            continue
        if segment.get("marks"):
            what = f"so that {name} is unannotated" if options.wanted else "left out"
            notes.append(f"{_title(segment, drawn)} encloses nothing (points, open lines): {what}")
            continue
        wanted.setdefault(named.setdefault(_key(name, options) or name, name), []).append(segment)
    return wanted


def _read_masks(drawn: Mapping[str, Any], geometry: Geometry, case_id: str) -> LabelMap:
    try:
        return LabelMap.read(Path(drawn["path"]), geometry)
    except BadInput as error:
        where = f"case {case_id}, patient {drawn['patient']!a}, {error.where}"
        raise BadInput(error.what, where=where, got=error.got, do=error.do) from error


def _usable(
    segments: Sequence[Mapping[str, Any]], masks: LabelMap, name: str, drawn: Mapping[str, Any], notes: list[str]
) -> list[Mapping[str, Any]]:
    """The segments of an organ that have a mask; none, with a note, where one of them can't be used.

    One without a voxel says nothing beside one that has some.
    """
    bad = [segment for segment in segments if segment["number"] in masks.unusable]
    if bad:
        why = "; ".join(f"{_title(each, drawn)}: {masks.unusable[each['number']]}" for each in bad)
        notes.append(f"organ {name} is unannotated, since its mask can't be used: {why} (file {drawn['path']})")
        return []
    with_voxels = [segment for segment in segments if segment["number"] in masks.values]
    for segment in segments if with_voxels and len(with_voxels) < len(segments) else ():
        if segment not in with_voxels:
            notes.append(f"{_title(segment, drawn)} is empty; another one has the mask of {name}")
    return with_voxels or list(segments[:1])


def _united(
    segments: Sequence[Mapping[str, Any]], name: str, drawn: Mapping[str, Any], options: ImportOptions, where: str
) -> Sequence[Mapping[str, Any]]:
    """Several masks for one organ, if the user says that they are parts of it; BadInput if not."""
    got = f"{', '.join(_title(segment, drawn) for segment in segments)} of {drawn['path']}"
    if options.same_organ != "unite":
        do = f"say --same-organ unite if {name} is all of them together, or remove one"
        raise BadInput("several masks for one organ", where=where, got=got, do=do)
    if len({segment["kind"] == "AUTOMATIC" for segment in segments}) > 1 and options.automatic_means == "auto":
        do = "remove one, or say --automatic-means annotated if an expert accepted both"
        raise BadInput("one mask of an organ was drawn by a person, one by a program", where=where, got=got, do=do)
    return segments


def _title(segment: Mapping[str, Any], drawn: Mapping[str, Any]) -> str:
    return f"{'ROI' if drawn['kind'] == 'RTSTRUCT' else 'segment'} {segment['number']} {segment['names'][0]!a}"


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
    taken: set[str] = set()  # case ids differ by more than capitals
    for number, row in enumerate(series, start=1):
        base = row["patient"] or source.name.removesuffix(".zip")
        if patients[row["patient"]] > 1:
            base += f"_{row['number'] or number}"
        base = _UNSAFE.sub("_", base).strip("._-")[:100] or "case"
        name, again = base, 2
        while name.lower() in taken:
            name, again = f"{base}_{again}", again + 1
        taken.add(name.lower())
        names[row["path"]] = name
    return names


FORMAT = Format(
    name="dicom",
    title="DICOM: a folder or zip file with CT series, DICOM-SEG and RTSTRUCT beside them",
    looks_for="DICOM files",
    recognises=recognises,
    read=read,
)
