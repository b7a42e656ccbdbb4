"""DICOM objects below a path: parsed one by one, sorted into CT slices, segmentations, structure sets and the rest."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError

from smiler.domain.errors import BadInput
from smiler.domain.places import Entry, walk

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT",
}
SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
DEEPEST = 64
"""Sequences within sequences: real objects have less than 20."""


@dataclass(frozen=True, eq=False)
class Object:
    """One parsed file without its pixels; `dataset()` reads it whole."""

    path: Path
    header: Any
    entry: Entry

    @cached_property
    def sop_class(self) -> str:
        """UID of the kind of object; many anonymisers leave it in the file's meta information only."""
        own = self.header.get("SOPClassUID")
        return str(own or self.header.file_meta.get("MediaStorageSOPClassUID", ""))

    @cached_property
    def uid(self) -> str:
        """UID of the object."""
        return str(self.header.get("SOPInstanceUID") or self.header.file_meta.get("MediaStorageSOPInstanceUID", ""))

    @property
    def series(self) -> str:
        """UID of its series, empty where it was removed."""
        return str(self.header.get("SeriesInstanceUID") or "")

    @property
    def is_ct(self) -> bool:
        """Whether it holds CT slices: not a localizer, not a secondary capture."""
        return self.sop_class in CT_CLASSES and "LOCALIZER" not in [str(v).upper() for v in self.image_type]

    @property
    def image_type(self) -> tuple[str, ...]:
        """Value of Image Type."""
        value = self.header.get("ImageType") or ()
        return (value,) if isinstance(value, str) else tuple(value)

    def dataset(self) -> Any:
        """The whole object, pixels too."""
        return parse(self.entry, pixels=True)


def objects(path: Path, broken: list[BadInput] | None = None) -> Iterator[Object | str]:
    """Every DICOM object below a path; for what is no DICOM file, its name.

    BadInput for a broken DICOM file, or it goes into `broken` and the next one is read.
    """
    for entry in walk(path):
        try:
            header = parse(entry, pixels=False)
        except BadInput as error:
            if broken is None:
                raise
            broken.append(error)
            continue
        if header is None:
            yield entry.path.name
        elif header.file_meta.get("MediaStorageSOPClassUID") != DICOMDIR_CLASS:
            yield Object(entry.path, header, entry)


def parse(entry: Entry, *, pixels: bool) -> Any:
    """A data set, its pixels checked for length and kept if asked for; None for a file that is not DICOM."""
    data = entry.read()
    if data[128:132] != b"DICM":
        return None
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        _whole(dataset, entry)
        if not pixels:
            for key in _PIXELS:
                dataset.pop(key, None)
        _look(dataset, entry)
    except (BadInput, MemoryError):
        raise
    except (InvalidDicomError, *UNREADABLE) as error:
        raise _broken(entry, f"{type(error).__name__}: {error}") from error
    if pixels and len(data) >= 8 and "PixelData" not in dataset and "NumberOfFrames" in dataset:
        raise _broken(entry, "no pixel data")
    return dataset


def _whole(dataset: Any, entry: Entry) -> None:
    """Every element is as long as it says."""
    for tag in dataset.keys():  # noqa: SIM118  iterating a data set decodes it
        raw = dataset.get_item(tag)
        told = getattr(raw, "length", 0xFFFFFFFF)
        if isinstance(raw.value, bytes) and told != 0xFFFFFFFF and len(raw.value) < told:
            raise _broken(entry, f"truncated: {len(raw.value)} of {told} bytes of element {tag}")


def _look(dataset: Any, entry: Entry, depth: int = 0) -> None:
    """Decode every element now: pydicom would do it, and fail, when it is first used."""
    if depth > DEEPEST:
        raise _broken(entry, f"its sequences are nested more than {DEEPEST} deep")
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _look(item, entry, depth + 1)


UNREADABLE = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, OverflowError, ArithmeticError),
    *(EOFError, OSError, RuntimeError, AssertionError),
)
"""What pydicom raises on broken files: it has no exception of its own for most."""


def _broken(entry: Entry, got: str) -> BadInput:
    got = ascii(got[:200])[1:-1]
    return BadInput("the DICOM file can't be read", where=str(entry.path), got=got, do="get the file again")
