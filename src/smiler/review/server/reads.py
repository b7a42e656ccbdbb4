"""What the page reads: session, queue, progress, volumes, masks, history."""

from statistics import fmean
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, Request, Response

from smiler.domain.provenance import tool_version
from smiler.review.errors import Pair, Refused
from smiler.review.masks import Mask
from smiler.review.order import Candidate, Place, coming
from smiler.review.orientation import nifti_bytes, ras_shape, ras_spacing
from smiler.review.progress import RECENT, progress_of
from smiler.review.server import shapes
from smiler.review.server.room import TO_DO, CaseId, InRoom, Room, SignedIn, ThePair
from smiler.review.server.sending import GZIPPED, NIFTI, boxed, whole
from smiler.review.states import State
from smiler.review.uncertainty import uncertainty_of, uncertainty_path

router = APIRouter(prefix="/api")
AnOrgan = Annotated[str | None, Query(max_length=64)]
ARevision = Annotated[int | None, Query(ge=0, le=10**9)]


@router.get("/session")
def session(room: InRoom, who: SignedIn) -> shapes.SessionOut:
    """Who is signed in, the token for writes, and the cohort's organs."""
    cohort = room.desk.cohort
    organs = [
        shapes.OrganOut(
            key=organ.key,
            title=organ.title or organ.key.replace("_", " "),
            colour=organ.colour,
            exclusive=sorted(cohort.organs.excluders(organ.key)),
            part_of=organ.part_of,
        )
        for organ in cohort.organs
    ]
    name = cohort.name or cohort.folder.resolve().name
    return shapes.SessionOut(reviewer=who.reviewer, xsrf=who.xsrf, cohort=name, organs=organs, version=tool_version())


@router.get("/queue")
def queue(  # noqa: PLR0913  whose queue, and what of it
    room: InRoom,
    who: SignedIn,
    behind: BackgroundTasks,
    organ: AnOrgan = None,
    state: State | None = None,
    lane: Annotated[str | None, Query(pattern="^(fast|correct|redo|other)$")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> shapes.QueueOut:
    """What to review next, in order, with reasons; without a state: what is open or flagged."""
    all_of_them = room.candidates()
    again = [Candidate(pair, shown) for pair, shown in room.repeats(who.reviewer).items()][:1]
    places = room.places(all_of_them, TO_DO if state is None else frozenset({state}), organ, again, who.reviewer)
    places = [place for place in places if lane in (None, place.lane)]
    behind.add_task(room.expect, coming(places))
    return shapes.QueueOut(
        items=[_item(room, place) for place in places[:limit]],
        matching=len(places),
        progress=_progress(room, all_of_them),
    )


def _item(room: Room, place: Place) -> shapes.QueueItem:
    candidate = place.candidate
    return shapes.QueueItem(
        case=room.id_of(candidate.pair.case),
        title=candidate.pair.case,
        organ=candidate.pair.organ,
        state=candidate.state,
        revision=candidate.head.number if candidate.head else 0,
        lane=place.lane,
        reason=place.reason,
        expected_dice=place.expected_dice,
        minutes=place.minutes,
    )


@router.get("/progress")
def progress(room: InRoom) -> shapes.Progress:
    """How far the review is."""
    return _progress(room, room.candidates())


def _progress(room: Room, found: list[Candidate]) -> shapes.Progress:
    desk = room.desk
    told = progress_of(found, desk.cohort.organs.keys, desk.ledger.recent_seconds(RECENT))
    alike = desk.ledger.repeats()
    return shapes.Progress(
        **told,
        repeated=len(alike),
        alike=fmean(alike) if alike else None,
        trouble=desk.sheet.trouble or None,
        edits=[shapes.EditOut(**edit.to_json()) for edit in desk.edits.open()],
    )


@router.get("/cases/{case}")
def case(
    room: InRoom, who: SignedIn, case: CaseId, organ: AnOrgan = None, revision: ARevision = None
) -> shapes.CaseOut:
    """A volume: its grid, and the state of each organ; the one that is opened as the queue's item tells it."""
    name, desk = room.case_of(case), room.desk
    geometry, heads = desk.grid(name).geometry, desk.ledger.heads_of(name)
    shown = room.repeated(who.reviewer, Pair(name, organ), revision) if organ else None
    heads |= {shown.organ: shown} if shown else {}
    organs = []
    for pair in (Pair(name, key) for key in desk.cohort.organs.keys):
        head = heads.get(pair.organ)
        organs.append(
            shapes.OrganOfCase(
                key=pair.organ,
                state=head.state if head else State.MISSING,
                revision=head.number if head else 0,
                voxels=desk.ledger.stored(head)[1] if head else 0,
                has_uncertainty=uncertainty_path(desk, pair) is not None,
                draft=room.drafts.has(pair, who.reviewer),
                leased_by=room.leases.holder(pair),
            )
        )
    return shapes.CaseOut(
        case=case, title=name, shape=ras_shape(geometry), spacing_mm=ras_spacing(geometry), organs=organs
    )


@router.get("/cases/{case}/image", responses=NIFTI, response_class=Response)
def image(room: InRoom, request: Request, case: CaseId) -> Response:
    """The CT, int16 HU."""
    cohort = room.desk.cohort
    made = room.desk.scans.image(cohort, cohort.case(room.case_of(case)))
    return whole(request, made.content, "private, max-age=0, must-revalidate", made.etag)


@router.get("/cases/{case}/masks/{organ}", responses=NIFTI, response_class=Response)
def mask(room: InRoom, request: Request, pair: ThePair, revision: ARevision = None) -> Response:
    """A revision's mask, the newest one's without a number; all zero where nothing is there."""
    number, found = _found(room, pair, revision)
    content = nifti_bytes(found.array, room.desk.grid(pair.case).geometry)
    answer = whole(request, content, "no-store", f"{number}-{found.voxels}")
    answer.headers["x-revision"] = str(number)
    return answer


@router.get("/cases/{case}/boxes/{organ}", responses=GZIPPED, response_class=Response)
def box(room: InRoom, pair: ThePair, revision: ARevision = None) -> Response:
    """The same mask, but only the box around its voxels; X-Shape is the whole grid's, i,j,k."""
    number, found = _found(room, pair, revision)
    return boxed(found.inside, found.box, revision=number, shape=",".join(map(str, found.shape)))


def _found(room: Room, pair: Pair, revision: int | None) -> tuple[int, Mask]:
    ledger = room.desk.ledger
    found = ledger.head(pair) if revision is None else ledger.revision(pair, revision)
    if found is None and revision:
        raise Refused(404, "no such revision", where=f"{pair}", got=str(revision), do="see its history")
    return found.number if found else 0, room.desk.mask(found, pair.case)


@router.get("/cases/{case}/uncertainty/{organ}", responses=NIFTI, response_class=Response)
def uncertainty(room: InRoom, request: Request, pair: ThePair) -> Response:
    """How unsure the model is, uint8 0 to 255; 404 where it does not say."""
    found = uncertainty_of(room.desk, pair)
    if found is None:
        raise Refused(404, "the proposal says nothing of its uncertainty", where=str(pair))
    return whole(request, nifti_bytes(found, room.desk.grid(pair.case).geometry), "no-store")


@router.get("/cases/{case}/history/{organ}")
def history(room: InRoom, who: SignedIn, pair: ThePair, revision: ARevision = None) -> shapes.History:
    """Every revision, oldest first; up to that of the queue's item where the organ is opened as it tells it."""
    shown, found = room.repeated(who.reviewer, pair, revision), room.desk.ledger.history(pair)
    return shapes.History(
        revisions=[shapes.RevisionOut.of(one) for one in found if shown is None or one.number <= shown.number]
    )
