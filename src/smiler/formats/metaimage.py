"""MetaImage (.mha, .mhd with its .raw): lines of `Name = value`, the last of which says where the voxels are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from smiler.domain.endings import MOST_HEADER_BYTES
from smiler.domain.errors import BadInput
from smiler.formats.text_header import Fields, TextHeader, fields_of

_TYPES = {
    "met_char": "i1",
    "met_uchar": "u1",
    "met_short": "i2",
    "met_ushort": "u2",
    "met_int": "i4",
    "met_uint": "u4",
    "met_long_long": "i8",
    "met_ulong_long": "u8",
    "met_float": "f4",
    "met_double": "f8",
}
"""MET_LONG is left out: some writers give it four bytes and some eight."""
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_LAST = "elementdatafile"


def parse(path: Path, readline: Callable[[int], bytes]) -> TextHeader:
    """Read and check the header up to its last line."""
    fields = _read(path, readline)
    if fields.get("objecttype") not in (None, "Image") or fields.whole(fields.need("ndims"), "NDims") != 3:
        got = f"{fields.get('objecttype')} of {fields.need('ndims')} dimensions"
        raise BadInput("the volume has not three dimensions", where=fields.where, got=got, do="split or merge it")
    if fields.whole(fields.get("elementnumberofchannels") or "1", "ElementNumberOfChannels") != 1:
        raise BadInput("voxels are not plain numbers", where=fields.where, got="several channels", do="convert it")
    if not fields.one_of(_TRUTH, "binarydata"):
        raise BadInput("voxels are written as text", where=fields.where, do="convert the volume to .nii.gz")
    if (fields.get("distanceunits") or "mm").lower() not in ("mm", "?"):
        got, do = str(fields.get("distanceunits")), "convert the header to mm"
        raise BadInput("lengths are not in millimetres", where=fields.where, got=got, do=do)
    order = _flag(fields, "binarydatabyteordermsb", "elementbyteordermsb")
    dtype = np.dtype((">" if order else "<") + fields.one_of(_TYPES, "elementtype"))
    spacing = fields.get("elementspacing", "elementsize")
    i, j, k = fields.numbers(spacing, 3, "ElementSpacing") if spacing else (0.0, 0.0, 0.0)
    name = fields.need(_LAST)
    return TextHeader(
        shape=fields.shape(fields.need("dimsize"), "DimSize"),
        dtype=dtype,
        spacing=(i, j, k) if spacing else None,
        lps=_lps(fields, (i, j, k)) if spacing else None,
        packed=_flag(fields, "compresseddata"),
        file=None if name.upper() == "LOCAL" else fields.detached(path, name),
        skip=fields.whole(fields.get("headersize") or "0", "HeaderSize"),
        scaling=_scaling(fields),
    )


def _read(path: Path, readline: Callable[[int], bytes]) -> Fields:
    pairs: list[tuple[str, str]] = []
    left = MOST_HEADER_BYTES
    while not pairs or pairs[-1][0] != _LAST:
        line = readline(left)
        left -= len(line)
        name, sign, value = line.decode("utf-8", "replace").partition("=")
        if not line.endswith(b"\n") and (left <= 0 or name.strip().lower() != _LAST):
            what = "the file is empty" if not pairs and not line else "not a MetaImage file: its header has no end"
            raise BadInput(what, where=str(path), got=ascii(line[:40].decode("latin-1")), do="get the file again")
        if not line.strip():
            continue
        if not sign:
            got = ascii(line[:40].decode("latin-1"))
            raise BadInput("not a MetaImage file", where=str(path), got=got, do="convert the volume to .nii.gz")
        pairs.append((name.strip().lower(), value.strip()))
    return fields_of(pairs, str(path))


def _flag(fields: Fields, *names: str) -> bool:
    return fields.get(*names) is not None and bool(fields.one_of(_TRUTH, *names))


def _scaling(fields: Fields) -> tuple[float, float] | None:
    names = ("ElementToIntensityFunctionSlope", "1"), ("ElementToIntensityFunctionOffset", "0")
    slope, offset = (fields.numbers(fields.get(name.lower()) or usual, 1, name)[0] for name, usual in names)
    if not np.isfinite([slope, offset]).all() or slope == 0:
        raise BadInput("the scaling is not usable", where=fields.where, got=f"{slope:g}, {offset:g}")
    return None if (slope, offset) == (1.0, 0.0) else (slope, offset)


def _lps(fields: Fields, spacing: tuple[float, float, float]) -> Any:
    """The affine, where the file has both an origin and the axes' directions, one after the other."""
    origin, axes = fields.get("offset", "position", "origin"), fields.get("transformmatrix", "rotation", "orientation")
    if origin is None or axes is None:
        return None
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(fields.numbers(axes, 9, "TransformMatrix")).reshape(3, 3).T * spacing
    matrix[:3, 3] = fields.numbers(origin, 3, "Offset")
    return matrix
