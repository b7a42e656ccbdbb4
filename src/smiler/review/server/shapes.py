"""What the server's JSON looks like, in and out; the OpenAPI document is made of these."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from smiler.review.revisions import Revision
from smiler.review.states import Decision, State

Note = Annotated[str, Field(max_length=2000)]
Seconds = Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)]


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fault(_Out):
    """What is wrong, where, what was got, and what to do."""

    what: str
    where: str
    got: str = ""
    do: str = ""


class Error(_Out):
    """Every error."""

    error: Fault


class Stale(_Out):
    """412: the head is another by now. kept: the revision under which a stale mask is kept."""

    error: Fault
    head: int
    kept: int | None


class OrganOut(_Out):
    """An organ of the cohort."""

    key: str
    title: str
    colour: str
    exclusive: list[str]
    part_of: str | None


class SessionOut(_Out):
    """Who is signed in, and the cohort."""

    reviewer: str
    xsrf: str
    cohort: str
    organs: list[OrganOut]
    version: str


class OrganProgress(_Out):
    """One organ's count."""

    total: int
    verified: int


class EditOut(_Out):
    """An edit of cases.csv outside of the review that changed what people had decided.

    changes: cells by 'accepted -> proposed'; rows_changed: rows with another patient or image.
    """

    number: int
    time: str
    title: str
    cells: int
    cases: int
    rows_gone: int
    rows_changed: int
    changes: dict[str, int]


class UndoneOut(_Out):
    """What an undo did. cells, rows: so many are as before; left: what was left as it is, and why."""

    edit: int
    reviewer: str
    cells: int
    rows: int
    left: list[str]


class Progress(_Out):
    """How far the review is. trouble: why cases.csv can't follow it now, or null.

    edits: of cases.csv, that nobody undid or dismissed yet, oldest first.
    repeated: second answers to a proposal; alike: how far they agree with the first ones, 0 to 1.
    """

    total: int
    verified: int
    rejected: int
    left: int
    flagged: int
    per_hour: float | None
    hours_left: float | None
    by_organ: dict[str, OrganProgress]
    repeated: int
    alike: float | None
    trouble: str | None
    edits: list[EditOut]


class QueueItem(_Out):
    """One organ of one volume, and why it has its place."""

    case: str
    title: str
    organ: str
    state: State
    revision: int
    lane: str
    reason: str
    expected_dice: float | None
    minutes: float | None


class QueueOut(_Out):
    """The queue's beginning. matching: how many there are in all."""

    items: list[QueueItem]
    matching: int
    progress: Progress


class OrganOfCase(_Out):
    """One organ of a volume."""

    key: str
    state: State
    revision: int
    voxels: int | None
    has_uncertainty: bool
    draft: bool
    leased_by: str | None


class CaseOut(_Out):
    """A volume on its RAS+ grid."""

    case: str
    title: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    organs: list[OrganOfCase]


class RevisionOut(_Out):
    """One revision."""

    revision: int
    state: State
    source: str
    parent: int | None
    reviewer: str
    time: str
    voxels: int | None
    added: int | None
    removed: int | None
    dice_to_parent: float | None
    active_seconds: float | None
    note: str
    model: str
    round: int | None
    kept: bool

    @classmethod
    def of(cls, revision: Revision) -> "RevisionOut":
        """As the page sees it: no paths, no hashes of files."""
        same = {name: getattr(revision, name) for name in _SAME}
        return cls(revision=revision.number, dice_to_parent=revision.dice, **same)


_SAME = (
    *("state", "source", "parent", "reviewer", "time", "voxels", "added", "removed", "active_seconds", "note"),
    *("model", "round", "kept"),
)


class History(_Out):
    """Every revision of an organ of a volume, oldest first."""

    revisions: list[RevisionOut]


class DecisionIn(BaseModel):
    """What the reviewer says."""

    model_config = ConfigDict(extra="forbid")
    decision: Decision
    note: Note = ""
    active_seconds: Seconds | None = None


class LeaseIn(BaseModel):
    """For how long somebody will probably work on it."""

    model_config = ConfigDict(extra="forbid")
    seconds: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]


class Lease(_Out):
    """Who holds it."""

    leased_by: str
    seconds: float


class Drafted(_Out):
    """A draft is stored."""

    voxels: int
    base_revision: int
