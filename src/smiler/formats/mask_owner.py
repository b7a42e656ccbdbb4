"""Which CT series a DICOM-SEG or RTSTRUCT was drawn on: by the slices, the series or the frame that it refers to."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smiler.domain.errors import BadInput
from smiler.formats.base import ImportOptions


@dataclass(frozen=True)
class Owner:
    """The path of the series, and what a person should know about it."""

    series: str
    notes: tuple[str, ...] = ()


def owner_of(
    drawn: Mapping[str, Any], series: Sequence[Mapping[str, Any]], localizers: Collection[str], options: ImportOptions
) -> Owner:
    """The series that a mask refers to: by its objects or its UID; by frame of reference where it names no object.

    BadInput, with file and patient, unless it is exactly one, of the same patient and frame of reference, whose slices
    are all there. `drawn` and `series` are rows of a scan, `localizers` UIDs of images that are no slices.
    """
    kind, where = drawn["kind"], f"{drawn['path']}, patient {drawn['patient']!a}"
    refers = set(drawn["uids"])
    if refers:
        rows = [row for row in series if row["uid"] in refers or refers & set(row["uids"])]
    else:
        rows = [row for row in series if row["frame"] and row["frame"] in drawn["frames"]]
    if len(rows) != 1:
        do = "put it beside its CT series, one patient a folder"
        got = ", ".join(row["path"] for row in rows)
        what = f"the {kind} refers to {'several' if rows else 'no'} CT series there"
        raise BadInput(what, where=where, got=got, do=do)
    (row,) = rows
    if drawn["patient"] and row["patient"] and drawn["patient"] != row["patient"]:
        do = "give both one PatientID if they are of one patient, or take the file out of the folder"
        got = f"the series is of patient {row['patient']!a}"
        raise BadInput(f"the {kind} refers to a CT series of another patient", where=where, got=got, do=do)
    return Owner(row["path"], (*_same_frame(drawn, row, where), *_whole(drawn, row, localizers, options)))


def _same_frame(drawn: Mapping[str, Any], row: Mapping[str, Any], where: str) -> Sequence[str]:
    """Contours name the slices on which they lie; a segmentation has only places in its frame of reference."""
    if not row["frame"] or not drawn["frames"] or row["frame"] in drawn["frames"]:
        return ()
    if drawn["kind"] == "RTSTRUCT":
        return (f"{drawn['path']} has another frame of reference than the slices that it names",)
    do = "give both one FrameOfReferenceUID if it was drawn on this series, or take the file out of the folder"
    got = f"{', '.join(drawn['frames'])}, and {row['frame']} in {row['path']}"
    what = f"the {drawn['kind']} lies in another frame of reference than its CT series"
    raise BadInput(what, where=where, got=got, do=do)


def _whole(
    drawn: Mapping[str, Any], row: Mapping[str, Any], localizers: Collection[str], options: ImportOptions
) -> Sequence[str]:
    """A series that lost slices at an end still has its masks, which name them."""
    lost = set(drawn["slices"].get(row["uid"], ())) - set(row["uids"]) - set(localizers)
    if not lost:
        return ()
    got = f"{len(lost)} slices to which the {drawn['kind']} {drawn['path']} refers"
    if options.reading.incomplete == "accept":
        return (f"{got} are not there: the series is read without them, as asked",)
    do = "get the whole series, or add --set reading.incomplete=accept to read what is there"
    raise BadInput("slices of the series are missing", where=row["path"], got=got, do=do)
