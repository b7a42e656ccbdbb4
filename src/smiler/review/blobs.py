"""Stored masks: files named by the hash of their content, never changed, on the CT's own grid."""

import hashlib
import re
from pathlib import Path
from typing import Any

from smiler.domain.errors import BadInput
from smiler.domain.files import read_json, replacing, sync_folder, write_json
from smiler.domain.origin import Note
from smiler.domain.provenance import beside
from smiler.formats.nifti import labels_bytes
from smiler.formats.nifti_grid import Grid
from smiler.review.errors import Damaged
from smiler.review.masks import Mask
from smiler.review.orientation import canonical

MASKS, QUARANTINE = "masks", "quarantine"
_NAME = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """The masks in COHORT/review/masks; `cell` is how the cohort's ledger names one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where a mask lies."""
        if not _NAME.fullmatch(name):
            raise ValueError(name)
        return self.folder / MASKS / f"{name}.nii.gz"

    def cell(self, name: str) -> str:
        """The mask's path from the cohort's folder."""
        return f"{self.folder.name}/{MASKS}/{name}.nii.gz"

    def put(self, mask: Mask, grid: Grid) -> str:
        """Store a mask and give its name; what is there already, and whole, is not written again."""
        content = labels_bytes(canonical(mask.array), grid)
        name = hashlib.sha256(content).hexdigest()
        if not self.intact(name):
            with replacing(self.path(name), ".nii.gz") as temporary:
                temporary.write_bytes(content)
        return name

    def tell(self, name: str, case: str, organ: str, about: Note) -> None:
        """Say beside a mask what made it and who drew it; masks of several organs may be one file."""
        note = Path(beside(str(self.path(name))))
        try:
            old = read_json(note) if note.exists() else {}
        except BadInput:
            old = {}  # it says nothing any more
        old = old if isinstance(old, dict) else {}
        pairs = _table(old, "pairs")
        new = {**about, **old, "pairs": {**pairs, case: {**_table(pairs, case), organ: dict(about)}}}
        if new != old:
            write_json(note, new)

    def intact(self, name: str) -> bool:
        """Whether the file is there and holds what its name says."""
        if not name:
            return False
        try:
            return hashlib.sha256(self.path(name).read_bytes()).hexdigest() == name
        except OSError:
            return False

    def checked(self, name: str) -> Path:
        """Where a mask lies, after its content was checked; Damaged if it is not what was stored."""
        path = self.path(name)
        if self.intact(name):
            return path
        got = "another content" if path.exists() else "no file"
        raise Damaged("a stored mask is damaged", where=str(path), got=got, do="smiler review COHORT --verify")

    def quarantine(self, name: str) -> Path:
        """Move a damaged mask away, so that nobody takes it for knowledge; where it lies now."""
        path, away = self.path(name), self.folder / QUARANTINE
        away.mkdir(exist_ok=True)
        target = away / path.name
        if path.exists():
            path.replace(target)
            sync_folder(path.parent)
            sync_folder(away)
        return target

    def files(self, name: str) -> list[Path]:
        """The mask, and what is told beside it."""
        note = Path(beside(str(self.path(name))))
        return [path for path in (note, self.path(name)) if path.is_file()]


def _table(told: dict[str, Any], key: str) -> dict[str, Any]:
    found = told.get(key)
    return found if isinstance(found, dict) else {}
