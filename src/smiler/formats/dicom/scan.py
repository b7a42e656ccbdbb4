"""What a study holds: the CT series that can be cases, and the segmentations and structure sets drawn on them."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smiler.domain.errors import BadInput
from smiler.domain.places import SERIES
from smiler.formats.dicom.objects import RTSTRUCT_CLASS, SEG_CLASS, Object, objects
from smiler.formats.dicom.series import shared


@dataclass
class _Group:
    """The slices of one series, without their headers: a study may have a hundred thousand."""

    patient: str
    number: str
    series: str
    frame: str
    uids: list[str] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    slices: int = 0

    def add(self, found: Object) -> None:
        self.uids.append(found.uid)
        self.paths.append(found.path)
        self.slices += int(found.header.get("NumberOfFrames") or 1)


def scan(path: Path) -> dict[str, Any]:
    """`series`: path, patient, number and UIDs of each; `drawn`: path, what it refers to, and its segments or ROIs."""
    groups: dict[tuple[Any, ...], _Group] = {}
    drawn: list[dict[str, Any]] = []
    skipped: list[str] = []
    broken: list[BadInput] = []
    for found in objects(path, broken):
        if isinstance(found, str):
            skipped.append(found)
        elif found.is_ct or found.sop_class in (SEG_CLASS, RTSTRUCT_CLASS):
            try:
                _sort_in(found, groups, drawn)
            except BadInput as error:
                broken.append(error)
        else:
            skipped.append(found.path.name)
    series = [_series(group, list(groups.values()), broken) for group in groups.values()]
    faults = [[error.what, error.where, error.got, error.do] for error in broken]
    return {"series": series, "drawn": drawn, "skipped": skipped, "faults": faults}


def _sort_in(found: Object, groups: dict[tuple[Any, ...], _Group], drawn: list[dict[str, Any]]) -> None:
    if not found.is_ct:
        drawn.append(_drawn(found))
        return
    key = shared(found)
    if key not in groups:
        patient, number, frame = (str(found.header.get(name) or "") for name in _TOLD)
        groups[key] = _Group(patient, number, found.series, frame)
    groups[key].add(found)


_TOLD = ("PatientID", "SeriesNumber", "FrameOfReferenceUID")


def _series(group: _Group, groups: list[_Group], broken: list[BadInput]) -> dict[str, Any]:
    return {
        "path": str(_place(group, groups, broken)),
        "patient": group.patient,
        "number": group.number,
        "uid": group.series,
        "frame": group.frame,
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
        do = "put each series into a folder of its own"
        broken.append(BadInput("series that can't be told apart by their UID", where=str(folder), do=do))
    return folder / f"{SERIES}{group.series}"


def _drawn(found: Object) -> dict[str, Any]:
    from smiler.formats.dicom import segmentation, structures

    describe = segmentation.describe if found.sop_class == SEG_CLASS else structures.describe
    return {
        "path": str(found.path),
        "kind": "DICOM-SEG" if found.sop_class == SEG_CLASS else "RTSTRUCT",
        "uids": sorted(_referenced(found.header)),
        "frames": sorted(_frames(found.header)),
        "segments": describe(found),
    }


def _referenced(header: Any) -> set[str]:
    """UIDs of the objects and series that it refers to."""
    found: set[str] = set()

    def look(_: Any, element: Any) -> None:
        if element.keyword in ("ReferencedSOPInstanceUID", "SeriesInstanceUID"):
            found.add(str(element.value))

    header.walk(look, recursive=True)
    return found - {str(header.get("SeriesInstanceUID") or "")}


def _frames(header: Any) -> set[str]:
    rows = [header, *(header.get("ReferencedFrameOfReferenceSequence") or ())]
    return {str(row.FrameOfReferenceUID) for row in rows if row.get("FrameOfReferenceUID")}
