"""What the routes share: the desk, opaque ids, leases and drafts, and the pieces of a request that they check alike."""

import hashlib
import hmac
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Timer
from typing import Annotated

from fastapi import Depends, Header, Query, Request
from fastapi import Path as InPath
from starlette.concurrency import run_in_threadpool

from smiler.review.desk import Desk, Remark
from smiler.review.drafts import Drafts
from smiler.review.errors import Pair, Refused
from smiler.review.gain import Gain, learn
from smiler.review.ledger import Asked
from smiler.review.masks import Box, Mask, parse_box
from smiler.review.order import Candidate, Order, Place, by_gain, candidates, trusted_volumes
from smiler.review.orientation import ras_shape
from smiler.review.repeats import SHARE, due
from smiler.review.revisions import Revision
from smiler.review.server.guard import Session
from smiler.review.server.limits import unpacked
from smiler.review.states import OPEN, State

_ID = re.compile(r"[0-9a-f]{16}")
TO_DO = OPEN | {State.FLAGGED}
"""What a queue shows unless it is asked for something else."""
LATER_SECONDS = 8.0
"""A CT of the queue that is not the first waits for so long: what is on its way to the screen needs the processor."""


@dataclass
class Leases:
    """Who works on what, as a hint; in memory, by a clock that never jumps."""

    held: dict[Pair, tuple[str, float]] = field(default_factory=dict)

    def take(self, pair: Pair, reviewer: str, seconds: float) -> str:
        """Hold it, unless somebody else does; who holds it now. What the reviewer held before is free again."""
        holder = self.holder(pair)
        if holder in (None, reviewer):
            self.held = {other: held for other, held in self.held.items() if held[0] != reviewer}
            self.held[pair] = (reviewer, time.monotonic() + seconds)
            return reviewer
        return holder or reviewer

    def holder(self, pair: Pair) -> str | None:
        """Who holds it."""
        reviewer, until = self.held.get(pair, ("", 0.0))
        return reviewer if reviewer and time.monotonic() < until else None


@dataclass
class Handed:
    """What 3D Slicer was given, in memory: revisions in a reviewer's newest label map of a volume; volumes so far."""

    numbers: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    cases: dict[str, list[str]] = field(default_factory=dict)


class Room:
    """The server's state."""

    def __init__(self, desk: Desk, seed: int = 0, repeats: float = SHARE) -> None:
        self.desk, self.seed, self._repeats = desk, seed, repeats
        self._gain: tuple[int, Gain] = (-1, Gain())
        self.leases, self.drafts, self.handed = Leases(), Drafts(desk.folder), Handed()
        self._id_key = desk.keys.derived("ids of cases")
        self._ids: dict[str, str] = {}
        self._later = Timer(0, self._read)

    @property
    def order(self) -> Order:
        """The queue's order, from what is known by now."""
        last = self.desk.ledger.last_event()
        if last != self._gain[0]:
            self._gain = (last, learn([*self.desk.held_out(), *self.desk.ledger.judged()]))
        return by_gain(self._gain[1])

    def id_of(self, case: str) -> str:
        """The opaque id of a case."""
        return hmac.new(self._id_key, case.encode(), hashlib.sha256).hexdigest()[:16]

    def case_of(self, opaque: str) -> str:
        """The case of an opaque id; 404 for any other."""
        if _ID.fullmatch(opaque):
            if opaque not in self._ids:
                self._ids = {self.id_of(case.id): case.id for case in self.desk.cohort}
            case = self._ids.get(opaque)
            if case is not None and case in self.desk.sheet.ids:
                return case
        raise Refused(404, "no such case", where="case", got=ascii(opaque[:40]), do="take an id from the queue")

    def candidates(self) -> list[Candidate]:
        """Every organ of every volume as it is now."""
        self.desk.sheet.follow()
        cohort = self.desk.cohort
        return candidates([case.id for case in cohort], cohort.organs, self.desk.ledger.heads())

    def places(
        self,
        found: Sequence[Candidate],
        states: frozenset[State] = TO_DO,
        organ: str | None = None,
        again: Sequence[Candidate] = (),
        reviewer: str = "",
    ) -> list[Place]:
        """What is in one of these states, in order; what comes again is told as if it came for the first time.

        What somebody else has open comes last.
        """
        chosen = [c for c in (*again, *found) if c.state in states and organ in (None, c.pair.organ)]
        places = self.order(chosen, trusted_volumes(found), self.seed)
        elsewhere = {pair for pair in self.leases.held if self.leases.holder(pair) not in (None, reviewer)}
        return sorted(places, key=lambda p: (p.candidate.pair in elsewhere, p.candidate not in again))

    def expect(self, cases: Sequence[str]) -> None:
        """Have the first of these cases' CTs at hand, and the others when that one is on the screen."""
        self._later.cancel()
        self._later = Timer(LATER_SECONDS, self._read, (cases[1:],))
        self._later.daemon = True
        self._later.start()
        self._read(cases[:1])

    def _read(self, cases: Sequence[str]) -> None:
        cohort = self.desk.cohort
        found = {case.id: case for case in cohort}
        for case in (found[name] for name in cases if name in found):
            self.desk.scans.expect(cohort, case)

    def repeats(self, reviewer: str) -> dict[Pair, Revision]:
        """Proposals that come to this reviewer a second time, the oldest first."""
        ledger, found = self.desk.ledger, dict[Pair, Revision]()
        for one in due(ledger.decided_by(reviewer), self._repeats, self.seed):
            head, shown = ledger.head(one.pair), ledger.revision(one.pair, one.parent or 0)
            if head is not None and head.number == one.number and shown is not None and shown.state is State.PROPOSED:
                found[one.pair] = shown
        return found

    def repeated(self, reviewer: str, pair: Pair, revision: int | None) -> Revision | None:
        """The proposal, if it is one that comes to this reviewer a second time as this revision."""
        head = self.desk.ledger.head(pair) if revision else None
        if head is None or head.number == revision:
            return None
        shown = self.repeats(reviewer).get(pair)
        return shown if shown is not None and shown.number == revision else None

    def pair_of(self, opaque: str, organ: str) -> Pair:
        """The organ of the volume; 404 for any other."""
        case = self.case_of(opaque)
        if organ not in self.desk.cohort.organs:
            do = f"choose among {', '.join(self.desk.cohort.organs.keys)}"
            raise Refused(404, "no such organ", where="organ", got=ascii(organ[:40]), do=do)
        return Pair(case, organ)


def room_of(request: Request) -> Room:
    """The server's state."""
    room: Room = request.app.state.room
    return room


def session_of(request: Request) -> Session:
    """Who asks; the guard let nobody else through."""
    session: Session = request.scope["session"]
    return session


InRoom = Annotated[Room, Depends(room_of)]
SignedIn = Annotated[Session, Depends(session_of)]
CaseId = Annotated[str, InPath(pattern="^[0-9a-f]{16}$", description="From the queue.")]
OrganKey = Annotated[str, InPath(pattern="^[a-z][a-z0-9_]{0,62}$", description="A key of the session's organs.")]
BoxText = Annotated[
    str | None, Query(alias="box", max_length=60, description="i0,j0,k0,i1,j1,k1, half-open; outside everything is 0.")
]


def pair_of(room: InRoom, case: CaseId, organ: OrganKey) -> Pair:
    """The organ and the volume of the path."""
    return room.pair_of(case, organ)


def base_of(
    if_match: Annotated[str | None, Header(description='"REVISION", "0" where nothing is there.')] = None,
) -> int:
    """The revision that a write is based on."""
    if if_match is None:
        do = 'send If-Match: "REVISION", "0" where nothing is there'
        raise Refused(428, "a write says which revision it is based on", where="If-Match", do=do)
    found = re.fullmatch(r'"(\d{1,9})"', if_match)
    if not found:
        raise Refused(422, "not a revision", where="If-Match", got=ascii(if_match[:40]), do='write it as "3"')
    return int(found[1])


def key_of(idempotency_key: Annotated[str | None, Header(description="8 to 64 of A-Za-z0-9-.")] = None) -> str:
    """The key under which a repeated write is known."""
    if idempotency_key is None or not re.fullmatch(r"[A-Za-z0-9-]{8,64}", idempotency_key):
        do = "send 8 to 64 of A-Za-z0-9-, new for every write"
        raise Refused(422, "a write has a key", where="Idempotency-Key", got=ascii((idempotency_key or "")[:70]), do=do)
    return idempotency_key


@dataclass(frozen=True)
class Write:
    """A write: who asks, about what, based on which revision, under which key."""

    room: Room
    session: Session
    pair: Pair
    base: int
    key: str

    @property
    def again(self) -> bool:
        """Whether the proposal that it is based on comes to the reviewer a second time."""
        return self.room.repeated(self.session.reviewer, self.pair, self.base) is not None

    def asked(self, what: str) -> Asked:
        """Its identity; `what` tells the rest of it."""
        return Asked.of(self.session.reviewer, self.key, self.pair, self.base, what)


def write_of(
    room: InRoom,
    session: SignedIn,
    pair: Annotated[Pair, Depends(pair_of)],
    base: Annotated[int, Depends(base_of)],
    key: Annotated[str, Depends(key_of)],
) -> Write:
    """What every write has."""
    return Write(room, session, pair, base, key)


@dataclass(frozen=True)
class Body:
    """Voxels that came: as they came, the box that they fill, and the mask that they are."""

    raw: bytes
    box: Box
    mask: Mask


async def body_of(room: InRoom, request: Request, case: CaseId, box: BoxText = None) -> Body:
    """The gzipped voxels of the request."""
    name, raw = room.case_of(case), await request.body()
    return await run_in_threadpool(_body, room, name, raw, box)


def _body(room: Room, case: str, raw: bytes, box: str | None) -> Body:
    shape = ras_shape(room.desk.grid(case).geometry)
    where = parse_box(box, shape)
    return Body(raw, where, unpacked(raw, where, shape))


def remark_of(
    note: Annotated[str, Query(max_length=2000)] = "",
    active_seconds: Annotated[float | None, Query(ge=0, le=86400, allow_inf_nan=False)] = None,
) -> Remark:
    """What the reviewer says beside a mask."""
    return Remark(note, active_seconds)


ThePair = Annotated[Pair, Depends(pair_of)]
Base = Annotated[int, Depends(base_of)]
TheWrite = Annotated[Write, Depends(write_of)]
TheBody = Annotated[Body, Depends(body_of)]
Said = Annotated[Remark, Depends(remark_of)]
