"""How much memory a CT takes while it is worked on, known from its header before a voxel is read."""

import math
from dataclasses import dataclass
from pathlib import Path

from smiler.domain.errors import BadInput
from smiler.domain.remote import Remote
from smiler.formats.volumes import ReadOptions, read_header
from smiler.store.options import DataOptions
from smiler.store.resample import working_geometry


@dataclass(frozen=True)
class Footprint:
    """Bytes for each voxel of the file, and for each voxel of the working grid."""

    native: int
    working: int

    def of(self, path: Path, reading: ReadOptions, data: DataOptions) -> int:
        """Bytes for this CT; 0 where its header can't be read: reading it will say why.

        Of an object in a store only the size is asked: a voxel of a packed CT takes about a byte.
        """
        try:
            if isinstance(path, Remote):
                return (self.native + self.working) * path.size()
            native = read_header(path, reading).geometry
        except (BadInput, FileNotFoundError):
            return 0
        working = working_geometry(native, data.spacing_zyx_mm)
        return self.native * math.prod(native.shape) + self.working * math.prod(working.shape)
