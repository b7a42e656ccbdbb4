"""Who drew a mask that a review stores: the ledger knows whose it was, the note beside it says what made it."""

from collections.abc import Mapping
from typing import Any

from smiler.domain.cells import parse_cell
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.origin import UNKNOWN, Note, Origin, as_note, drawn_by, note_of, unknown_note
from smiler.domain.places import content
from smiler.domain.provenance import Provenance
from smiler.review.ledger import MADE_HERE, Ledger
from smiler.review.revisions import Revision
from smiler.review.states import State

_SAME_MASK = (State.REJECTED, State.FLAGGED, State.ACCEPTED)
"""A decision that keeps the mask of the revision before."""


def accepted_note(cohort: Cohort, ledger: Ledger, head: Revision) -> Note | None:
    """What is said beside a mask that is accepted as it is; None for a reviewer's own, whose note lies there already.

    A proposal stays what made it; one that says nothing of that is of unknown origin. An expert's mask stays theirs.
    """
    source = _source(ledger, head, _SAME_MASK)
    if source.state is State.CORRECTED:
        return None
    note = _said(cohort, source)
    if source.state is not State.PROPOSED:
        origin = drawn_by(parse_cell(source.cell), note)
        return {**(note or as_note(Provenance("expert"))), "origin": origin}
    if note is None or note.get("made_by") in (None, "", UNKNOWN):
        return {**(note or {}), **unknown_note(cell=source.cell), "origin": "unknown"}
    return {**note, "origin": "accepted"}


def corrected_note(cohort: Cohort, ledger: Ledger, parent: Revision | None) -> Note:
    """What is said beside a reviewer's own mask: an expert's, or drawn upon what a model made."""
    told = {} if parent is None else {"mask": ledger.stored(parent)[0], "model": parent.model}
    told = {key: value for key, value in told.items() if value}
    upon: Origin = "expert"
    if parent is not None and ledger.stored(parent)[0]:
        source = _source(ledger, parent, (*_SAME_MASK, State.CORRECTED))
        upon = drawn_by(parse_cell(source.cell), _said(cohort, source)) if source.drawn else "expert"
    made = Provenance("review", told, {"kind": "corrected" if told else "drawn"})
    return as_note(made, "expert" if upon == "expert" else "corrected")


def _source(ledger: Ledger, revision: Revision, through: tuple[State, ...]) -> Revision:
    """The revision from which a mask comes: the first before it that another step than one of these states made."""
    while revision.state in through and revision.source in MADE_HERE and revision.parent:
        before = ledger.revision(revision.pair, revision.parent)
        if before is None or not (ledger.stored(before)[0] or before.content):
            break
        revision = before
    return revision


def _said(cohort: Cohort, source: Revision) -> Note | None:
    """The note of the mask that a cell names, as long as the file is the same; else what the ledger remembers of it."""
    try:
        cell = parse_cell(source.cell)
        if source.content and content(cohort.at(cell.path)) == source.content:
            note = note_of(cohort, source.case, source.organ, cell)
            if note is not None:
                return note
    except (BadInput, OSError):
        pass  # the ledger may know all the same
    if not source.model:
        return None
    facts: Mapping[str, Any] = {} if source.round is None else {"round": source.round}
    made_by = "relabel" if source.source in MADE_HERE else source.source
    return as_note(Provenance(made_by, {"model": source.model}, facts))
