"""TotalSegmentator and AbdomenAtlas: CASE/ct.nii.gz and one mask an organ in CASE/segmentations/ORGAN.nii.gz."""

from collections.abc import Iterator
from pathlib import Path

from smiler.domain.cells import Cell
from smiler.domain.errors import BadInput
from smiler.formats.base import (
    Format,
    ImportOptions,
    RawCase,
    absolute,
    case_name,
    each,
    nifti_files,
    read_mask,
)

IMAGE, MASKS = "ct.nii.gz", "segmentations"


def recognises(source: Path) -> bool:
    """The source, or at least one folder in it, is a case."""
    return any((folder / IMAGE).is_file() and (folder / MASKS).is_dir() for folder in _cases(source))


def read(source: Path, options: ImportOptions) -> Iterator[RawCase]:
    """Every case folder; an organ without a file is unannotated."""

    def read_one(folder: Path) -> RawCase:
        case_id = absolute(folder).name
        if not (folder / IMAGE).is_file():
            raise BadInput("masks without an image", where=f"case {case_id!r}", got=str(folder), do=f"add {IMAGE}")
        cells: dict[str, Cell] = {}
        empty: frozenset[str] = frozenset()
        for path in nifti_files(folder / MASKS):
            organ: dict[str, tuple[int, ...]] = {case_name(path): ()}
            if path.name.endswith(".nii.gz") and options.wants(case_name(path)):
                mask = read_mask(path, f"case {case_id}")
                cells |= mask.cells(organ)
                empty |= mask.empty(organ)
        notes = () if cells else ("no organ is annotated",)
        return RawCase(case_id, options.patient_of(case_id), absolute(folder / IMAGE), cells, notes, empty)

    yield from each(_cases(source), read_one)


def _cases(source: Path) -> list[Path]:
    if not source.is_dir():
        return []
    folders = [source] if (source / IMAGE).is_file() else sorted(p for p in source.iterdir() if p.is_dir())
    return [p for p in folders if not p.name.startswith(".") and ((p / IMAGE).is_file() or (p / MASKS).is_dir())]


FORMAT = Format(
    name="totalsegmentator",
    title="TotalSegmentator, AbdomenAtlas: a folder a case with ct.nii.gz and segmentations/ORGAN.nii.gz",
    looks_for=f"CASE/{IMAGE} and CASE/{MASKS}/",
    recognises=recognises,
    read=read,
)
