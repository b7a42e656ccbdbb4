"""Who drew a mask: said by the note beside it or by the cohort's own notes. Without a note nobody guesses.

An annotated cell is an expert's by the ledger's word. A mask of the review is not: without a note nobody knows whose.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from smiler.domain.cells import Cell
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.files import read_json, write_json
from smiler.domain.provenance import Provenance, beside
from smiler.domain.remote import Remote, absolute, place

Origin = Literal["expert", "corrected", "accepted", "unknown", "proposed"]
"""Who drew a mask: an expert; an expert upon a model's proposal; a model, with an expert's consent; nobody knows who,
with an expert's consent; a model."""
Note = Mapping[str, Any]
UNKNOWN = "unknown"
NOTES = "origins.json"
"""In a cohort's folder: notes of masks that lie elsewhere, where nothing may be written."""
_REVIEWED = re.compile(r"(.*/)?review/masks/[0-9a-f]{64}\.nii\.gz", re.DOTALL)
_PROGRAMS = ("relabel", "predict")


def unknown_note(**facts: str) -> dict[str, Any]:
    """The note of a mask of which nobody knows what drew it."""
    return {"made_by": UNKNOWN, "parents": {}, "facts": facts}


def note_of(cohort: Cohort, case_id: str, organ: str, cell: Cell) -> Note | None:
    """What is known of how a cell's mask was made; None where nothing is said. BadInput for a file that is no note."""
    if not cell.path:
        return None
    about = cohort.at(beside(cell.path))
    told = note_in(read_json(about), case_id, organ, about) if about.is_file() else None
    if told is None:
        told = Notes.read(cohort.folder).of(cohort.at(cell.path), organ)
    return unknown_note() if told is None and reviewed(cell.path) else told


def origin_of(cohort: Cohort, case: Case, organ: str) -> tuple[Origin, Note | None]:
    """Who drew an organ's mask, and what is known of how."""
    note = note_of(cohort, case.id, organ, case.cell(organ))
    return drawn_by(case.cell(organ), note), note


def drawn_by(cell: Cell, note: Note | None) -> Origin:
    """Who drew the mask of a cell, by its note."""
    if cell.auto:
        return "proposed"
    if note is None:
        return "unknown" if reviewed(cell.path) else "expert"
    said = _said(note, "origin")
    if said:
        return "accepted" if said == "proposed" else said  # an expert wrote the cell anew
    return _by_maker(note, reviewed(cell.path))


def reviewed(path: str) -> bool:
    """Whether a path is that of a mask which a review stored."""
    return bool(_REVIEWED.fullmatch(path))


def _by_maker(note: Note, in_review: bool) -> Origin:
    maker, facts, parents = note.get("made_by"), note.get("facts"), note.get("parents")
    facts, parents = facts if isinstance(facts, Mapping) else {}, parents if isinstance(parents, Mapping) else {}
    if maker == UNKNOWN:
        return "unknown"
    if maker in _PROGRAMS or (maker == "import" and facts.get("program")):
        return "accepted"
    if maker == "review":  # notes of version 1 say no origin
        return "corrected" if {"mask", "model"} <= parents.keys() else "expert"
    if isinstance(was := facts.get("was"), Mapping):
        return _by_maker(was, in_review)
    if in_review and maker != "expert":  # a proposal's own note, copied when it was accepted
        return "accepted" if maker else "unknown"
    return "expert"


def note_in(told: Any, case: str, organ: str, about: Path) -> Note | None:
    """The part of a note that is about this organ of this case; BadInput for what is no note."""
    if not isinstance(told, dict):
        raise _no_note(about, told)
    for key, names in (("pairs", (case, organ)), ("organs", (organ,))):
        if isinstance(found := told.get(key), dict):
            for name in names:
                found = found.get(name) if isinstance(found, dict) else None
            if found is not None and not isinstance(found, dict):
                raise BadInput(
                    "not a mask's provenance", where=str(about), got=type(found).__name__, do="mend the file"
                )
            if found is not None or "made_by" not in told:
                return found or _by_sidecar(told)
    return told


def _no_note(about: Path, got: object) -> BadInput:
    return BadInput("not a mask's provenance", where=str(about), got=type(got).__name__, do="remove the file")


def _by_sidecar(told: Note) -> Note | None:
    """What an exported BIDS sidecar says of its mask."""
    said = _said(told, "Origin")
    return {"made_by": UNKNOWN, "origin": said} if said and said != "expert" else None


def _said(told: Note, key: str) -> Origin | None:
    return next((origin for origin in get_args(Origin) if told.get(key) == origin), None)


@dataclass(frozen=True)
class Notes:
    """A cohort's own notes, by the mask's absolute path and the organ; many masks share one note."""

    notes: tuple[Note, ...] = ()
    masks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "Notes":
        """The notes in a cohort's folder; BadInput for a file that holds something else."""
        path = folder / NOTES
        try:
            state = None if isinstance(path, Remote) else path.stat()
        except OSError:
            return cls()
        return _read_notes(path, (state.st_mtime_ns, state.st_size, state.st_ino) if state else ())

    def of(self, path: Path, organ: str) -> Note | None:
        """The note of an organ's mask, or None."""
        number = self.masks.get(str(absolute(path)), {}).get(organ)
        return None if number is None else self.notes[number]

    def joined(self, rows: Mapping[tuple[Path, str], Note]) -> "Notes":
        """With notes of further (mask, organ)."""
        notes, masks = list(self.notes), {path: dict(row) for path, row in self.masks.items()}
        for (path, organ), note in rows.items():
            if note not in notes:
                notes.append(note)
            masks.setdefault(str(absolute(path)), {})[organ] = notes.index(note)
        return Notes(tuple(notes), masks)

    def save(self, folder: Path) -> None:
        """Write them into a cohort's folder, if there is any; a mask within it by its path from there."""
        if not self.masks:
            return
        base, masks = absolute(folder), {}
        for mask, row in self.masks.items():
            path = place(mask)
            masks[path.relative_to(base).as_posix() if path.is_relative_to(base) else mask] = dict(row)
        write_json(folder / NOTES, {"notes": list(self.notes), "masks": masks})
        _read_notes.cache_clear()


@lru_cache(maxsize=4)
def _read_notes(path: Path, state: tuple[int, ...]) -> Notes:  # noqa: ARG001  a file that changed is read again
    told = read_json(path) if path.is_file() else {"notes": [], "masks": {}}
    try:
        notes = tuple(told["notes"])
        masks = {str(absolute(place(mask, path.parent))): dict(row) for mask, row in told["masks"].items()}
        whole = all(isinstance(note, dict) for note in notes)
        whole &= all(0 <= number < len(notes) for row in masks.values() for number in row.values())
    except (KeyError, TypeError, ValueError, AttributeError):
        whole = False
    if not whole:
        raise BadInput("not a cohort's notes of masks", where=str(path), do="get the file back from a backup")
    return Notes(notes, masks)


def take_along(cohort: Cohort, other: Cohort) -> None:
    """Give a cohort that was made of another, with the same masks, the notes that do not lie beside them."""
    own = Notes.read(cohort.folder)
    used = {(other.at(cell.path), key) for case in other for key, cell in case.cells.items() if cell.path}
    rows = {pair: note for pair in used if own.masks and (note := own.of(*pair)) is not None}
    if rows:
        Notes.read(other.folder).joined(rows).save(other.folder)


def as_note(made: Provenance, origin: Origin | None = None) -> dict[str, Any]:
    """A note as it is written; origin: where it does not follow from what made it."""
    told = {"made_by": made.made_by, "parents": dict(made.parents), "facts": dict(made.facts)}
    told |= {"tool": made.tool, "python": made.python}
    return told | ({"origin": origin} if origin else {})
