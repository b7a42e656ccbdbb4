"""What the page writes: decisions, masks, drafts, leases; and the tools, which write nothing."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse

from smiler.review.desk import Remark
from smiler.review.drafts import Draft
from smiler.review.errors import Refused
from smiler.review.ledger import Answer
from smiler.review.orientation import ras_spacing
from smiler.review.revisions import Revision
from smiler.review.server import shapes
from smiler.review.server.room import Base, CaseId, InRoom, Said, SignedIn, TheBody, ThePair, TheWrite, Write
from smiler.review.server.sending import GZIPPED, boxed
from smiler.review.states import State
from smiler.review.tools import TOOLS, Drawing

router = APIRouter(prefix="/api/cases/{case}")
STALE: dict[int | str, dict[str, Any]] = {412: {"model": shapes.Stale, "description": "Another revision came first."}}
VOXELS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "gzip of the box's uint8 voxels, 0 or 1, RAS+, Fortran order.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("/decisions/{organ}", responses=STALE, response_model=shapes.RevisionOut)
def decide(write: TheWrite, body: shapes.DecisionIn) -> Response:
    """Accept, reject, absent, flag or reopen."""
    remark, asked = Remark(body.note, body.active_seconds), write.asked(body.decision)
    decide = write.room.desk.repeat if write.again else write.room.desk.decide
    return _told(write, decide(asked, write.pair, body.decision, remark))


@router.put("/masks/{organ}", responses=STALE, response_model=shapes.RevisionOut, openapi_extra=VOXELS)
def correct(write: TheWrite, body: TheBody, said: Said) -> Response:
    """A mask that the reviewer drew; the organ is corrected by it."""
    correct = write.room.desk.repeat if write.again else write.room.desk.correct
    return _told(write, correct(write.asked(body.mask.digest), write.pair, body.mask, said))


def _told(write: Write, answer: Answer) -> Response:
    if answer.status == 200:
        made = Revision.from_row(answer.body)
        if made.state is not State.FLAGGED:  # a flag leaves strokes alone
            write.room.drafts.saved(write.pair, write.session.reviewer, made.number)
        return JSONResponse(shapes.RevisionOut.of(made).model_dump(mode="json"))
    what = "somebody else decided first: the organ has another revision by now"
    error = shapes.Fault(
        what=what, where=str(write.pair), do="load the organ again; what was drawn is kept in its history"
    )
    stale = shapes.Stale(error=error, head=answer.body["head"], kept=answer.body["kept"])
    return JSONResponse(stale.model_dump(mode="json"), status_code=412)


@router.get("/drafts/{organ}", responses=GZIPPED, response_class=Response)
def draft(room: InRoom, who: SignedIn, pair: ThePair) -> Response:
    """The reviewer's own draft."""
    found = room.drafts.get(pair, who.reviewer)
    if found is None:
        raise Refused(404, "no draft", where=str(pair))
    return boxed(found.body, found.box, base_revision=found.base)


@router.put("/drafts/{organ}", openapi_extra=VOXELS)
def put_draft(room: InRoom, who: SignedIn, pair: ThePair, base: Base, body: TheBody) -> shapes.Drafted:
    """Keep what is drawn and not saved yet."""
    room.drafts.put(pair, who.reviewer, Draft(str(body.box), base, body.mask.voxels, body.raw))
    return shapes.Drafted(voxels=body.mask.voxels, base_revision=base)


@router.delete("/drafts/{organ}", status_code=204)
def drop_draft(room: InRoom, who: SignedIn, pair: ThePair) -> None:
    """Forget the draft."""
    room.drafts.drop(pair, who.reviewer)


@router.post("/leases/{organ}")
def lease(room: InRoom, who: SignedIn, pair: ThePair, body: shapes.LeaseIn) -> shapes.Lease:
    """Tell that somebody works on it; a hint, it keeps nobody out."""
    return shapes.Lease(leased_by=room.leases.take(pair, who.reviewer, body.seconds), seconds=body.seconds)


@router.post("/tools/{tool}", responses=GZIPPED, response_class=Response, openapi_extra=VOXELS)
def use_tool(
    room: InRoom,
    case: CaseId,
    tool: Annotated[str, Path(pattern=f"^({'|'.join(TOOLS)})$")],
    body: TheBody,
    axis: Annotated[int | None, Query(ge=0, le=2)] = None,
    radius_mm: Annotated[float | None, Query(gt=0, le=50, allow_inf_nan=False)] = None,
) -> Response:
    """What a tool makes of a drawing; nothing is stored."""
    spacing = ras_spacing(room.desk.grid(room.case_of(case)).geometry)
    made, where = TOOLS[tool](Drawing(body.mask, body.box, spacing), axis, radius_mm)
    return boxed(made, where)
