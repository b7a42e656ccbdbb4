"""What a study holds: the CT series that can be cases, and the segmentations and structure sets drawn on them."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smiler.domain.errors import BadInput
from smiler.domain.places import SERIES
from smiler.formats.dicom import segmentation, structures
from smiler.formats.dicom.grouping import FEWEST, Key, alike
from smiler.formats.dicom.headers import shared
from smiler.formats.dicom.objects import CT_CLASSES, MASK_CLASSES, RTSTRUCT_CLASS, NotDicom, Object, objects


@dataclass
class _Group:
    """The slices of one series, without their headers: a study may have a hundred thousand."""

    patient: str
    number: str
    series: str
    frame: str
    study: str
    person: dict[str, str]
    uids: list[str] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    slices: int = 0

    @classmethod
    def of(cls, found: Object) -> "_Group":
        """An empty group for the series of this slice."""
        told = {name: str(found.header.get(name) or "").strip() for name in (*_TOLD, *_PERSON)}
        patient, number, frame = (told[name] for name in _TOLD)
        return cls(patient, number, found.series, frame, found.study, {name: told[name] for name in _PERSON})

    def add(self, found: Object) -> None:
        self.uids.append(found.uid)
        self.paths.append(found.path)
        self.slices += int(found.header.get("NumberOfFrames") or 1)

    def take(self, other: "_Group") -> None:
        """The slices of another one too; together they have no series UID."""
        self.uids += other.uids
        self.paths += other.paths
        self.slices += other.slices
        self.series = ""


_TOLD = ("PatientID", "SeriesNumber", "FrameOfReferenceUID")
_PERSON = ("PatientName", "PatientBirthDate", "PatientSex")


def scan(path: Path) -> dict[str, Any]:
    """`series`: path, patient, number and UIDs of each; `drawn`: path, what it refers to, and its segments or ROIs."""
    groups: dict[Key, _Group] = {}
    drawn: list[dict[str, Any]] = []
    skipped: list[str] = []
    localizers: list[str] = []
    broken: list[BadInput] = []
    for found in objects(path, broken):
        try:
            if isinstance(found, NotDicom):
                _refuse_lost(found)
                skipped.append(found.path.name)
            elif found.is_directory:
                continue
            elif found.is_ct:
                groups.setdefault(shared(found), _Group.of(found)).add(found)
            elif found.masks:
                drawn.append(_drawn(found))
            else:
                skipped.append(found.path.name)
                localizers += [found.uid] if found.sop_class in CT_CLASSES else []
        except BadInput as error:
            broken.append(error)
    for keys in alike({key: (group.patient, group.study, group.slices) for key, group in groups.items()}):
        for key in keys[1:]:
            groups[keys[0]].take(groups.pop(key))
    series = [_series(group, list(groups.values()), broken) for group in groups.values()]
    faults = [[error.what, error.where, error.got, error.do] for error in broken]
    return {"series": series, "drawn": drawn, "skipped": skipped, "localizers": localizers, "faults": faults}


def _refuse_lost(found: NotDicom) -> None:
    """A file whose name says DICOM may be a slice or hold masks: it is not left out without a word."""
    if found.claims_to_be_dicom:
        do = "get the file again, or take it out of the folder"
        raise BadInput("the DICOM file can't be read", where=str(found.path), got=found.why, do=do)


def _series(group: _Group, groups: list[_Group], broken: list[BadInput]) -> dict[str, Any]:
    return {
        "path": str(_place(group, groups, broken)),
        "patient": group.patient,
        "number": group.number,
        "uid": group.series,
        "frame": group.frame,
        "study": group.study,
        "person": group.person,
        "uids": group.uids,
        "slices": group.slices,
    }


def _place(group: _Group, groups: list[_Group], broken: list[BadInput]) -> Path:
    """The path that leads to this series and no other: a folder, its one file, or a folder with its UID."""
    folder = Path(os.path.commonpath([str(path.parent) for path in group.paths]))
    others = [g for g in groups if g is not group and any(path.is_relative_to(folder) for path in g.paths)]
    if not others:
        return folder
    if len(group.paths) == 1:
        return group.paths[0]
    if not group.series or any(other.series == group.series for other in others):
        got = f"{group.slices} slices beside others" + (_few(group) if group.slices <= FEWEST else "")
        do = "put each series into a folder of its own, or take odd slices out"
        broken.append(BadInput("series that can't be told apart by their UID", where=str(folder), got=got, do=do))
    return folder / f"{SERIES}{group.series}"


def _few(group: _Group) -> str:
    return f": {', '.join(ascii(path.name)[1:-1] for path in group.paths)}"


def _drawn(found: Object) -> dict[str, Any]:
    if found.sop_class not in MASK_CLASSES:
        where = f"{found.path}, patient {found.patient!a}"
        do = "convert it to DICOM-SEG or RTSTRUCT, or take it out of the folder"
        raise BadInput("masks of a kind that can't be read", where=where, got=found.masks, do=do)
    describe = structures.describe if found.sop_class == RTSTRUCT_CLASS else segmentation.describe
    return {
        "path": str(found.path),
        "kind": found.masks,
        "patient": found.patient,
        "manufacturer": " ".join(filter(None, (str(found.header.get(key) or "").strip() for key in _MAKERS))),
        "uids": sorted(_referenced(found.header)),
        "slices": {uid: sorted(slices) for uid, slices in _slices_of_series(found.header).items()},
        "frames": sorted(_reference_frames(found.header)),
        "segments": describe(found),
    }


_MAKERS = ("Manufacturer", "ManufacturerModelName", "StructureSetLabel", "SeriesDescription")


def _slices_of_series(header: Any) -> dict[str, set[str]]:
    """UIDs of the slices that it says each series has."""
    told: dict[str, set[str]] = {}

    def look(item: Any, element: Any) -> None:
        if element.keyword in ("ContourImageSequence", "ReferencedInstanceSequence") and item.get("SeriesInstanceUID"):
            uids = {str(row.get("ReferencedSOPInstanceUID") or "") for row in element.value}
            told.setdefault(str(item.SeriesInstanceUID), set()).update(uids - {""})

    header.walk(look, recursive=True)
    return told


def _referenced(header: Any) -> set[str]:
    """UIDs of the objects and series that it refers to."""
    found: set[str] = set()

    def look(_: Any, element: Any) -> None:
        if element.keyword in ("ReferencedSOPInstanceUID", "SeriesInstanceUID"):
            found.add(str(element.value))

    header.walk(look, recursive=True)
    return found - {str(header.get("SeriesInstanceUID") or "")}


def _reference_frames(header: Any) -> set[str]:
    rows = [header, *(header.get("ReferencedFrameOfReferenceSequence") or ())]
    return {str(row.FrameOfReferenceUID) for row in rows if row.get("FrameOfReferenceUID")}
