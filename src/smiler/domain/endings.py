"""Names of volume files: their endings, whatever the capitals, and where a detached header keeps its voxels."""

import re
import unicodedata
from pathlib import Path

NIFTI = (".nii.gz", ".nii")
VOLUMES = (*NIFTI, ".mha", ".mhd", ".seg.nrrd", ".nrrd", ".nhdr")
"""Files that hold one volume each, or its header; all else is read as DICOM."""
MOST_HEADER_BYTES = 1 << 20
_VOXELS = {
    ".mhd": re.compile(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE),
    ".nhdr": re.compile(rb"^[ \t]*data ?file:[ \t]*([^\r\n]*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE),
}


def ending_of(name: str, endings: tuple[str, ...] = VOLUMES) -> str:
    """The ending that the name has, as it writes it; empty where it has none of them."""
    lower = name.lower()
    return next((name[-len(ending) :] for ending in endings if lower.endswith(ending)), "")


def stem_of(name: str) -> str:
    """The name without a volume's ending, its accents composed: a Mac writes them apart, and means the same name."""
    ending = ending_of(name)
    return unicodedata.normalize("NFC", name[: len(name) - len(ending)])


def data_file_of(header: Path) -> Path | None:
    """The file of voxels that a detached header (.mhd, .nhdr) names, beside it or below; None where there is none."""
    pattern = _VOXELS.get(ending_of(header.name).lower())
    if pattern is None:
        return None
    with header.open("rb") as stream:
        found = pattern.search(stream.read(MOST_HEADER_BYTES))
    name = found[1].decode("utf-8", "replace") if found else ""
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        return None
    return header.parent / name if (header.parent / name).is_file() else None
