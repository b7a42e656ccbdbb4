"""DICOM objects below a path: parsed one by one, sorted into CT slices, segmentations, structure sets and the rest."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from smiler.domain.errors import BadInput
from smiler.domain.places import Entry, walk
from smiler.formats.dicom.signature import has_preamble, looks_dicom

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT",
}
SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
LABELMAP_CLASS = "1.2.840.10008.5.1.4.1.1.66.7"
RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
MASK_CLASSES = {SEG_CLASS: "DICOM-SEG", LABELMAP_CLASS: "DICOM-SEG label map", RTSTRUCT_CLASS: "RTSTRUCT"}
"""Objects that hold masks and can be read."""
_OTHER_MASKS = {
    "1.2.840.10008.5.1.4.1.1.66.5": "Surface Segmentation",
    "1.2.840.10008.5.1.4.1.1.66.8": "Height Map Segmentation",
    "1.2.840.10008.5.1.4.1.1.481.11": "RT Segment Annotation",
}
_MASK_MODALITIES = ("SEG", "RTSTRUCT", "RTSEGANN")
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_UNDEFINED = 0xFFFFFFFF
DEEPEST = 64
"""Sequences within sequences: real objects have less than 20."""


@dataclass(frozen=True, eq=False)
class Object:
    """One parsed file without its pixels; `dataset()` reads it whole.

    pixel_bytes: how many bytes of pixels it holds as they are stored; None if it has none.
    """

    path: Path
    header: Any
    entry: Entry
    pixel_bytes: int | None = None

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
    def is_directory(self) -> bool:
        """Whether it is a DICOMDIR."""
        return self.sop_class == DICOMDIR_CLASS

    @property
    def masks(self) -> str:
        """What kind of masks it holds, empty if none; only those of MASK_CLASSES can be read."""
        known = MASK_CLASSES.get(self.sop_class) or _OTHER_MASKS.get(self.sop_class)
        modality = str(self.header.get("Modality") or "")
        return known or (modality if modality in _MASK_MODALITIES and not self.is_ct else "")

    @property
    def patient(self) -> str:
        """Its PatientID."""
        return str(self.header.get("PatientID") or "").strip()

    @property
    def study(self) -> str:
        """UID of its study."""
        return str(self.header.get("StudyInstanceUID") or "")

    @property
    def image_type(self) -> tuple[str, ...]:
        """Value of Image Type."""
        value = self.header.get("ImageType") or ()
        return (value,) if isinstance(value, str) else tuple(value)

    def dataset(self) -> Any:
        """The whole object, pixels too."""
        whole = parse(self.entry)
        if "PixelData" not in whole and "NumberOfFrames" in whole:
            raise _broken(self.entry, "no pixel data")
        return whole


@dataclass(frozen=True)
class NotDicom:
    """A file that is no DICOM object, and why: it may be a slice that was lost."""

    path: Path
    why: str = "not DICOM"

    @property
    def claims_to_be_dicom(self) -> bool:
        """Whether its name says that it is a DICOM file."""
        return self.path.suffix.lower() in (".dcm", ".dicom", ".ima")


def objects(path: Path, broken: list[BadInput] | None = None) -> Iterator[Object | NotDicom]:
    """Every DICOM object below a path, directories of files (DICOMDIR) too, and what is no DICOM file.

    BadInput for a broken DICOM file, or it goes into `broken` and the next one is read.
    """
    for entry in walk(path):
        if entry.missing:
            yield NotDicom(entry.path, entry.missing)
            continue
        try:
            header = parse(entry)
        except BadInput as error:
            if broken is None:
                raise
            broken.append(error)
            continue
        if header is None:
            yield NotDicom(entry.path)
        else:
            yield Object(entry.path, header, entry, _take_pixels(header))


def _take_pixels(dataset: Any) -> int | None:
    """Remove the pixels; how many bytes they had."""
    taken = [dataset.pop(key, None) for key in _PIXELS]
    value = next((element.value for element in taken if element is not None), None)
    return None if value is None else len(value)


def parse(entry: Entry) -> Any:
    """A data set, whole; None for a file that is not DICOM."""
    data = entry.read()
    if not looks_dicom(data):
        return None
    bare = not has_preamble(data)
    try:
        dataset = pydicom.dcmread(io.BytesIO(data[4:] if data[:4] == b"DICM" else data), force=bare)
        if bare and not (dataset.get("SOPClassUID") or dataset.get("Modality")):
            raise _broken(entry, "neither SOPClassUID nor Modality")
        _whole(dataset, entry)
        _settle_syntax(dataset, entry)
        _look(dataset, entry)
    except (BadInput, MemoryError):
        raise
    except (InvalidDicomError, *UNREADABLE) as error:
        raise _broken(entry, f"{type(error).__name__}: {error}") from error
    return dataset


def _settle_syntax(dataset: Any, entry: Entry) -> None:
    """Without file meta information the elements show how they are written; how pixels are compressed they don't."""
    if dataset.file_meta.get("TransferSyntaxUID"):
        return
    implicit, little = dataset.original_encoding
    pixels = dataset.get_item("PixelData") if "PixelData" in dataset else None
    if pixels is not None and getattr(pixels, "length", 0) == _UNDEFINED:
        raise _broken(entry, "compressed pixels, and no TransferSyntaxUID that says how")
    explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def _whole(dataset: Any, entry: Entry) -> None:
    """Every element is as long as it says."""
    for tag in dataset.keys():  # noqa: SIM118  iterating a data set decodes it
        raw = dataset.get_item(tag)
        told = getattr(raw, "length", _UNDEFINED)
        if isinstance(raw.value, bytes) and told != _UNDEFINED and len(raw.value) < told:
            raise _broken(entry, f"truncated: {len(raw.value)} of {told} bytes of element {tag}")


def _look(dataset: Any, entry: Entry, depth: int = 0) -> None:
    """Decode every element now: pydicom would do it, and fail, when it is first used."""
    if depth > DEEPEST:
        raise _broken(entry, f"its sequences are nested more than {DEEPEST} deep")
    for element in dataset:
        if element.VR == "UN":
            element = dataset[element.tag] = _by_dictionary(element)
        if element.VR == "SQ":
            for item in element.value:
                _look(item, entry, depth + 1)


def _by_dictionary(element: Any) -> DataElement:
    """What an explicit length of 16 bits can't hold is written as UN (CP-1066): the dictionary knows what it is.

    A value of unknown representation is encoded as implicit VR little endian.
    """
    known = isinstance(element.value, bytes) and not element.tag.is_private and dictionary_has_tag(element.tag)
    vr = dictionary_VR(element.tag) if known else "UN"
    if vr == "UN" or " " in vr:  # "US or SS" depends on other elements
        return element  # type: ignore[no-any-return]
    raw = RawDataElement(element.tag, vr, len(element.value), element.value, 0, True, True)
    return convert_raw_data_element(raw)


UNREADABLE = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, OverflowError, ArithmeticError),
    *(EOFError, OSError, RuntimeError, AssertionError),
)
"""What pydicom raises on broken files: it has no exception of its own for most."""


def _broken(entry: Entry, got: str) -> BadInput:
    got = ascii(got[:200])[1:-1]
    return BadInput("the DICOM file can't be read", where=str(entry.path), got=got, do="get the file again")
