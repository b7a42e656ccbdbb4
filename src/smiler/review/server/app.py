"""The application: routes, guards and the one shape of every error."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from smiler.domain.errors import BadInput
from smiler.domain.provenance import tool_version
from smiler.review.errors import Damaged, Refused
from smiler.review.server import edits, monailabel, reads, shapes, writes
from smiler.review.server.guard import Access, Guard, refusal
from smiler.review.server.limits import Limits
from smiler.review.server.page import BUILT, Page
from smiler.review.server.room import Room

FAULTS: dict[int | str, dict[str, Any]] = {
    status: {"model": shapes.Error} for status in (401, 403, 404, 409, 413, 422, 428, 507)
}


def make_app(room: Room, access: Access, page: Path = BUILT, *, with_monailabel: bool = False) -> FastAPI:
    """The server of one cohort's review. with_monailabel: 3D Slicer may connect, too."""
    app = FastAPI(
        title="smiler review", version=tool_version(), openapi_url="/api/openapi.json", docs_url=None, redoc_url=None,
        responses=FAULTS,
    )  # fmt: skip
    app.state.room = room
    app.include_router(reads.router)
    app.include_router(writes.router)
    app.include_router(edits.router)
    if with_monailabel:
        app.include_router(monailabel.router)
    files = Page(page)

    @app.get("/{path:path}", include_in_schema=False)
    def page_file(path: str) -> Response:
        """The page and what belongs to it."""
        return files.answer(path)

    app.add_exception_handler(BadInput, _bad_input)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(Limits)
    app.add_middleware(Guard, access=access, monailabel=with_monailabel)
    return app


async def _bad_input(request: Request, error: Any) -> Response:
    """409, unless it says better; 507 where the disk refuses."""
    status = error.status if isinstance(error, Refused) else 507 if error.what == "cannot write the file" else 409
    if isinstance(error, Damaged):
        status = 410
    return refusal(status, error.what, _without_paths(request, error.where), error.got, error.do)


def _without_paths(request: Request, where: str) -> str:
    """Where, without the folders above the cohort."""
    room: Room = request.app.state.room
    return where.replace(f"{room.desk.cohort.folder}/", "")


async def _malformed(request: Request, error: Any) -> Response:  # noqa: ARG001
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return refusal(422, first["msg"], where, ascii(first.get("input", ""))[:200])


async def _http(request: Request, error: Any) -> Response:
    return refusal(error.status_code, str(error.detail), request.scope["path"][:200])
