"""Export to DICOM: links to the slices of each series, and its masks as one DICOM-SEG a case, one segment an organ."""

from collections.abc import Iterator

import numpy as np

from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.files import replacing, write_json
from smiler.domain.origin import Origin
from smiler.domain.places import walk
from smiler.domain.remote import local
from smiler.export.images import link
from smiler.export.pieces import ExportRequest, Piece
from smiler.formats.base import some
from smiler.formats.dicom.client import files_of, write_masks
from smiler.formats.dicom.segments import Drawn, segment_of
from smiler.formats.volumes import is_nifti

KINDS: dict[Origin, Drawn] = {
    "expert": "MANUAL",
    "corrected": "SEMIAUTOMATIC",
    "accepted": "AUTOMATIC",
    "unknown": "AUTOMATIC",
    "proposed": "AUTOMATIC",
}
"""Who drew: a proposal accepted as it is was drawn by the model; of what nobody knows no expert is claimed."""
NAME = "organs_seg.dcm"


def only_series(cohort: Cohort) -> tuple[Cohort, list[str]]:
    """The cases that are DICOM series, and a note of the others; BadInput if there is none."""
    series = [case.id for case in cohort if not is_nifti(cohort.image_path(case))]
    others = [case.id for case in cohort if case.id not in series]
    if not series:
        do = "export to another format"
        raise BadInput("a DICOM-SEG belongs to a DICOM series, and no case is one", where=str(cohort.folder), do=do)
    notes = [f"{len(others)} cases are no DICOM series and were left out: {some(others)}"] if others else []
    return cohort.only(series), notes


def write_piece(cohort: Cohort, piece: Piece, request: ExportRequest) -> Iterator[str]:
    """One case; an absent organ is a described segment without pixels."""
    image, folder = local(cohort.image_path(piece.case).absolute(), "a series to link to"), request.out / piece.case.id
    files, _ = files_of(image, request.reading)
    for number, file in enumerate(files):
        target = folder / "ct" / f"{number:05d}.dcm"
        if file.is_file():
            link(file, target)
        else:
            with replacing(target) as temporary:
                temporary.write_bytes(next(walk(file)).read())
    keys = list(piece.cells)
    if keys:
        bits = np.zeros_like(piece.labels.drawn)
        for i, key in enumerate(keys):
            bits |= (piece.labels.drawn >> cohort.organs.index(key) & 1) << np.int32(i)
        segments = [segment_of(cohort.organs, key, KINDS[piece.origins.get(key, "expert")]) for key in keys]
        write_masks(folder / NAME, image, bits, piece.grid, segments, "dicom-seg")
    if piece.provenance:
        write_json(folder / NAME.replace(".dcm", ".json"), {"organs": dict(piece.provenance)})
    for key, cell in piece.cells.items():
        if cell.ranges:
            yield f"case {piece.case.id}, organ {key}: only smiler.json says that just some slices are annotated"
