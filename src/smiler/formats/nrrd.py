"""NRRD (.nrrd, .nhdr with its data file): a magic line, lines of `field: value`, an empty line, the voxels."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from smiler.domain.endings import MOST_HEADER_BYTES
from smiler.domain.errors import BadInput
from smiler.formats.text_header import Fields, TextHeader, fields_of

MAGIC = b"NRRD000"
_NAMES = {
    "i1": "int8, int8_t, signed char",
    "u1": "uint8, uint8_t, uchar, unsigned char",
    "i2": "int16, int16_t, short, short int, signed short, signed short int",
    "u2": "uint16, uint16_t, ushort, unsigned short, unsigned short int",
    "i4": "int32, int32_t, int, signed int",
    "u4": "uint32, uint32_t, uint, unsigned int",
    "i8": "int64, int64_t, longlong, long long, long long int, signed long long, signed long long int",
    "u8": "uint64, uint64_t, ulonglong, unsigned long long, unsigned long long int",
    "f4": "float",
    "f8": "double",
}
_TYPES = {name: code for code, names in _NAMES.items() for name in names.split(", ")}
_ENDIAN = {"little": "<", "big": ">"}
_PACKED = {"raw": False, "gzip": True, "gz": True}
_SPACES = {
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}
"""Space -> what makes its axes left, posterior, superior."""
_VECTOR = re.compile(r"\(([^()]*)\)")


def parse(path: Path, readline: Callable[[int], bytes]) -> TextHeader:
    """Read and check the header up to the empty line, or to the end of a detached one."""
    fields = _read(path, readline)
    if fields.whole(fields.need("dimension"), "dimension") != 3:
        got, do = f"dimension {fields.need('dimension')}", "write one volume, or one segmentation without overlaps"
        raise BadInput("the volume has not three dimensions", where=fields.where, got=got, do=do)
    if {unit.lower() for unit in re.findall(r'"([^"]*)"', fields.get("space units") or "")} - {"mm", "millimeter", ""}:
        got, do = str(fields.get("space units")), "convert the header to mm"
        raise BadInput("lengths are not in millimetres", where=fields.where, got=ascii(got), do=do)
    if fields.whole(fields.get("line skip", "lineskip") or "0", "line skip") != 0:
        raise BadInput("the header skips lines of its data file", where=fields.where, do="convert it to .nii.gz")
    code = str(fields.one_of(_TYPES, "type"))
    order = "<" if code.endswith("1") else str(fields.one_of(_ENDIAN, "endian"))
    name = fields.get("data file", "datafile")
    spacings = fields.get("spacings")
    i, j, k = fields.numbers(spacings, 3, "spacings") if spacings else (0.0, 0.0, 0.0)
    return TextHeader(
        shape=fields.shape(fields.need("sizes"), "sizes"),
        dtype=np.dtype(order + code),
        spacing=(i, j, k) if spacings else None,
        lps=_lps(fields),
        packed=bool(fields.one_of(_PACKED, "encoding")),
        file=None if name is None else fields.detached(path, name.removeprefix("./")),
        skip=fields.whole(fields.get("byte skip", "byteskip") or "0", "byte skip"),
    )


def _read(path: Path, readline: Callable[[int], bytes]) -> Fields:
    pairs: list[tuple[str, str]] = []
    left = MOST_HEADER_BYTES
    first = readline(left)
    if not first.startswith(MAGIC) or not first[len(MAGIC) :].strip().isdigit():
        what = "not an NRRD file" if first else "the file is empty"
        got = ascii(first[:40].decode("latin-1")) if first else ""
        raise BadInput(what, where=str(path), got=got, do="convert the volume to .nii.gz")
    while line := readline(left).rstrip(b"\r\n"):
        left -= len(line)
        text = line.decode("utf-8", "replace")
        if text.startswith("#") or (":=" in text and ": " not in text.split(":=")[0]):
            continue  # a comment, or a key of the user's own
        name, sign, value = text.partition(":")
        if not sign or left <= 0:
            raise BadInput("the NRRD header is damaged", where=str(path), got=ascii(text[:40]), do="get the file again")
        pairs.append((name.strip().lower(), value.strip()))
    return fields_of(pairs, str(path))


def _lps(fields: Fields) -> Any:
    """The affine, where the file names its space, and in it an origin and a vector for each axis."""
    vectors, origin = fields.get("space directions", "spacedirections"), fields.get("space origin", "spaceorigin")
    if fields.get("space") is None or vectors is None or origin is None:
        return None
    signs = np.array(fields.one_of(_SPACES, "space"))
    matrix = np.eye(4)
    columns = [_vector(fields, text, "space directions") for text in _VECTOR.findall(vectors)]
    if len(columns) != 3 or len(_VECTOR.findall(origin)) != 1:
        raise BadInput("not one direction for each axis", where=fields.where, got=ascii(vectors), do="mend the header")
    matrix[:3, :3] = np.array(columns).T * signs[:, None]
    matrix[:3, 3] = np.array(_vector(fields, _VECTOR.findall(origin)[0], "space origin")) * signs
    return matrix


def _vector(fields: Fields, text: str, name: str) -> list[float]:
    return fields.numbers(text.replace(",", " "), 3, name)
