"""multipart/form-data, in and out, as far as MONAI Label's client speaks it. Names of files are not looked at."""

import re
import secrets

from smiler.review.errors import Refused

_KIND = re.compile(r'multipart/form-data\s*;.*?boundary="?([^";,\s]{1,70})"?', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="([^"\r\n]*)"', re.IGNORECASE)


def fields(kind: str, body: bytes) -> dict[str, bytes]:
    """The fields of a form by name; Refused if it is none, or not whole."""
    found = _KIND.match(kind)
    if not found:
        raise Refused(422, "the body is not a form", where="content-type", got=ascii(kind[:80]), do="send a form")
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + found[1].encode("latin-1"))
    if not parts or not parts[-1].startswith(b"--"):
        raise Refused(422, "the form is not whole", where="body", do="send it again")
    told = {}
    for part in parts[:-1]:
        head, gap, content = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if not gap or not name:
            raise Refused(422, "a part of the form has no name", where="body", got=ascii(head[:80]))
        told[name[1].decode("utf-8", "replace")] = content
    return told


def form(params: bytes, file: bytes, name: str) -> tuple[bytes, str]:
    """A form of `params` (JSON) and a file, and its kind. name: the file's, without marks that need quoting."""
    boundary = secrets.token_hex(16).encode()
    parts = (
        (b'name="params"', b"application/json", params),
        (b'name="file"; filename="%b"' % name.encode(), b"application/gzip", file),
    )
    body = b"".join(
        b"--%b\r\nContent-Disposition: form-data; %b\r\nContent-Type: %b\r\n\r\n%b\r\n" % (boundary, *part)
        for part in parts
    )
    return b"%b--%b--\r\n" % (body, boundary), f"multipart/form-data; boundary={boundary.decode()}"
