"""Compressed arrays on disk, read by the slice (blosc2, lz4)."""

from pathlib import Path
from threading import Lock
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from smiler.domain.errors import BadInput
from smiler.domain.files import as_os_error, replacing


class Room:
    """So many bytes of memory for arrays that are wanted again and again: each is read whole until no room is left."""

    def __init__(self, size: int) -> None:
        self.left, self._lock = size, Lock()

    def __reduce__(self) -> tuple[type["Room"], tuple[int]]:
        """To another process goes the size, not the lock."""
        return Room, (self.left,)

    def hold(self, array: Any) -> Any:
        """The array on disk in memory, or as it is where it does not fit."""
        with self._lock:
            if array.nbytes > self.left:
                return array
            self.left -= array.nbytes
        return array[:]


def save_array(path: Path, array: NDArray[np.generic]) -> None:
    """Write (z, y, x) atomically, in chunks of 8 slices and blocks of a part of one."""
    z, y, x = array.shape
    chunks, blocks = (min(8, z), y, x), (1, min(128, y), x)
    compression = blosc2.CParams(codec=blosc2.Codec.LZ4, clevel=5, nthreads=1)
    with replacing(path, ".b2nd") as temporary, as_os_error(RuntimeError):
        temporary.unlink()
        blosc2.asarray(
            np.ascontiguousarray(array),
            urlpath=str(temporary),
            mode="w",
            chunks=chunks,
            blocks=blocks,
            cparams=compression,
        )


def open_array(path: Path) -> Any:
    """The array on disk; indexing reads only what is asked for. BadInput if the file is no such array."""
    try:
        return blosc2.open(str(path), mode="r", dparams=blosc2.DParams(nthreads=1))
    except (RuntimeError, ValueError, OSError) as error:
        raise BadInput(
            "the cached array can't be read", where=str(path), got=str(error), do="delete it; it will be made anew"
        ) from error
