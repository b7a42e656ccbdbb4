"""The slices below a path in groups that may each be a volume, and which of their slices are missing."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smiler.domain.errors import BadInput
from smiler.domain.places import split_series
from smiler.formats.dicom.headers import SHARED, shared, some
from smiler.formats.dicom.objects import CT_CLASSES, NotDicom, Object, objects

Key = tuple[Any, ...]
FEWEST = 3
"""So many slices are a volume, where nothing but their geometry says that they are one."""


@dataclass
class SliceGroups:
    """What lies below a path: groups of CT slices that may each be a volume, and what else is there.

    lost: files that seem to be slices and can't be read. united: slices that each had a series UID of their own.
    listed: UIDs of the images that a DICOMDIR lists, by series. seen: UIDs of all objects there.
    """

    groups: list[list[Object]]
    skipped: list[str]
    lost: list[str]
    united: int
    listed: Mapping[str, set[str]]
    seen: set[str]


def find_series(path: Path) -> SliceGroups:
    """The groups of CT slices below a path, the names of what was skipped, and of what may be slices that are lost."""
    place, wanted = split_series(path)
    groups: dict[Key, list[Object]] = {}
    others: list[NotDicom] = []
    skipped: list[str] = []
    listed: dict[str, set[str]] = {}
    seen: set[str] = set()
    for found in objects(place):
        if isinstance(found, Object):
            seen.add(found.uid)
        if isinstance(found, NotDicom):
            others.append(found)
            skipped.append(f"{found.path.name} ({found.why})")
        elif found.is_directory:
            _add_listed(found, listed)
        elif found.masks:
            continue
        elif not found.is_ct:
            skipped.append(f"{found.path.name} ({_kind(found)})")
        elif not wanted or found.series == wanted:
            groups.setdefault(shared(found), []).append(found)
    named_so = {_pattern(slice_.path) for group in groups.values() for slice_ in group}
    lost = [f"{o.path.name} ({o.why})" for o in others if o.claims_to_be_dicom or _pattern(o.path) in named_so]
    joined = alike({key: (group[0].patient, group[0].study, _slices(group)) for key, group in groups.items()})
    for keys in joined:
        groups[keys[0]].extend(groups.pop(key)[0] for key in keys[1:])
    return SliceGroups(list(groups.values()), skipped, lost, sum(map(len, joined)), listed, seen)


def _add_listed(directory: Object, listed: dict[str, set[str]]) -> None:
    """The images of each series in a DICOMDIR: its records come in the order patient, study, series, images."""
    series = ""
    for record in directory.header.get("DirectoryRecordSequence") or ():
        kind = str(record.get("DirectoryRecordType") or "")
        if kind == "SERIES":
            series = str(record.get("SeriesInstanceUID") or "")
        elif kind == "IMAGE" and series and record.get("ReferencedSOPInstanceUIDInFile"):
            listed.setdefault(series, set()).add(str(record.ReferencedSOPInstanceUIDInFile))


def alike(groups: Mapping[Key, tuple[str, str, int]]) -> list[list[Key]]:
    """Which slices, each with a series UID of its own (some anonymisers do that), belong together.

    Patient, study, frame of reference, size, spacing and orientation agree, and no series is among them. groups: by
    what `shared` says of each, its patient, study and number of slices.
    """
    sets: dict[tuple[Any, ...], list[Key]] = {}
    for key, (patient, study, _) in groups.items():
        if key[0] and key[1] and study:
            sets.setdefault((patient, study, *key[1:]), []).append(key)
    return [keys for keys in sets.values() if len(keys) >= FEWEST and all(groups[key][2] == 1 for key in keys)]


def _slices(group: Sequence[Object]) -> int:
    return sum(_frames(found) or 1 for found in group)


def _frames(found: Object) -> int:
    return int(found.header.get("NumberOfFrames") or 0)


def _pattern(path: Path) -> tuple[Path, str]:
    """The folder, and the name without its numbers: what slices of one export have in common."""
    return path.parent, re.sub(r"\d+", "#", path.name)


def missing_slices(found: SliceGroups) -> list[str]:
    """What says that the only group lacks slices; empty where nothing does."""
    group = found.groups[0]
    unlisted = found.listed.get(group[0].series, set()) - found.seen
    by_directory = [f"{len(unlisted)} images that the DICOMDIR lists are not there"] if unlisted else []
    return [*_unreadable(found.lost), *by_directory, *_fewer_than_told(group)]


def _unreadable(names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"{len(names)} files that are named like slices can't be read: {some(names)}"


def _fewer_than_told(group: Sequence[Object]) -> Iterator[str]:
    """Slices of which the others say that they should be there; a gap at an end can't be seen from positions."""
    acquisitions: dict[str, set[int]] = {}
    parts: dict[str, tuple[int, set[int]]] = {}
    for found in group:
        header = found.header
        number = str(header.get("AcquisitionNumber") or "")
        acquisitions.setdefault(number, set()).add(_count(header.get("ImagesInAcquisition")))
        uid, total = str(header.get("ConcatenationUID") or ""), _count(header.get("InConcatenationTotalNumber"))
        if uid and total:
            parts.setdefault(uid, (total, set()))[1].add(_count(header.get("InConcatenationNumber")))
    told = acquisitions.popitem()[1] if len(acquisitions) == 1 else {0}
    slices = len({found.uid or str(found.path) for found in group})
    if len(told) == 1 and max(told) > slices and not any(map(_frames, group)):
        yield f"{slices} slices are there, and ImagesInAcquisition says {max(told)}"
    for total, numbers in parts.values():
        if len(numbers) < total:
            yield f"{len(numbers)} of {total} parts of a multi-frame object (concatenation) are there"


def _count(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def not_one(groups: Sequence[Sequence[Object]], path: Path) -> BadInput:
    """What differs between groups of slices, and which files are the odd ones."""
    if len(groups) >= FEWEST and all(len(group) == 1 for group in groups) and len({g[0].series for g in groups}) > 1:
        do = "give the slices of one volume one SeriesInstanceUID and FrameOfReferenceUID, or convert it to NIfTI"
        got = f"{len(groups)} series of one slice: {_several(groups)}"
        return BadInput("each slice has a SeriesInstanceUID of its own", where=str(path), got=got, do=do)
    return BadInput("several series or acquisitions", where=str(path), got=_several(groups), do=_choose(groups))


def _kind(found: Object) -> str:
    if found.sop_class in CT_CLASSES:
        return "localizer"
    return str(found.header.get("Modality") or "no CT")


def _several(groups: Sequence[Sequence[Object]]) -> str:
    """The largest group, and by what the others differ from it; files by name where they are few."""
    largest = max(groups, key=len)
    told = []
    for group in sorted(groups, key=len, reverse=True):
        header = group[0].header
        text = f"{len(group)} slices of {header.get('Rows')}x{header.get('Columns')}"
        text += f" {str(header.get('SeriesDescription') or '')!a} {group[0].series}"
        if group is not largest and len(group) <= FEWEST:
            names = ", ".join(ascii(found.path.name)[1:-1] for found in group)
            text += f" ({names}: another {_difference(group[0], largest[0])})"
        told.append(text)
    return some(told)


def _difference(one: Object, other: Object) -> str:
    pairs = zip(SHARED, shared(one), shared(other), strict=True)
    return ", ".join(f"{name} ({ascii(str(a))[1:-1]})" for name, a, b in pairs if a != b) or "place"


def _choose(groups: Sequence[Sequence[Object]]) -> str:
    uids = Counter(group[0].series for group in groups)
    if "" in uids or max(uids.values()) > 1:
        return "take the odd files out, or put each group into a folder of its own"
    return "add /SeriesInstanceUID=... to the path, or give the folder of one series"
