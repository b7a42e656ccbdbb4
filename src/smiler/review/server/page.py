"""The page's own files: read once at the start and served from memory, so that no path of a client touches the disk."""

import mimetypes
from pathlib import Path

from starlette.responses import HTMLResponse, Response

from smiler.review.server.guard import refusal

BUILT = Path(__file__).parents[1] / "page"
INDEX = "index.html"
NOT_BUILT = (
    "This smiler has no review page. In a clone, with node and npm: make page (and pip install . again, unless smiler "
    "runs from the clone); else install a wheel that has it."
)
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".wasm": "application/wasm"}


def is_built(folder: Path = BUILT) -> bool:
    """Whether there is a page at all."""
    return (folder / INDEX).is_file()


class Page:
    """Files by the path under which the browser asks for them."""

    def __init__(self, folder: Path = BUILT) -> None:
        found = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
        self.files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}

    def answer(self, path: str) -> Response:
        """The file, or 404; the index where no file is named."""
        content = self.files.get(path or INDEX)
        if content is None and not path:
            return HTMLResponse(f"<!doctype html><title>smiler review</title><p>{NOT_BUILT}</p>", status_code=503)
        if content is None:
            return refusal(404, "no such page", "path")
        kind = _TYPES.get(Path(path or INDEX).suffix) or mimetypes.guess_type(path or INDEX)[0]
        return Response(content, media_type=kind or "application/octet-stream", headers={"cache-control": "no-cache"})
