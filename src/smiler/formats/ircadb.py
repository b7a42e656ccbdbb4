"""3D-IRCADb: CASE/PATIENT_DICOM/image_* and CASE/MASKS_DICOM/STRUCTURE/image_*, folders or zip files in any depth."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from smiler.domain.cells import Cell
from smiler.domain.errors import BadInput
from smiler.domain.places import natural, walk
from smiler.formats.base import Format, ImportOptions, RawCase, absolute, each, read_mask
from smiler.formats.synonyms import NAMELESS, slug_of
from smiler.formats.volumes import off_the_grid, read_header

IMAGE, MASKS = "PATIENT_DICOM", "MASKS_DICOM"
BODY = "skin"
"""Everything within the skin: no organ."""
_NUMBERED = re.compile(r"(.*[a-z])_?\d+")
LOOKED_AT = 20_000


@dataclass
class _Found:
    """What was found of one case: the folder of its slices, and a folder for each structure."""

    root: Path
    images: set[Path] = field(default_factory=set)
    masks: dict[str, Path] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The case's name as the data set has it."""
        return self.root.name.removesuffix(".zip")


def recognises(source: Path) -> bool:
    """PATIENT_DICOM and MASKS_DICOM below the source."""
    try:
        names = {part for entry in islice(walk(source), LOOKED_AT) for part in _stems(entry.path)}
    except BadInput:
        return False
    return {IMAGE, MASKS} <= names


def read(source: Path, options: ImportOptions) -> Iterator[RawCase]:
    """Every case; a structure without a folder is unannotated. Numbered structures (livertumor1, ...) are united."""

    def read_one(found: _Found) -> RawCase:
        if len(found.images) != 1:
            got = f"{len(found.images)} folders {IMAGE}"
            raise BadInput("not one CT a case", where=f"case {found.id!r}, {found.root}", got=got)
        (image,) = found.images
        ct = read_header(image, options.reading)
        cells: dict[str, Cell] = {}
        empty: frozenset[str] = frozenset()
        named, nameless = _structures(found)
        for organ, path in named.items():
            if options.wants(organ):
                mask = read_mask(path, f"case {found.id}, organ {organ}")
                if mask.grid is not None and mask.grid.geometry.shape != ct.geometry.shape:
                    fault = off_the_grid(mask.grid, ct.geometry, ct.axis_codes)
                    raise BadInput(fault.what, where=f"case {found.id}, {path}", got=fault.got, do=fault.do)
                cells |= mask.cells({organ: ()})
                empty |= mask.empty({organ: ()})
        notes = [f"left out, since the name says no organ: {', '.join(nameless)}"] if nameless else []
        return RawCase(found.id, options.patient_of(found.id), image, cells, tuple(notes), empty)

    yield from each(_cases(source), read_one)


def _cases(source: Path) -> list[_Found]:
    found: dict[Path, _Found] = {}
    for entry in walk(absolute(source)):
        stems = _stems(entry.path)
        for kind in (IMAGE, MASKS):
            if kind in stems:
                root = Path(*entry.path.parts[: stems.index(kind)])
                case = found.setdefault(root, _Found(root))
                if kind == IMAGE:
                    case.images.add(entry.path.parent)
                elif stems[-2] != MASKS:
                    case.masks[entry.path.parent.name] = entry.path.parent
    return sorted(found.values(), key=lambda case: natural(case.root))


def _structures(found: _Found) -> tuple[Mapping[str, Path], list[str]]:
    """Organ -> its folder, or the pattern of its numbered folders; and the structures whose name says no organ."""
    groups: dict[str, list[str]] = {}
    for name in found.masks:
        match = _NUMBERED.fullmatch(name)
        groups.setdefault((match[1] if match else name).removesuffix("s"), []).append(name)
    named, nameless = {}, []
    for stem, names in groups.items():
        if slug_of(stem) in NAMELESS or stem == BODY:
            nameless += names
        elif names == [stem] or len(names) == 1:
            named[names[0] if names == [stem] else stem] = found.masks[names[0]]
        else:
            named[stem] = found.masks[names[0]].parent / f"{stem}*"
    return named, nameless


def _stems(path: Path) -> list[str]:
    return [part.removesuffix(".zip") for part in path.parts]


FORMAT = Format(
    name="ircadb",
    title="3D-IRCADb: PATIENT_DICOM and MASKS_DICOM/STRUCTURE, zipped or not",
    looks_for=f"{IMAGE}/ and {MASKS}/liver/, or {IMAGE}.zip and {MASKS}.zip",
    recognises=recognises,
    read=read,
    own_layout=True,
)
