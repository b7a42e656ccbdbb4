"""How volumes travel to the browser: whole as NIfTI, or a mask's box alone."""

from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response
from isal import igzip
from numpy.typing import NDArray

FASTEST, QUICK = 0, 1
"""isal's levels for what only crosses to the browser, and for masks."""
NIFTI: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"application/octet-stream": {}},
        "description": "NIfTI-1 on the RAS+ grid; gzip-encoded to another machine.",
    }
}
GZIPPED: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"application/octet-stream": {}},
        "description": "gzip of a box's uint8 voxels, RAS+, Fortran order; X-Box says where it lies.",
    }
}


def whole(request: Request, content: bytes, cache: str, etag: str = "") -> Response:
    """A NIfTI file."""
    headers = {"cache-control": cache, **({"etag": f'"{etag}"'} if etag else {})}
    if etag and request.headers.get("if-none-match") == f'"{etag}"':
        return Response(status_code=304, headers=headers)
    if not _is_here(request):
        content, headers["content-encoding"] = igzip.compress(content, FASTEST), "gzip"
    return Response(content, media_type="application/octet-stream", headers=headers)


def _is_here(request: Request) -> bool:
    """Does the browser run on this machine? Then packing and unpacking take longer than the way."""
    name = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    try:
        here = name == "localhost" or ip_address(name).is_loopback  # else it comes through a proxy
        return here and request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def boxed(content: bytes | NDArray[Any], box: object, **more: object) -> Response:
    """A box's voxels, gzipped or to be gzipped; each of `more` is a header X-..."""
    packed = content if isinstance(content, bytes) else igzip.compress(content.tobytes(order="F"), QUICK)
    headers = {f"x-{name.replace('_', '-')}": str(value) for name, value in more.items()}
    headers |= {"x-box": str(box), "cache-control": "no-store"}
    return Response(packed, media_type="application/octet-stream", headers=headers)
