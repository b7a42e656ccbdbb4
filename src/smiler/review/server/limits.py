"""Bodies of a request: never longer than what is useful, and never larger unpacked than the box they claim to fill."""

import zlib
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from smiler.review.errors import Refused
from smiler.review.masks import Box, Mask
from smiler.review.orientation import Shape

MOST_VOXEL_BYTES = 64 << 20
"""Gzipped; a mask of 512x512x1000 has less than a tenth."""
MOST_JSON_BYTES = 64 << 10
_VOXELS = ("masks", "drafts", "tools")
_LABEL = "/datastore/label"
_WBITS = 31
_GZIP = b"\x1f\x8b"
_DAMAGED: Any = (isal_zlib.error, zlib.error)
_PIECE = 1 << 20


class Limits:
    """ASGI: 413 as soon as a body is longer than its kind may be, whatever it says of its length."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what is received."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        voxels = set(_VOXELS) & set(scope["path"].split("/")) or scope["path"].endswith(_LABEL)
        most = MOST_VOXEL_BYTES if voxels else MOST_JSON_BYTES
        told = Headers(scope=scope).get("content-length", "0")
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most or (told.isdecimal() and int(told[:20]) > most):
                raise HTTPException(413, f"the body is longer than {most} bytes")
            return message

        await self.app(scope, counted, send)


def unpacked(body: bytes, box: Box, shape: Shape) -> Mask:
    """The mask that a gzipped body of uint8 voxels, 0 or 1, draws in its box."""
    voxels = _inflate(body, box.voxels)
    if voxels.max(initial=0) > 1:
        raise Refused(422, "voxels are 0 or 1", where="body", got=str(int(voxels.max())))
    return Mask.of(voxels.reshape(box.shape, order="F"), shape, box.start)


def _inflate(body: bytes, size: int) -> NDArray[np.uint8]:
    """Exactly `size` bytes; unpacking stops at the first one too many."""
    if body and not body.startswith(_GZIP):
        raise Refused(422, "the body is not gzip", where="body", do="send the voxels gzipped")
    unpack: Any = isal_zlib.decompressobj(_WBITS)
    out, total, read, rest = [], 0, 0, b""
    try:
        while not unpack.eof and total <= size:
            if not rest:
                rest, read = body[read : read + _PIECE], read + _PIECE
            piece = unpack.decompress(rest, min(_PIECE, size + 1 - total))
            if not piece and not rest:
                break
            out.append(piece)
            total, rest = total + len(piece), unpack.unconsumed_tail
    except _DAMAGED as error:
        raise Refused(422, "the body is not gzip", where="body", got=str(error)) from error
    whole = unpack.eof and not unpack.unused_data and read >= len(body)
    if total != size or not whole:
        got = f"{'more than ' * (total > size)}{min(total, size)} voxels, expected {size}"
        got = got if total != size else "a gzip stream that does not end where the box ends"
        raise Refused(422, "the voxels do not fill the box", where="body", got=got, do="send the whole box")
    return np.frombuffer(b"".join(out), dtype=np.uint8)
