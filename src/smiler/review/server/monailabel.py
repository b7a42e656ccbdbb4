"""3D Slicer's MONAI Label extension: as much of its server's protocol as a review needs.

The guard has checked the token in the path. Volumes and label maps are NIfTI files on the CT's own grid.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from smiler.domain.provenance import tool_version
from smiler.formats.nifti import labels_bytes
from smiler.review.errors import Refused
from smiler.review.labelmap import Saving, ct_shape, differences, drawn_map, head_numbers, masks_of, read_map
from smiler.review.ledger import MADE_HERE
from smiler.review.order import Candidate
from smiler.review.orientation import canonical
from smiler.review.server.forms import fields, form
from smiler.review.server.guard import LABEL
from smiler.review.server.limits import MOST_JSON_BYTES
from smiler.review.server.room import TO_DO, InRoom, Room, SignedIn

MODEL, STRATEGY = "drawn", "queue"
ENDING = ".nii.gz"
_GZIP = "application/gzip"
router = APIRouter(prefix=f"{LABEL}{{token}}", include_in_schema=False)

Image = Annotated[str, Query(max_length=200)]
Tag = Annotated[str, Query(pattern="^(final|original)?$")]


@router.get("/auth/")
def auth() -> dict[str, Any]:
    """No user and password: the address has the token."""
    return {"enabled": False}


@router.get("/info/")
def info(room: InRoom) -> dict[str, Any]:
    """What there is: organs, one model, one strategy, nothing to train."""
    cohort = room.desk.cohort
    organs = list(cohort.organs.keys)
    about = "What is drawn now: a model's proposals, and what reviewers made of them."
    return {
        "name": f"smiler review: {cohort.name or cohort.folder.resolve().name}",
        "description": about,
        "version": tool_version(),
        "labels": organs,
        "models": {MODEL: {"type": "segmentation", "dimension": 3, "labels": organs, "description": about}},
        "trainers": {},
        "strategies": {STRATEGY: {"description": "The next volume of the review's queue."}},
        "scoring": {},
        "train_stats": {},
        "datastore": _stats(room.candidates()),
    }


def _stats(found: Sequence[Candidate]) -> dict[str, Any]:
    cases = {candidate.pair.case for candidate in found}
    left = {candidate.pair.case for candidate in found if candidate.state in TO_DO}
    return {"total": len(cases), "completed": len(cases - left)}


@router.get("/datastore/")
def datastore(
    room: InRoom, output: Annotated[str, Query(pattern="^(all|stats|train)?$")] = "stats"
) -> dict[str, Any] | list[dict[str, str]]:
    """The volumes and which of them have label maps; or how many there are. train: none are given out for training."""
    found = room.candidates()
    if output == "train":
        return []
    if output != "all":
        return _stats(found)
    cases: dict[str, list[Candidate]] = {}
    for candidate in found:
        cases.setdefault(candidate.pair.case, []).append(candidate)
    objects = {room.id_of(case): _object(room, case, organs) for case, organs in cases.items()}
    return {"name": room.desk.cohort.name, "description": "smiler review", "objects": objects}


def _object(room: Room, case: str, organs: Sequence[Candidate]) -> dict[str, Any]:
    heads = [candidate.head for candidate in organs if candidate.head is not None and candidate.head.drawn]
    reviewed = any(head.source in MADE_HERE for head in heads)
    tags = ["original"] * bool(heads) + ["final"] * reviewed
    label = {"ext": ENDING, "info": {"name": _file(room, case), "params": {"label_names": _numbers(room)}}}
    return {
        "image": {"ext": ENDING, "info": {"name": _file(room, case), "title": case}},
        "labels": dict.fromkeys(tags, label),
    }


def _numbers(room: Room) -> dict[str, int]:
    return {organ: number for number, organ in enumerate(room.desk.cohort.organs.keys, 1)}


def _file(room: Room, case: str) -> str:
    return room.id_of(case) + ENDING


@router.post("/activelearning/{strategy}")
def next_sample(room: InRoom, who: SignedIn, strategy: Annotated[str, Path(max_length=200)]) -> dict[str, Any]:
    """The next volume of the queue that this reviewer was not given yet, from the beginning when none is left."""
    _known("strategy", strategy, STRATEGY)
    cases = list(dict.fromkeys(place.candidate.pair.case for place in room.places(room.candidates())))
    if not cases:
        return {}
    given = room.handed.cases.setdefault(who.reviewer, [])
    if not set(cases) - set(given):
        given.clear()
    case = next(case for case in cases if case not in given)
    given.append(case)
    cohort = room.desk.cohort
    packed = room.desk.scans.own_image(cohort, cohort.case(case))
    return {
        "id": room.id_of(case),
        "name": _file(room, case),
        "PatientID": case,
        "checksum": f"SHA256:{packed.sha256}",
    }


def _known(kind: str, got: str, only: str) -> None:
    if got != only:
        raise Refused(404, f"no such {kind}", where=kind, got=ascii(got[:40]), do=f"choose {only}")


@router.api_route("/datastore/image", methods=["GET", "HEAD"])
def image(room: InRoom, image: Image) -> Response:
    """The CT, int16 HU."""
    cohort, case = room.desk.cohort, room.case_of(image)
    return _attached(room.desk.scans.own_image(cohort, cohort.case(case)).content, _file(room, case))


@router.get("/datastore/label")
def label(room: InRoom, who: SignedIn, label: Image, tag: Tag = "final") -> Response:  # noqa: ARG001
    """What is drawn of a volume now, whatever the tag."""
    case = room.case_of(label)
    return _attached(_drawn(room, who.reviewer, case), _file(room, case))


@router.post("/infer/{model}")
def infer(
    room: InRoom,
    who: SignedIn,
    model: Annotated[str, Path(max_length=200)],
    image: Image,
    output: Annotated[str, Query(pattern="^(image|json|all)?$")] = "all",
) -> Response:
    """What is drawn of a volume now: nothing is computed."""
    _known("model", model, MODEL)
    case = room.case_of(image)
    params = json.dumps({"label_names": _numbers(room)}).encode()
    if output == "json":
        return Response(params, media_type="application/json")
    file = _drawn(room, who.reviewer, case)
    if output == "image":
        return _attached(file, _file(room, case))
    body, kind = form(params, file, _file(room, case))
    return Response(body, media_type=kind)


def _drawn(room: Room, reviewer: str, case: str) -> bytes:
    """The label map of the heads; which ones they were is remembered."""
    desk = room.desk
    numbers = head_numbers(desk, case)
    found = drawn_map(desk.cohort.organs, masks_of(desk, case, numbers), ct_shape(desk, case))
    room.handed.numbers[reviewer, case] = numbers
    return labels_bytes(canonical(found), desk.grid(case))


def _attached(content: bytes, name: str) -> Response:
    return Response(content, media_type=_GZIP, headers={"content-disposition": f'attachment; filename="{name}"'})


@dataclass(frozen=True)
class Upload:
    """A label map as it came. names: the organs of its values 1, 2, ..., None where it does not say."""

    file: bytes
    names: tuple[str, ...] | None


async def upload_of(request: Request) -> Upload:
    """The form of the request."""
    return await run_in_threadpool(_upload, request.headers.get("content-type", ""), await request.body())


def _upload(kind: str, body: bytes) -> Upload:
    told = fields(kind, body)
    if "label" not in told:
        raise Refused(422, "the form has no label map", where="label", do="send it as the part 'label'")
    return Upload(told["label"], _names(told.get("params", b"")))


def _names(params: bytes) -> tuple[str, ...] | None:
    """Slicer numbers its segments in their own order and says which in `label_info`."""
    try:
        if len(params) > MOST_JSON_BYTES:
            raise ValueError("too long")
        told = (json.loads(params or b"{}") or {}).get("label_info")
        return None if told is None else tuple(str(segment["name"]) for segment in told)
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        do = 'send {"label_info": [{"name": ORGAN}, ...]}, or none'
        raise Refused(
            422, "not the parameters of a label map", where="params", got=ascii(params[:80]), do=do
        ) from error


@router.put("/datastore/label")
def save_label(
    room: InRoom, who: SignedIn, image: Image, upload: Annotated[Upload, Depends(upload_of)], tag: Tag = "final"
) -> dict[str, Any]:
    """Each organ whose voxels changed gets a corrected revision."""
    if tag not in ("", "final"):
        raise Refused(422, "only final label maps are stored", where="tag", got=ascii(tag), do="send tag=final")
    case, desk = room.case_of(image), room.desk
    names = desk.cohort.organs.keys if upload.names is None else upload.names
    found = read_map(desk, case, upload.file, names)
    numbers = room.handed.numbers.get((who.reviewer, case), {})
    if set(numbers) != set(desk.cohort.organs.keys):
        numbers = head_numbers(desk, case)
    made = differences(desk.cohort.organs, masks_of(desk, case, numbers), found, names)
    saving = Saving(desk, who.reviewer, case, numbers)
    saving.save(made.changed)
    if saving.refused or saving.stale:
        raise _not_all(saving)
    notes = [f"{organ} has no voxel any more: its mask stays; mark it absent on the page" for organ in made.emptied]
    return {"image": image, "label": image, "saved": saving.saved, "emptied": list(made.emptied), "notes": notes}


def _not_all(saving: Saving) -> Refused:
    parts = [f"{organ}: {why}" for organ, why in saving.refused.items()]
    parts += [f"{organ}: somebody else decided first; kept in its history" for organ in saving.stale]
    saved = f"saved: {', '.join(saving.saved) or 'nothing'}"
    do = "run the model again to load what is there now" if saving.stale else "mend these organs and save again"
    what = "not every organ could be saved"
    return Refused(409, what, where=f"case {saving.case}", got="; ".join([saved, *parts]), do=do)


@router.api_route("/train/", methods=["GET", "POST", "DELETE"])
@router.api_route("/train/{model}", methods=["POST"])
def train() -> None:
    """None runs: the client takes 404 for that."""
    do = "train with smiler train on this cohort"
    raise Refused(404, "no training runs: a review does not train", where="train", do=do)
