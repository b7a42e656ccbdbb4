"""The header of a NIfTI-1 or NIfTI-2 file, checked before any voxel is read."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from smiler.domain.errors import BadInput
from smiler.formats.nifti_stream import PADDING, Source, longer, truncated

SIZES = {348: 352, 540: 544}
"""Bytes of the header -> first byte at which the voxels can begin (NIfTI-1, NIfTI-2)."""
KINDS: dict[int, Any] = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_MAGIC = {348: (344, b"n+1\0"), 540: (4, b"n+2\0\r\n\x1a\n")}
_PAIRS = (b"ni1\0", b"ni2\0")
# NIfTI datatype code -> numpy kind and bytes. What is not here can be neither HU nor labels.
_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_OTHERS = {0: "unknown", 1: "binary", 32: "complex", 128: "RGB", 1536: "float128", 1792: "complex", 2304: "RGBA"}
_UNITS = {1: "metres", 3: "micrometres"}


@dataclass(frozen=True)
class Header:
    """A valid header: its bytes, the array's own shape (i, j, k), how voxels are stored and where they begin.

    `scaling` is (slope, intercept), or None where the stored numbers are the values.
    """

    block: bytes
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int
    scaling: tuple[float, float] | None

    @property
    def data_bytes(self) -> int:
        """Bytes of all voxels."""
        return math.prod(self.shape) * self.dtype.itemsize


def fields(block: bytes) -> Any:
    """The header's fields by name (a nibabel header), unchecked."""
    return KINDS[len(block)](block, _order(block), check=False)


def read_block(source: Source) -> bytes:
    """The 348 or 540 bytes of the header; BadInput for anything that is not single-file NIfTI."""
    block = source.head(348)
    where = str(source.path)
    if not block:
        raise BadInput("the file is empty", where=where, do="get the file again")
    size = next((n for n in SIZES for order in ("little", "big") if _int(block, order) == n), None)
    if size is None:
        raise BadInput(
            "not a NIfTI file", where=where, got=f"first bytes {block[:8]!r}", do="convert the volume to .nii.gz"
        )
    block += source.head(size - 348)
    start, magic = _MAGIC[size]
    if len(block) < size:
        raise truncated(source.path, f"{len(block)} of {size} header bytes")
    if block[start : start + len(magic)] != magic:
        pair = block[start : start + 4] in _PAIRS
        what = "a NIfTI header without its voxels (.hdr/.img pair)" if pair else "not a NIfTI file: no magic number"
        raise BadInput(what, where=where, got=repr(block[start : start + 4]), do="convert the volume to .nii.gz")
    return block


def parse(block: bytes, where: str) -> Header:
    """Check everything that the header says by itself, except where the voxels lie in the patient."""
    values = fields(block)
    unit = int(values["xyzt_units"]) & 7
    if unit in _UNITS:
        raise BadInput("lengths are not in millimetres", where=where, got=_UNITS[unit], do="convert the header to mm")
    return Header(
        block,
        _shape(values, where),
        _dtype(values, block, where),
        _offset(values, block, where),
        _scaling(values, where),
    )


def check_size(header: Header, source: Source, max_bytes: int) -> None:
    """Refuse from the header alone what is over the cap or can't be what the file holds."""
    needed = header.offset + header.data_bytes
    if needed > max_bytes:
        raise BadInput(
            "the header promises more bytes than allowed",
            where=str(source.path),
            got=f"{'x'.join(map(str, header.shape))} voxels, {needed} bytes, {max_bytes} allowed",
            do="check the file, or raise max_bytes",
        )
    if needed > source.room:
        raise truncated(source.path, f"a file of {source.size} bytes, {needed} promised by its header")
    if not source.gzipped and source.size > needed + PADDING:
        raise longer(source.path, f"{source.size} bytes, {needed} promised")


def display_path(path: str | Path) -> Path:
    """The path, or BadInput if no file can have this name."""
    if "\x00" in str(path):
        raise BadInput("not a path", where=repr(str(path)))
    return Path(path)


def _int(block: bytes, order: Any) -> int:
    return int.from_bytes(block[:4], order)


def _order(block: bytes) -> str:
    return "<" if _int(block, "little") == len(block) else ">"


def _shape(values: Any, where: str) -> tuple[int, int, int]:
    dims = [int(v) for v in values["dim"]]
    if not 1 <= dims[0] <= 7:
        raise BadInput("the header's number of dimensions is not 1 to 7", where=where, got=str(dims[0]))
    shape = dims[1 : dims[0] + 1]
    if min(shape) < 1:
        raise BadInput("a dimension is not positive", where=where, got=str(shape))
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise BadInput("the volume has not three dimensions", where=where, got=str(shape), do="split or merge it")
    return shape[0], shape[1], shape[2]


def _dtype(values: Any, block: bytes, where: str) -> np.dtype[Any]:
    code = int(values["datatype"])
    if code not in _DTYPES:
        got = f"{code} ({_OTHERS.get(code, 'no such type')})"
        raise BadInput("voxels are not plain numbers", where=where, got=f"datatype {got}", do="convert the volume")
    return np.dtype(_order(block) + _DTYPES[code])


def _offset(values: Any, block: bytes, where: str) -> int:
    offset = float(values["vox_offset"])
    if not (math.isfinite(offset) and offset.is_integer() and offset >= SIZES[len(block)]):
        first = SIZES[len(block)]
        raise BadInput(
            "vox_offset is not valid", where=where, got=f"{offset:g}", do=f"it is a whole number from {first}"
        )
    return int(offset)


def _scaling(values: Any, where: str) -> tuple[float, float] | None:
    slope, inter = float(values["scl_slope"]), float(values["scl_inter"])
    if slope == 0 or not math.isfinite(slope) or (slope, inter) == (1, 0):
        return None
    if not math.isfinite(inter):
        raise BadInput("scl_slope is set and scl_inter is not finite", where=where, got=f"{slope:g}, {inter:g}")
    return slope, inter
