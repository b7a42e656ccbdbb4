"""What a folder holds, so that no command writes one kind of thing over another."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from smiler.domain.cohort import LEDGER, MANIFEST
from smiler.domain.errors import BadInput


class Kind(StrEnum):
    """What smiler makes in a folder."""

    COHORT = "a cohort"
    REVIEW = "a review"
    RUN = "a run"
    FOLDS = "a training in folds"
    EXPORT = "an export"
    SWEEP = "a sweep"


SIGNS: Mapping[Kind, tuple[str, ...]] = {
    Kind.COHORT: (MANIFEST, LEDGER),
    Kind.REVIEW: ("review/ledger.sqlite",),
    Kind.RUN: ("recipe.toml",),
    Kind.FOLDS: ("folds.json",),
    Kind.EXPORT: (".smiler-export",),
    Kind.SWEEP: ("sweep.json",),
}
"""The files by which each is known."""


def kinds_in(folder: Path) -> list[Kind]:
    """Everything that lies there."""
    return [kind for kind, signs in SIGNS.items() if any((folder / sign).exists() for sign in signs)]


def refuse_others(folder: Path, *allowed: Kind, do: str = "choose another folder") -> None:
    """BadInput if something lies there that is not among `allowed`."""
    others = [kind for kind in kinds_in(folder) if kind not in allowed]
    if others:
        raise BadInput(f"{others[-1]} lies there", where=str(folder), do=do)
