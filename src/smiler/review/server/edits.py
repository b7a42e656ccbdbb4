"""Edits of cases.csv outside of the review: taken back, or dismissed."""

from typing import Annotated

from fastapi import APIRouter, Path

from smiler.review.server import shapes
from smiler.review.server.room import InRoom, SignedIn
from smiler.review.undo import dismiss, undo

router = APIRouter(prefix="/api/edits/{edit}")
EditNumber = Annotated[int, Path(ge=1, lt=2**53, description="From the progress.")]


@router.post("/undo")
def undo_edit(room: InRoom, who: SignedIn, edit: EditNumber) -> shapes.UndoneOut:
    """Cells that are still as the edit left them say what they said before; asked again, it tells the same."""
    return shapes.UndoneOut(**undo(room.desk, edit, who.reviewer).to_json())


@router.post("/dismissal", status_code=204)
def dismiss_edit(room: InRoom, who: SignedIn, edit: EditNumber) -> None:
    """The edit was seen and stays; the command can still undo it."""
    dismiss(room.desk, edit, who.reviewer)
