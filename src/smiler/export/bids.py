"""Export to BIDS-like derivatives: sub-ID/ct/sub-ID_ct.nii.gz and one mask an organ with a JSON file beside it."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import asdict

from smiler.domain.cells import Status
from smiler.domain.cohort import Case, Cohort
from smiler.domain.files import write_json, write_text
from smiler.domain.provenance import tool_version
from smiler.export.images import prune, put_image
from smiler.export.pieces import ExportRequest, Piece
from smiler.formats.nifti import write_labels

LONGEST = 96
"""Of a label: a file's name has at most 255 letters."""


def subject(case_id: str) -> str:
    """A BIDS label has letters and digits only; what else an id has is written as its code, so that ids stay apart.

    So is an x that would be read as the beginning of a code. A very long one ends in a hash.
    """
    label = re.sub(r"[^A-Za-z0-9]|[xX](?=[0-9A-Fa-f]{2})", lambda match: f"x{ord(match[0]):02X}", case_id)
    if len(label) <= LONGEST:
        return label
    digest = hashlib.sha256(case_id.lower().encode()).hexdigest()
    return label[: LONGEST + 1 - len(digest)] + digest


def write_piece(cohort: Cohort, piece: Piece, request: ExportRequest) -> Iterator[str]:
    """One case: its CT, its masks, and what is known of each."""
    name = f"sub-{subject(piece.case.id)}"
    folder = request.out / name / "ct"
    put_image(cohort, piece.case, folder / f"{name}_ct.nii.gz", request)
    stems = {key: _stem(name, label, piece.origins.get(key, "expert")) for key, label in _labels(cohort, piece)}
    prune(folder, {f"{stem}{end}" for stem in (*stems.values(), f"{name}_ct") for end in (".nii.gz", ".json")})
    for key, cell in piece.cells.items():
        origin, stem = piece.origins.get(key, "expert"), stems[key]
        write_labels(folder / f"{stem}.nii.gz", piece.mask(cohort.organs, key), piece.grid)
        organ = asdict(cohort.organs[key])
        about = {
            "Organ": key,
            "Case": piece.case.id,
            "Type": "ROI",
            "Status": Status.ABSENT.value if cell.status is Status.ABSENT else "annotated",
            "Origin": origin,
            "AnnotatedSlices": [str(part) for part in cell.ranges] or "all",
            "SNOMED": organ["snomed"],
            "Sources": [f"bids::{name}/ct/{name}_ct.nii.gz"],
        }
        told = {key: piece.provenance[key]} if key in piece.provenance else {}
        write_json(folder / f"{stem}.json", about | {"organs": told})
    yield from ()


def _labels(cohort: Cohort, piece: Piece) -> Iterator[tuple[str, str]]:
    """Each organ with its label: `liver_tumor` is LiverTumor, but where that would not tell all of a cohort's apart."""
    short = {key: "".join(part.capitalize() for part in key.split("_")) for key in cohort.organs.keys}
    apart = len({label.lower() for label in short.values()}) == len(short)
    yield from ((key, short[key] if apart else subject(key)) for key in piece.cells)


def _stem(name: str, label: str, origin: str) -> str:
    return f"{name}_label-{label}_desc-{origin}_mask"


def write_whole(cohort: Cohort, request: ExportRequest, cases: list[Case]) -> None:
    """What describes the data set."""
    by = {"Name": "smiler", "Version": tool_version()}
    about = {"Name": cohort.name or "smiler export", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
    write_json(request.out / "dataset_description.json", about | {"GeneratedBy": [by]})
    rows = [f"sub-{subject(case.id)}\t{case.id}\t{case.patient}\n" for case in cases]
    write_text(request.out / "participants.tsv", "participant_id\tcase\tpatient\n" + "".join(rows))
