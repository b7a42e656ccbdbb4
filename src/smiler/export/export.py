"""Export a cohort: every case once, in the layout that is asked for, with `smiler.json` beside it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from smiler.domain.checks import check_choice
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.files import write_json, write_text
from smiler.domain.folders import Kind, refuse_others
from smiler.domain.locks import writing
from smiler.domain.names import folded
from smiler.domain.organs import OrganSet
from smiler.domain.progress import Progress
from smiler.domain.provenance import tool_version
from smiler.export import bids, dicom, masks, nnunet
from smiler.export.pieces import ExportRequest, Piece, pieces
from smiler.formats.dicom.client import files_of
from smiler.formats.kept import KEPT, Kept, KeptCase

EXPORTS: Mapping[str, str] = {
    "nnunet": "nnU-Net: one data set with an ignore label, or one an organ",
    "totalsegmentator": "CASE/ct.nii.gz and CASE/segmentations/ORGAN.nii.gz",
    "bids": "BIDS-like derivatives: sub-ID/ct with a JSON file beside each mask",
    "dicom": "a link to each DICOM series and one DICOM-SEG a case",
}
MARK = ".smiler-export"
"""In a folder that an export began: it may be written again."""
_WRITE: Mapping[str, Callable[[Cohort, Piece, ExportRequest], Iterator[str]]] = {
    "totalsegmentator": masks.write_piece,
    "bids": bids.write_piece,
    "dicom": dicom.write_piece,
}


@dataclass(frozen=True)
class Exported:
    """What was written: case ids, the folder (an import brings all of it back), the data sets, what was lost."""

    cases: tuple[str, ...]
    folder: Path
    folders: tuple[Path, ...]
    notes: tuple[str, ...]


def export(
    cohort: Cohort,
    kind: str,
    request: ExportRequest,
    layout: nnunet.Layout = "auto",
    progress: Progress | None = None,
) -> Exported:
    """Write the cohort's CT and masks. BadInput before anything is written for a wrong request."""
    _check(cohort, kind, request, layout)
    cohort, notes = dicom.only_series(cohort) if kind == "dicom" else (cohort, [])
    with writing(request.out):
        _check_place(cohort, kind, request, layout)
        write_text(request.out / MARK, _asked(kind, request, layout))
        if kind == "nnunet":
            return _nnunet(cohort, request, layout, progress)
        told: dict[str, KeptCase] = {}
        for piece in pieces(cohort, request, progress):
            _refuse_unseen(piece, kind)
            notes += _WRITE[kind](cohort, piece, request)
            told[_imported_id(kind, cohort, piece.case, request)] = _kept(piece)
        if kind == "bids":
            bids.write_whole(cohort, request, list(cohort.cases))
        _write_kept(request.out, cohort.organs, told, request)
        return Exported(tuple(case.id for case in cohort), request.out, (request.out,), tuple(notes))


def _asked(kind: str, request: ExportRequest, layout: str) -> str:
    return f"{kind} {request.include} {layout} {','.join(request.organs)}\n"


def _nnunet(cohort: Cohort, request: ExportRequest, layout: nnunet.Layout, progress: Progress | None) -> Exported:
    sets = nnunet.data_sets(cohort, request, layout)
    told: dict[str, KeptCase] = {}
    for piece in pieces(cohort, request, progress):
        nnunet.add_piece(sets, cohort, piece, request)
        told[piece.case.id] = _kept(piece)
    notes = [f"no case says anything of {data_set.keys[0]}" for data_set in sets if not data_set.cases]
    sets = [data_set for data_set in sets if data_set.cases]
    for data_set in sets:
        mine = {name: _only(told[name], data_set.keys) for name in data_set.cases}
        _write_kept(data_set.folder, cohort.organs, mine, request)
    notes += nnunet.finish(sets, cohort)
    _write_kept(request.out, cohort.organs, told, request)
    return Exported(tuple(told), request.out, tuple(data_set.folder for data_set in sets), tuple(notes))


def _imported_id(kind: str, cohort: Cohort, case: Case, request: ExportRequest) -> str:
    """By which an import knows the case again."""
    if kind == "dicom":
        return files_of(cohort.image_path(case), request.reading)[1] or case.id
    return bids.subject(case.id) if kind == "bids" else case.id


def _refuse_unseen(piece: Piece, kind: str) -> None:
    """A mask of one organ can't say that nobody looked at a voxel; it must not become "not here"."""
    unseen = int((piece.labels.drawn < 0).sum())
    if unseen:
        do = "export to nnunet, whose ignore label says it"
        raise BadInput(
            f"{kind} can't say where nobody looked", where=f"case {piece.case.id}", got=f"{unseen} voxels", do=do
        )


def _kept(piece: Piece) -> KeptCase:
    return KeptCase(piece.case.id, piece.case.patient, piece.cells)


def _only(case: KeptCase, keys: Sequence[str]) -> KeptCase:
    return replace(case, cells={key: cell for key, cell in case.cells.items() if key in keys})


def _write_kept(folder: Path, organs: OrganSet, cases: Mapping[str, KeptCase], request: ExportRequest) -> None:
    facts = {"made_by": f"smiler {tool_version()}", "include": request.include}
    kept = Kept({organ.key: organ for organ in organs}, cases)
    write_json(folder / KEPT, kept.to_json(facts))


def _check(cohort: Cohort, kind: str, request: ExportRequest, layout: str) -> None:
    check_choice(kind, "--format", "kind of export", EXPORTS)
    check_choice(layout, "--data-sets", "choice", get_args(nnunet.Layout))
    if not cohort.cases:
        raise BadInput("the cohort has no case", where=str(cohort.folder))
    if request.out.exists() and not request.out.is_dir():
        raise BadInput("a file lies there", where=str(request.out), do="choose another folder")
    table = [case.id for case in cohort if kind in ("totalsegmentator", "dicom") and folded(case.id) == folded(KEPT)]
    if table:
        do = "rename it in cases.csv"
        raise BadInput("the case's folder would have the name of a file", where=f"case {table[0]}", do=do)


def _check_place(cohort: Cohort, kind: str, request: ExportRequest, layout: str) -> None:
    """BadInput where something else than the same export lies; for who holds the lock."""
    out = request.out.absolute()
    if out == cohort.folder.absolute():
        raise BadInput("a cohort lies there", where=str(request.out), do="choose another folder")
    refuse_others(request.out, Kind.EXPORT)
    mark = out / MARK
    if mark.exists() and mark.read_text(encoding="utf-8") != _asked(kind, request, layout):
        got = mark.read_text(encoding="utf-8").strip()
        raise BadInput("another export lies there", where=str(request.out), got=got, do="choose another folder")
    if out.exists() and not (out / MARK).exists() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise BadInput(
            "the folder is not empty and holds no export", where=str(request.out), do="choose another folder"
        )
