"""The CTs of a cohort for the page: their grid without voxels, and the RAS+ volume, made once and kept a while."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock

from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.files import hash_json
from smiler.formats.grey_values import GreyValues
from smiler.formats.nifti import ct_bytes
from smiler.formats.nifti_grid import Grid
from smiler.formats.volumes import CT, ReadOptions, read_ct, read_header
from smiler.review.orientation import nifti_bytes, ras

KEPT_IMAGES = 3
ANY = ReadOptions(grey_values="any")


@dataclass(frozen=True)
class Made:
    """A NIfTI file of a CT.

    etag: tells it from the same CT when the cohort's file has changed.
    """

    content: bytes
    etag: str

    @cached_property
    def sha256(self) -> str:
        """Of the content."""
        return hashlib.sha256(self.content).hexdigest()


class Scans:
    """CTs by case. note: told once of each CT what had to be decided to read it."""

    def __init__(self, note: Callable[[str], None] = lambda _: None) -> None:
        self._note, self._noted = note, set[str]()
        self._kept: OrderedDict[tuple[str, str, str], Made] = OrderedDict()
        self._lock, self._reading = Lock(), Lock()

    def grid(self, cohort: Cohort, case: Case) -> Grid:
        """Where the CT's voxels lie; BadInput if it can't be read."""
        path = cohort.image_path(case)
        return _grid(path, _state(path))

    def image(self, cohort: Cohort, case: Case) -> Made:
        """The CT, int16 HU on the RAS+ grid, not compressed."""
        return self._made(cohort, case, _on_ras)

    def expect(self, cohort: Cohort, case: Case) -> None:
        """Have the CT at hand for whoever asks next; what is wrong with it he is told then."""
        with suppress(BadInput, OSError):
            self.image(cohort, case)

    def own_image(self, cohort: Cohort, case: Case) -> Made:
        """The CT, int16 HU on its file's own grid, gzipped."""
        return self._made(cohort, case, _on_own)

    def _made(self, cohort: Cohort, case: Case, make: Callable[[CT], bytes]) -> Made:
        path = cohort.image_path(case)
        key = (str(path), _state(path), make.__name__)
        found = self._at_hand(key)
        if found is None:
            with self._reading:  # one at a time: a volume is large
                found = self._at_hand(key) or self._keep(key, Made(make(self._read(case, path)), hash_json(key)))
        return found

    def _read(self, case: Case, path: Path) -> CT:
        ct = read_ct(path)
        notes = (*ct.notes, *GreyValues.of(ct.hu).notes(ANY, str(path)))  # the page shows any grey values as they are
        for text in (f"case {case.id}, image {case.image}: {note}" for note in notes):
            if text not in self._noted:
                self._noted.add(text)
                self._note(text)
        return ct

    def _at_hand(self, key: tuple[str, str, str]) -> Made | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: tuple[str, str, str], made: Made) -> Made:
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > KEPT_IMAGES:
                self._kept.popitem(last=False)
        return made


def _on_ras(ct: CT) -> bytes:
    return nifti_bytes(ras(ct.hu), ct.geometry)


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
