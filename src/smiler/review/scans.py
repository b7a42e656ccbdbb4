"""The CTs of a cohort for the page: their grid without voxels, and the RAS+ volume, packed once and kept a while."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

from isal import igzip

from smiler.domain.cohort import Case, Cohort
from smiler.domain.files import hash_json
from smiler.formats.nifti import ct_bytes
from smiler.formats.nifti_grid import Grid
from smiler.formats.volumes import CT, read_ct, read_header
from smiler.review.orientation import nifti_bytes, ras

KEPT_IMAGES = 3
FASTEST = 0
"""isal's level for what only crosses to the browser."""


@dataclass(frozen=True)
class Packed:
    """A gzipped NIfTI file and the hash of it."""

    content: bytes
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> "Packed":
        """With its hash."""
        return cls(content, hashlib.sha256(content).hexdigest())

    @property
    def etag(self) -> str:
        """A short of the hash."""
        return self.sha256[:32]


class Scans:
    """CTs by case."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, str], Packed] = OrderedDict()
        self._lock = Lock()

    def grid(self, cohort: Cohort, case: Case) -> Grid:
        """Where the CT's voxels lie; BadInput if it can't be read."""
        path = cohort.image_path(case)
        return _grid(path, _state(path))

    def image(self, cohort: Cohort, case: Case) -> Packed:
        """The CT, int16 HU on the RAS+ grid."""
        return self._packed(cohort, case, _on_ras)

    def own_image(self, cohort: Cohort, case: Case) -> Packed:
        """The CT, int16 HU on its file's own grid."""
        return self._packed(cohort, case, _on_own)

    def _packed(self, cohort: Cohort, case: Case, pack: Callable[[CT], bytes]) -> Packed:
        path = cohort.image_path(case)
        key = (str(path), _state(path), pack.__name__)
        with self._lock:  # one at a time: a volume is large
            if key not in self._kept:
                self._kept[key] = Packed.of(pack(read_ct(path)))
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT_IMAGES:
                self._kept.popitem(last=False)
            return self._kept[key]


def _on_ras(ct: CT) -> bytes:
    return igzip.compress(nifti_bytes(ras(ct.hu), ct.geometry), FASTEST)


def _on_own(ct: CT) -> bytes:
    return ct_bytes(ct.hu, ct.grid)


@lru_cache(maxsize=1024)
def _grid(path: Path, state: str) -> Grid:  # noqa: ARG001  a file that changed is read again
    return read_header(path)


def _state(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_mtime_ns} {found.st_size}"


def grid_hash(grid: Grid) -> str:
    """A short of the file's own grid: shape and affine."""
    return hash_json([grid.shape, grid.affine])
