"""BIDS-like derivatives as smiler exports them: sub-ID/ct/sub-ID_ct.nii.gz and masks with a JSON file each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smiler.domain.cells import Cell
from smiler.domain.errors import BadInput
from smiler.domain.files import read_json
from smiler.domain.places import natural
from smiler.formats.base import Format, ImportOptions, RawCase, absolute, each, read_mask

ABOUT = "dataset_description.json"


def recognises(source: Path) -> bool:
    """A dataset_description.json and a subject with a CT."""
    return (source / ABOUT).is_file() and any(source.glob("sub-*/ct/sub-*_ct.nii.gz"))


def read(source: Path, options: ImportOptions) -> Iterator[RawCase]:
    """Every subject; the JSON file beside a mask names its organ."""

    def read_one(image: Path) -> RawCase:
        subject = image.name.removesuffix("_ct.nii.gz")
        cells: dict[str, Cell] = {}
        empty: frozenset[str] = frozenset()
        for path in sorted(image.parent.glob(f"{subject}_*_mask.nii.gz")):
            organ = _organ(path)
            if options.wants(organ):
                mask = read_mask(path, f"case {subject}, organ {organ}")
                cells |= mask.cells({organ: ()})
                empty |= mask.empty({organ: ()})
        name = subject.removeprefix("sub-")
        notes = () if cells else ("no organ is annotated",)
        return RawCase(name, options.patient_of(name), image, cells, notes, empty)

    images = sorted((absolute(path) for path in source.glob("sub-*/ct/sub-*_ct.nii.gz")), key=natural)
    yield from each(images, read_one)


def _organ(mask: Path) -> str:
    about = mask.with_name(mask.name.removesuffix(".nii.gz") + ".json")
    told: Any = read_json(about)
    organ = told.get("Organ") if isinstance(told, dict) else None
    if not isinstance(organ, str) or not organ:
        raise BadInput("the file doesn't name the mask's organ", where=str(about), do='add "Organ": "liver"')
    return organ


FORMAT = Format(
    name="bids",
    title="BIDS-like derivatives: sub-ID/ct with a JSON file beside each mask",
    looks_for=f"{ABOUT} and sub-01/ct/sub-01_ct.nii.gz",
    recognises=recognises,
    read=read,
)
