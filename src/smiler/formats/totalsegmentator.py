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
    read_mask,
    the_one,
    volume_files,
    volumes_at,
)

IMAGE, MASKS = "ct.nii.gz", "segmentations"
_STEM = "ct"


def recognises(source: Path) -> bool:
    """The source, or at least one folder in it, is a case."""
    return any(volumes_at(folder / _STEM) and (folder / MASKS).is_dir() for folder in _cases(source))


def read(source: Path, options: ImportOptions) -> Iterator[RawCase]:
    """Every case folder; an organ without a file is unannotated."""

    def read_one(folder: Path) -> RawCase:
        case_id = absolute(folder).name
        images = volumes_at(absolute(folder / _STEM))
        if not images:
            raise BadInput("masks without an image", where=f"case {case_id!r}", got=str(folder), do=f"add {IMAGE}")
        cells: dict[str, Cell] = {}
        empty: frozenset[str] = frozenset()
        for name, paths in _masks(folder / MASKS).items():
            if options.wants(name):
                mask = read_mask(the_one(paths, f"case {case_id}, organ {name}"), f"case {case_id}")
                cells |= mask.cells({name: ()})
                empty |= mask.empty({name: ()})
        notes = () if cells else ("no organ is annotated",)
        image = the_one(images, f"case {case_id!r}")
        return RawCase(case_id, options.patient_of(case_id), image, cells, notes, empty)

    yield from each(_cases(source), read_one)


def _masks(folder: Path) -> dict[str, list[Path]]:
    """Organ -> its files."""
    found: dict[str, list[Path]] = {}
    for path in volume_files(folder):
        found.setdefault(case_name(path), []).append(path)
    return found


def _cases(source: Path) -> list[Path]:
    if not source.is_dir():
        return []
    folders = [source] if volumes_at(source / _STEM) else sorted(p for p in source.iterdir() if p.is_dir())
    return [p for p in folders if not p.name.startswith(".") and (volumes_at(p / _STEM) or (p / MASKS).is_dir())]


FORMAT = Format(
    name="totalsegmentator",
    title="TotalSegmentator, AbdomenAtlas: a folder a case with ct.nii.gz and segmentations/ORGAN.nii.gz",
    looks_for=f"CASE/{IMAGE} and CASE/{MASKS}/",
    recognises=recognises,
    read=read,
    program="TotalSegmentator",
)
