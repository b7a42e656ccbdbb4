"""Texts and dates of a series as objects written for it can hold them: one character set, dates that are dates."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes, encode_string, python_encoding
from pydicom.valuerep import DA, TEXT_VR_DELIMS, TM

UTF_8 = "ISO_IR 192"
PATIENT_TEXTS = ("PatientID", "PatientName", "StudyID", "AccessionNumber", "ReferringPhysicianName")
_KINDS: Mapping[str, Callable[[str], Any]] = {
    "PatientBirthDate": DA,
    "StudyDate": DA,
    "StudyTime": TM,
    "PatientSex": ("M", "F", "O").__contains__,
}


def charset_for(header: Any, titles: Iterable[str]) -> Any:
    """The series' own character set if it is known and holds all texts; else UTF-8, or none for plain ASCII."""
    own = header.get("SpecificCharacterSet") or []
    terms = [own] if isinstance(own, str) else [str(term) for term in own]
    texts = [*titles, *(str(header.get(name) or "") for name in PATIENT_TEXTS)]
    if all(text.isascii() for text in texts) and not terms:
        return None
    if terms and all(term in python_encoding for term in terms) and all(_comes_back(text, terms) for text in texts):
        return own
    return UTF_8


def _comes_back(text: str, terms: list[str]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what can't be encoded is told by a warning
        encodings = convert_encodings(terms)
        return decode_bytes(encode_string(text, encodings), encodings, set(TEXT_VR_DELIMS)) == text


def mend_values(header: Any) -> None:
    """Empty, in place, what no date, time or sex is: an optional value is no reason to write nothing."""
    for name, kind in _KINDS.items():
        if not _fits(kind, str(header.get(name) or "").strip()):
            setattr(header, name, "")


def _fits(kind: Callable[[str], Any], text: str) -> bool:
    try:
        return not text or bool(kind(text))
    except ValueError:
        return False
