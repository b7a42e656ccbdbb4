"""One open volume file (NIfTI, MetaImage, NRRD): header and size checked, its bytes at the first voxel."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from smiler.domain.endings import NIFTI, ending_of
from smiler.domain.errors import BadInput
from smiler.formats import metaimage, nrrd
from smiler.formats.nifti_grid import Grid, Orientation, grid_from, grid_of_affine
from smiler.formats.nifti_header import Header, check_size, parse, read_block
from smiler.formats.nifti_stream import Source, inflated, opened, truncated
from smiler.formats.text_header import TextHeader

Open: TypeAlias = tuple[Source, Header, Grid]
LARGEST_SIDE = 32767
"""Voxels along one axis that a NIfTI-1 header, in which grids are kept, can count."""
_BY_ENDING = {".mha": metaimage.parse, ".mhd": metaimage.parse, ".nrrd": nrrd.parse, ".nhdr": nrrd.parse}
_META = re.compile(rb"\s*(ObjectType|Comment|NDims)[ \t]*=")


@contextmanager
def checked(path: Path, orientation: Orientation, max_bytes: int) -> Iterator[Open]:
    """The file as bytes that stand at the first voxel, its header and its grid; BadInput says what is wrong with it.

    A name says which header to expect; where it says nothing, the first bytes do.
    """
    text = _text_reader(path)
    with opened(path) as source:
        if text is None:
            yield _nifti(source, orientation, max_bytes)
            return
        counted = _Lines(source)
        told = text(path, counted.readline)
        if told.file is None:
            yield _voxels(source, told, counted.bytes, orientation, max_bytes)
            return
    with opened(told.file, unpack=False) as source:
        yield _voxels(source, told, 0, orientation, max_bytes)


def _text_reader(path: Path) -> Callable[[Path, Callable[[int], bytes]], TextHeader] | None:
    ending = ending_of(path.name).lower()
    if ending.endswith(tuple(_BY_ENDING)):
        return _BY_ENDING[ending.removeprefix(".seg")]
    if ending in NIFTI:
        return None
    with opened(path) as source:
        first = source.head(64)
    if first.startswith(nrrd.MAGIC):
        return nrrd.parse
    return metaimage.parse if _META.match(first) else None


def _nifti(source: Source, orientation: Orientation, max_bytes: int) -> Open:
    block = read_block(source)
    header = parse(block, str(source.path))
    check_size(header, source, max_bytes)
    grid = grid_from(header, orientation, str(source.path))
    source.skip(header.offset - len(block))
    return source, header, grid


class _Lines:
    """The lines of a header, and how many bytes they take."""

    def __init__(self, source: Source) -> None:
        self.source, self.bytes = source, 0

    def readline(self, most: int) -> bytes:
        """The next line with its end."""
        line = bytes(self.source.stream.readline(most))
        self.bytes += len(line)
        return line


def _voxels(source: Source, told: TextHeader, begin: int, orientation: Orientation, max_bytes: int) -> Open:
    """`begin`: where in the file the data begin."""
    if told.packed:
        source, begin = inflated(source, begin), 0
    header = Header(b"", told.shape, told.dtype, begin + max(told.skip, 0), told.scaling)
    if told.skip < 0:
        header = replace(header, offset=source.size - header.data_bytes)
        if told.packed or header.offset < begin:
            raise truncated(source.path, f"{header.data_bytes} bytes of voxels promised by its header")
    check_size(header, source, max_bytes)
    grid = _grid(told, orientation, str(source.path))
    source.skip(header.offset - begin)
    return source, header, grid


def _grid(told: TextHeader, orientation: Orientation, where: str) -> Grid:
    if max(told.shape) > LARGEST_SIDE:
        got = "x".join(map(str, told.shape))
        raise BadInput(f"more than {LARGEST_SIDE} voxels along one axis", where=where, got=got, do="crop the volume")
    if told.lps is not None:
        return grid_of_affine(told.shape, np.diag([-1.0, -1.0, 1.0, 1.0]) @ told.lps, where)
    if orientation != "none" or told.spacing is None or not min(told.spacing) > 0:
        do = "set orientation = none to read its axes as right, anterior, superior" if told.spacing else "convert it"
        raise BadInput("the file does not say where its voxels lie", where=where, do=do)
    note = "the file does not say where its voxels lie: axes read as right, anterior, superior, as asked"
    return grid_of_affine(told.shape, np.diag([*told.spacing, 1.0]), where, (note,))
