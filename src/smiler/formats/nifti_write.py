"""NIfTI files out: gzipped with isal, atomic, on the grid that is asked for, the same bytes every time."""

import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from isal import igzip
from numpy.typing import NDArray

from smiler.domain.errors import BadInput
from smiler.domain.files import replacing
from smiler.domain.geometry import Geometry
from smiler.formats.nifti_grid import Grid, grid_of
from smiler.formats.nifti_header import KINDS, SIZES, fields

_SPATIAL = (
    *("dim", "pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)
COMPRESSION = 2
"""isal's default level: the size of zlib's level 6 at a twentieth of its time."""
_SLAB_VOXELS = 2 << 20


def write_labels(path: Path, array: NDArray[np.uint8] | NDArray[np.uint16], grid: Grid) -> None:
    """Write labels or a mask (z, y, x) as .nii.gz on the grid's own axes: shape and affine are exactly the file's."""
    if array.dtype not in (np.uint8, np.uint16):
        raise BadInput("labels are uint8 or uint16", where=str(path), got=str(array.dtype))
    _write(path, array, grid, 1.0)


def write_ct(path: Path, hu: NDArray[np.int16], geometry: Geometry | Grid) -> None:
    """Write a canonical CT, int16 HU (z, y, x), as .nii.gz: on the grid's own axes, or for a geometry as x, y, z."""
    if hu.dtype != np.int16:
        raise BadInput("HU are int16", where=str(path), got=str(hu.dtype))
    _write(path, hu, geometry if isinstance(geometry, Grid) else grid_of(geometry), 1.0)


def write_probability(path: Path, array: NDArray[np.float16] | NDArray[np.float32], grid: Grid) -> None:
    """Write probabilities (z, y, x) as .nii.gz of uint8 with scl_slope 1/255: a quarter of float32, within 0.002."""
    if not np.issubdtype(array.dtype, np.floating):
        raise BadInput("probabilities are floats", where=str(path), got=str(array.dtype))
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # also true for NaN
        raise BadInput("probabilities lie between 0 and 1", where=str(path), got=f"{low:g} to {high:g}")
    stored = np.empty(array.shape, dtype=np.uint8)
    for z, part in enumerate(array):
        stored[z] = np.rint(part.astype(np.float32) * 255)
    _write(path, stored, grid, 1 / 255)


def _write(path: Path, array: NDArray[Any], grid: Grid, slope: float) -> None:
    if not path.name.endswith(".nii.gz"):
        raise BadInput("NIfTI files are written gzipped", where=str(path), do="let the name end in .nii.gz")
    if array.shape != grid.geometry.shape:
        got = f"{array.shape}, expected {grid.geometry.shape}"
        raise BadInput("the array does not fit the grid", where=str(path), got=got)
    with replacing(path, ".nii.gz") as temporary, temporary.open("wb") as raw:
        _stream(raw, array, grid, slope)


def labels_bytes(array: NDArray[np.uint8], grid: Grid) -> bytes:
    """What `write_labels` would write, as bytes: for files that are named by their content."""
    return _bytes(array, grid)


def ct_bytes(hu: NDArray[np.int16], grid: Grid) -> bytes:
    """What `write_ct` would write on the grid's own axes, as bytes."""
    return _bytes(hu, grid)


def _bytes(array: NDArray[Any], grid: Grid) -> bytes:
    raw = io.BytesIO()
    _stream(raw, array, grid, 1.0)
    return raw.getvalue()


def _stream(raw: BinaryIO, array: NDArray[Any], grid: Grid, slope: float) -> None:
    own = grid.own(array)
    step = max(1, _SLAB_VOXELS // (own.shape[0] * own.shape[1]))
    with _gzip(raw) as stream:
        stream.write(_header(grid, array.dtype, slope))
        for k in range(0, own.shape[2], step):
            slab = own[:, :, k : k + step].T
            stream.write(np.ascontiguousarray(slab, dtype=array.dtype.newbyteorder("<")).data.cast("B"))


def _gzip(raw: BinaryIO) -> Any:
    """A gzip stream without name and time in its header, so that equal arrays give equal files."""
    kind: Any = igzip.IGzipFile  # isal has no types for it
    return kind(filename="", mode="wb", compresslevel=COMPRESSION, fileobj=raw, mtime=0)


def _header(grid: Grid, dtype: np.dtype[Any], slope: float) -> bytes:
    """Little-endian header of the grid's NIfTI version: where voxels lie is copied bit by bit, all else is new."""
    source = fields(grid.header)
    header = KINDS[len(grid.header)](endianness="<")
    for name in _SPATIAL:
        header[name] = source[name]
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1
    header.set_data_dtype(dtype)
    header["scl_slope"], header["scl_inter"] = slope, 0
    header["vox_offset"] = SIZES[len(grid.header)]
    block = bytes(header.binaryblock)
    return block + b"\0" * (SIZES[len(block)] - len(block))
