"""Plain folders: images, with a folder of masks for each organ, or with label maps and a label table.

Nothing is said by a layout here, so the user says it: `images`, and `masks` or `labelmaps` with `labels`. Each is a
file or a folder. What isn't given is looked for in SOURCE/images, SOURCE/masks/ORGAN/ and SOURCE/labels.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from smiler.domain.cells import Cell
from smiler.domain.errors import BadInput
from smiler.formats import study
from smiler.formats.base import (
    Format,
    ImportOptions,
    LabelMap,
    RawCase,
    absolute,
    case_name,
    each,
    read_mask,
    volume_files,
)
from smiler.formats.numbering import LABEL_TABLES, by_name


@dataclass(frozen=True)
class _Files:
    """Files by case name: images, label maps, and masks by organ."""

    images: Mapping[str, Path]
    labelmaps: Mapping[str, Path]
    masks: Mapping[str, Mapping[str, Path]]


def recognises(source: Path) -> bool:
    """SOURCE/images with SOURCE/masks or SOURCE/labels beside it, and no dataset.json."""
    annotated = (source / "masks").is_dir() or (source / "labels").is_dir()
    return (source / "images").is_dir() and annotated and not (source / "dataset.json").exists()


def read(source: Path, options: ImportOptions) -> Iterator[RawCase]:
    """Every image with its masks or its label map, matched by file name without `_0000`."""
    files = _files(source, options)
    organs = {name: labels for name, labels in by_name(options.labels).items() if options.wants(name)}

    def read_one(name: str) -> RawCase:
        cells: dict[str, Cell] = {}
        empty: frozenset[str] = frozenset()
        notes = []
        if name in files.labelmaps:
            labels = LabelMap.read(files.labelmaps[name])
            unnamed = sorted(labels.values - set(options.labels))
            notes += [f"labels without a name are left out: {', '.join(map(str, unnamed))}"] if unnamed else []
            cells, empty = labels.cells(organs), labels.empty(organs)
        for organ, paths in files.masks.items():
            if name in paths and options.wants(organ):
                mask = read_mask(paths[name], f"case {name}, organ {organ}")
                cells |= mask.cells({organ: ()})
                empty |= mask.empty({organ: ()})
        notes += [] if cells else ["no organ is annotated"]
        return RawCase(name, options.patient_of(name), files.images[name], cells, tuple(notes), empty)

    unmatched = _unmatched(files)
    matched = [name for name in files.images if not files.labelmaps or name in files.labelmaps]
    yield from each(matched, read_one, unmatched)


def _files(source: Path, options: ImportOptions) -> _Files:
    images = _by_case(source / (options.images or "images"), "--image")
    labelmaps: Mapping[str, Path] = {}
    masks: dict[str, Mapping[str, Path]] = {
        organ: _by_case(source / path, f"--mask {organ}") for organ, path in options.masks.items()
    }
    if options.labelmaps or (options.labels and not masks):
        labelmaps = _by_case(source / (options.labelmaps or "labels"), "--labelmap")
    elif not masks and (source / "masks").is_dir():
        folders = sorted(p for p in (source / "masks").iterdir() if p.is_dir() and not p.name.startswith("."))
        masks = {folder.name: _by_case(folder, f"organ {folder.name}") for folder in folders}
    _check_table(source, options, bool(labelmaps), bool(masks))
    if options.images and len(images) == 1 and next(iter(images.values())) == absolute(source / options.images):
        (case,) = images
        labelmaps = _of_one_file(labelmaps, case, options.labelmaps, source)
        masks = {organ: _of_one_file(paths, case, options.masks.get(organ), source) for organ, paths in masks.items()}
    return _Files(images, labelmaps, masks)


def _by_case(path: Path, option: str) -> dict[str, Path]:
    """Case name -> file, of a file or of a folder's volumes."""
    files = [absolute(path)] if path.is_file() else volume_files(path)
    if not files and study.recognises(path):
        return {case_name(path, ".zip"): absolute(path)}
    found: dict[str, Path] = {}
    for file in files:
        name = case_name(file, "_0000")
        if name in found:
            raise BadInput("two files for one case", where=option, got=f"{found[name]} and {file}", do="remove one")
        found[name] = file
    if not found:
        do = "give a volume, a folder of volumes, or a DICOM series; a relative path starts at the source"
        raise BadInput("no image or mask there", where=option, got=str(path), do=do)
    return found


def _of_one_file(files: Mapping[str, Path], case: str, given: Path | None, source: Path) -> Mapping[str, Path]:
    """One image file and one label file given by name belong together, whatever they are called."""
    if given is not None and (source / given).is_file():
        return {case: next(iter(files.values()))}
    return files


def _check_table(source: Path, options: ImportOptions, labelmaps: bool, masks: bool) -> None:
    if labelmaps and not options.labels:
        do = f"add --labels with {', '.join(LABEL_TABLES)}, FILE.toml or 5=liver,1=spleen"
        raise BadInput("a label map needs a label table", where=str(source), do=do)
    if options.labels and not labelmaps:
        raise BadInput("a label table without label maps", where="--labels", do="add --labelmap, or leave it out")
    if not labelmaps and not masks:
        do = "give --mask ORGAN=PATH, or --labelmap PATH with --labels"
        raise BadInput("no masks and no label maps", where=str(source), do=do)


def _unmatched(files: _Files) -> list[BadInput]:
    """Label maps and masks without an image, and images without a label map where there are label maps."""
    lonely = [(name, path) for paths in (files.labelmaps, *files.masks.values()) for name, path in paths.items()]
    faults = [
        BadInput("no image of that name", where=f"case {name!r}", got=str(path), do="name both files alike")
        for name, path in lonely
        if name not in files.images
    ]
    if files.labelmaps:
        faults += [
            BadInput("no label map of that name", where=f"case {name!r}", got=str(path), do="name both files alike")
            for name, path in files.images.items()
            if name not in files.labelmaps
        ]
    return faults


FORMAT = Format(
    name="folder",
    title="Plain folders: images with masks by organ, or with label maps and a label table (--labels)",
    looks_for="images/ beside masks/ or labels/, without dataset.json",
    recognises=recognises,
    read=read,
)
