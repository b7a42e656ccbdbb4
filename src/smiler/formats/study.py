"""DICOM studies: every CT series below a folder or zip file is a case, DICOM-SEG and RTSTRUCT are its masks."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
        unusable: dict[str, str] = {}
        about: dict[str, dict[str, str]] = {}
        for drawn in found["drawn"]:
            owner = owners.get(drawn["path"])
            if owner is not None and owner.series == item["path"]:
                told += owner.notes
                masks = _Masks(drawn, options, case_id, told, unusable)
                more, none = _cells(masks, grid.geometry, cells)
                cells, empty = cells | more, empty | none
                about |= {name: _about(drawn, cell) for name, cell in more.items()}
        told += [] if cells else ["no organ is annotated"]
        patient = options.patient_of(case_id) if options.patient_pattern else item["patient"].strip() or case_id
        uid = item["uid"] or _first_folder(place, source)
        return RawCase(case_id, patient, place, cells, tuple(told), empty, uid, unusable, about)

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


@dataclass(frozen=True)
class _Masks:
    """One DICOM-SEG or RTSTRUCT of a case as a scan describes it; what is told of it is added to the last two."""

    drawn: Mapping[str, Any]
    options: ImportOptions
    case_id: str
    notes: list[str]
    unusable: dict[str, str]

    def title(self, segment: Mapping[str, Any]) -> str:
        """How a segment is named to a person."""
        kind = "ROI" if self.drawn["kind"] == "RTSTRUCT" else "segment"
        return f"{kind} {segment['number']} {segment['names'][0]!a}"

    def titles(self, segments: Sequence[Mapping[str, Any]]) -> str:
        """Several, and their file."""
        return f"{', '.join(map(self.title, segments))} of {self.drawn['path']}"

    def by_organ(self) -> dict[str, list[Mapping[str, Any]]]:
        """The wanted segments of each organ; ROIs that enclose nothing are no organs."""
        named: dict[str, str] = {}
        wanted: dict[str, list[Mapping[str, Any]]] = {}
        for segment in self.drawn["segments"]:
            name = organ_name(segment, self.options)
            if not self.options.wants(name):
                continue
            if segment.get("marks"):
                what = f"so that {name} is unannotated" if self.options.wanted else "left out"
                self.notes.append(f"{self.title(segment)} encloses nothing (points, open lines): {what}")
                self.unusable[name] = f"{self.title(segment)} encloses nothing"
                continue
            wanted.setdefault(named.setdefault(_key(name, self.options) or name, name), []).append(segment)
        return wanted

    def read(self, geometry: Geometry) -> LabelMap:
        """What each segment holds; BadInput, with case and patient, if none can be used."""
        try:
            return LabelMap.read(Path(self.drawn["path"]), geometry)
        except BadInput as error:
            where = f"case {self.case_id}, patient {self.drawn['patient']!a}, {error.where}"
            raise BadInput(error.what, where=where, got=error.got, do=error.do) from error

    def segments(self, name: str, every: Sequence[Mapping[str, Any]], labels: LabelMap) -> Sequence[Mapping[str, Any]]:
        """The segments that together are an organ; none, with a note, where one of them can't be used.

        One without a voxel says nothing beside one that has some. BadInput for several, unless they are to be united.
        """
        bad = [segment for segment in every if segment["number"] in labels.unusable]
        if bad:
            why = "; ".join(f"{self.title(each)}: {labels.unusable[each['number']]}" for each in bad)
            what = f"organ {name} is unannotated, since its mask can't be used"
            self.notes.append(f"{what}: {why} (file {self.drawn['path']})")
            self.unusable[name] = why
            return []
        full = [segment for segment in every if segment["number"] in labels.values]
        for segment in every if full else ():
            if segment not in full:
                self.notes.append(f"{self.title(segment)} is empty; another one has the mask of {name}")
        return self._united(name, full) if len(full) > 1 else full or every[:1]

    def _united(self, name: str, segments: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        where, got = f"case {self.case_id}, organ {name}", self.titles(segments)
        if self.options.same_organ != "unite":
            do = f"say --same-organ unite if {name} is all of them together, or remove one"
            raise BadInput("several masks for one organ", where=where, got=got, do=do)
        if len({segment["kind"] == "AUTOMATIC" for segment in segments}) > 1 and not self.options.automatic_is_accepted:
            do = "remove one, or say --automatic-means annotated if an expert accepted both"
            raise BadInput("a person drew one mask of the organ, a program another", where=where, got=got, do=do)
        return segments


def _cells(masks: _Masks, geometry: Geometry, others: Mapping[str, Cell]) -> tuple[dict[str, Cell], frozenset[str]]:
    """Cells by the organ's name. What a program drew and nobody corrected is a proposal, if the user doesn't object."""
    wanted, options, notes, path = masks.by_organ(), masks.options, masks.notes, masks.drawn["path"]
    if not wanted:
        return {}, frozenset()
    labels = masks.read(geometry)
    notes += labels.notes
    cells: dict[str, Cell] = {}
    empty: set[str] = set()
    automatic = []
    for name, every in wanted.items():
        segments = masks.segments(name, every, labels)
        if not segments:
            continue
        cell = annotated(path, tuple(segment["number"] for segment in segments))
        if segments[0]["kind"] == "AUTOMATIC" and not options.automatic_is_accepted:
            automatic.append(name)
            cell = replace(_AUTO, path=path, labels=cell.labels)
        if labels.values.isdisjoint(cell.labels):
            if cell.auto:
                continue
            empty.add(name)
        where = f"case {masks.case_id}, organ {name}"
        if name in others and not _goes_before(cell, others[name], geometry, where, notes):
            continue
        cells[name] = cell
    if automatic:
        do = "--as expert or --automatic-means annotated if an expert accepted them"
        notes.append(f"drawn by a program, so taken as proposals: {', '.join(automatic)} ({do})")
    return cells, frozenset(empty)


def _about(drawn: Mapping[str, Any], cell: Cell) -> dict[str, str]:
    """What an object says of how an organ's mask was made."""
    segment = next(row for row in drawn["segments"] if row["number"] in cell.labels)
    told = {"kind": segment["kind"], "algorithm": segment["algorithm"], "manufacturer": drawn["manufacturer"]}
    return {"object": drawn["kind"], **{key: value for key, value in told.items() if value}}


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
