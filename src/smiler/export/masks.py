"""Export to the layout of TotalSegmentator: CASE/ct.nii.gz and one mask an organ in CASE/segmentations."""

from collections.abc import Iterator

from smiler.domain.cohort import Cohort
from smiler.domain.files import write_json
from smiler.export.images import make_folder, prune, put_image
from smiler.export.pieces import ExportRequest, Piece
from smiler.formats.nifti import write_labels
from smiler.formats.totalsegmentator import IMAGE, MASKS


def write_piece(cohort: Cohort, piece: Piece, request: ExportRequest) -> Iterator[str]:
    """One case; an absent organ is an empty mask, as usual there, and `smiler.json` says that it is absent."""
    folder = request.out / piece.case.id
    put_image(cohort, piece.case, folder / IMAGE, request)
    make_folder(folder / MASKS)
    written = {f"{key}{ending}" for key in piece.cells for ending in (".nii.gz", ".json")}
    prune(folder / MASKS, written)
    for key, cell in piece.cells.items():
        write_labels(folder / MASKS / f"{key}.nii.gz", piece.mask(cohort.organs, key), piece.grid)
        if key in piece.provenance:
            write_json(folder / MASKS / f"{key}.json", piece.provenance[key])
        if cell.ranges:
            yield f"case {piece.case.id}, organ {key}: only slices {', '.join(map(str, cell.ranges))} are annotated"
