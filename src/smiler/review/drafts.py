"""Drafts: what a reviewer has drawn and not yet saved, one file for each reviewer, organ and volume."""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from smiler.domain.files import replacing
from smiler.review.errors import Pair

FOLDER = "drafts"


@dataclass(frozen=True)
class Draft:
    """The gzipped voxels of a box, and the revision that they are based on."""

    box: str
    base: int
    voxels: int
    body: bytes


class Drafts:
    """COHORT/review/drafts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER

    def put(self, pair: Pair, reviewer: str, draft: Draft) -> None:
        """Store it in place of the one before."""
        head = {**asdict(draft), "body": len(draft.body)}
        with replacing(self._path(pair, reviewer)) as temporary:
            temporary.write_bytes(json.dumps(head).encode() + b"\n" + draft.body)

    def get(self, pair: Pair, reviewer: str) -> Draft | None:
        """The draft, or None: there is none, or it is not whole."""
        try:
            head, _, body = self._path(pair, reviewer).read_bytes().partition(b"\n")
            told = json.loads(head)
            whole = told["body"] == len(body)
            return Draft(str(told["box"]), int(told["base"]), int(told["voxels"]), body) if whole else None
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None

    def has(self, pair: Pair, reviewer: str) -> bool:
        """Whether there is one."""
        return self._path(pair, reviewer).exists()

    def drop(self, pair: Pair, reviewer: str) -> None:
        """Forget it."""
        self._path(pair, reviewer).unlink(missing_ok=True)

    def saved(self, pair: Pair, reviewer: str, revision: int) -> None:
        """Forget it, unless it was drawn over this revision or a later one: the save was then asked for again."""
        found = self.get(pair, reviewer)
        if found is None or found.base < revision:
            self.drop(pair, reviewer)

    def _path(self, pair: Pair, reviewer: str) -> Path:
        name = hashlib.sha256("\0".join((pair.case, pair.organ, reviewer)).encode()).digest()
        return self.folder / f"{base64.b32encode(name).decode().rstrip('=').lower()}.draft"
