"""What a study holds: the CT series that can be cases, and the segmentations and structure sets drawn on them."""

from collections import Counter
from pathlib import Path
from typing import Any

from smiler.domain.errors import BadInput
from smiler.domain.places import SERIES
from smiler.formats.dicom.objects import RTSTRUCT_CLASS, SEG_CLASS, Object, objects
from smiler.formats.dicom.series import shared


def scan(path: Path) -> dict[str, Any]:
    """`series`: path, patient, number and UIDs of each; `drawn`: path, what it refers to, and its segments or ROIs."""
    groups: dict[tuple[Any, ...], list[Object]] = {}
    drawn: list[dict[str, Any]] = []
    skipped: list[str] = []
    faults: list[list[str]] = []
    for found in objects(path):
        if isinstance(found, str):
            skipped.append(found)
        elif found.is_ct:
            try:
                groups.setdefault(shared(found), []).append(found)
            except BadInput as error:
                faults.append([error.what, error.where, error.got, error.do])
        elif found.sop_class in (SEG_CLASS, RTSTRUCT_CLASS):
            drawn.append(_drawn(found))
        else:
            skipped.append(found.path.name)
    folders = Counter(folder for group in groups.values() for folder in {thing.path.parent for thing in group})
    series = [_series(group, folders) for group in groups.values()]
    return {"series": series, "drawn": drawn, "skipped": skipped, "faults": faults}


def _series(group: list[Object], folders: Counter[Path]) -> dict[str, Any]:
    first = group[0]
    parents = {thing.path.parent for thing in group}
    folder = min(parents, key=lambda parent: len(parent.parts))
    alone = len(parents) == 1 and folders[folder] == 1
    single = len(group) == 1 and not alone
    place = folder if alone or not first.series else folder / f"{SERIES}{first.series}"
    return {
        "path": str(first.path if single else place),
        "patient": str(first.header.get("PatientID") or ""),
        "number": str(first.header.get("SeriesNumber") or ""),
        "uid": first.series,
        "frame": str(first.header.get("FrameOfReferenceUID") or ""),
        "uids": [thing.uid for thing in group],
        "slices": len(group),
    }


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
