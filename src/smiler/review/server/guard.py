"""Who may speak to the server: its own addresses, signed-in reviewers, and writes only from the page itself."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

XSRF = "x-xsrf-token"
LABEL = "/label/"
"""3D Slicer's paths: the reviewer's token follows. Its client sends no cookies."""
_BROWSERS_OWN = ("origin", "sec-fetch-site")
SIGNED_IN_SECONDS, MOST_DIGITS = 7 * 86400, 16
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}
_SAFE = {"GET", "HEAD"}
_ONWARD = '<!doctype html><title>smiler review</title><meta http-equiv="refresh" content="0;url=/">'
"""From a page elsewhere, such as the file that the command opens, on to the review by a step of our own."""


Secret = bytes | Callable[[], bytes]


@dataclass(frozen=True)
class Session:
    """A signed-in reviewer, in however many browsers."""

    reviewer: str
    xsrf: str


@dataclass(frozen=True)
class Access:
    """Tokens by reviewer, and the addresses under which the server may be called ('127.0.0.1:8765').

    secret: signs who is signed in, so that an open page outlives the server's restart; a key, or what reads it.
    cookie: its name. Browsers do not tell ports apart: two reviews on one machine must not share it.
    https: those of the hosts that a proxy serves so.
    """

    tokens: dict[str, str]
    hosts: frozenset[str]
    secret: Secret
    cookie: str
    https: frozenset[str] = frozenset()
    clock: Callable[[], float] = time.time

    @classmethod
    def fresh(cls, reviewers: Iterable[str], hosts: Iterable[str], secret: Secret, port: int) -> "Access":
        """A new 128-bit token for each reviewer."""
        tokens = {reviewer: secrets.token_urlsafe(16) for reviewer in reviewers}
        return cls(tokens, frozenset(host.lower() for host in hosts), secret, f"smiler_review_{port}")

    def reviewer(self, token: str) -> str | None:
        """Whose token it is."""
        given = token.encode("utf-8", "replace")
        found = [name for name, own in self.tokens.items() if hmac.compare_digest(own.encode(), given)]
        return found[0] if found else None

    def sign_in(self, token: str) -> str | None:
        """The cookie's value for a token, or None: until when it counts, and the signature of that and of who it is."""
        reviewer = self.reviewer(token)
        if reviewer is None:
            return None
        until = str(int(self.clock()) + SIGNED_IN_SECONDS)
        return f"{until}.{self._signed('cookie', reviewer, until)}"

    def session(self, headers: Headers) -> Session | None:
        """Whose cookie it is; only reviewers of now count."""
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return None
        until, _, signature = morsel.value.partition(".") if morsel else ("", "", "")
        if not (until.isascii() and until.isdecimal() and len(until) < MOST_DIGITS and int(until) > self.clock()):
            return None
        given = signature.encode("utf-8", "replace")
        found = [
            name for name in self.tokens if hmac.compare_digest(self._signed("cookie", name, until).encode(), given)
        ]
        return Session(found[0], self._signed("xsrf", found[0])) if found else None

    def _signed(self, *what: str) -> str:
        key = self.secret if isinstance(self.secret, bytes) else self.secret()
        return hmac.new(key, "\0".join(what).encode(), hashlib.sha256).hexdigest()


class Guard:
    """ASGI: refuses what the rules above do not allow, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, access: Access, monailabel: bool = False) -> None:
        self.app, self.access, self.monailabel = app, access, monailabel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with `scope["session"]`, or answer it here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        answer = self._refused(scope)
        await (answer or self.app)(scope, receive, send_safely)

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if host not in self.access.hosts:
            return refusal(403, "the server is not known under this name", "Host", ascii(host[:100]))
        if self.monailabel and scope["path"].startswith(LABEL):
            return self._without_cookie(scope, headers)
        if scope["path"] == "/" and scope["method"] == "GET" and b"token=" in scope["query_string"]:
            return self._sign_in(scope["query_string"], host, headers)
        session = self.access.session(headers)
        if session is None:
            return _nobody(scope["path"])
        scope["session"] = session
        if scope["method"] in _SAFE:
            return None
        return _foreign(headers, host) or _without_xsrf(headers, session)

    def _without_cookie(self, scope: Scope, headers: Headers) -> Response | None:
        """3D Slicer: the token is in the path, and no browser may come this way."""
        for name in _BROWSERS_OWN:
            if name in headers:
                what = "a browser may not come this way: it is 3D Slicer's"
                return refusal(403, what, name, ascii(headers[name][:100]), "open the page's own address")
        reviewer = self.access.reviewer(scope["path"].removeprefix(LABEL).split("/")[0])
        if reviewer is None:
            return refusal(401, "nobody is signed in", "path", do="enter the address that smiler review printed")
        scope["session"] = Session(reviewer, "")
        return None

    def _sign_in(self, query: bytes, host: str, headers: Headers) -> Response:
        token = parse_qs(query.decode("latin-1")).get("token", [""])[0]
        cookie = self.access.sign_in(token)
        if cookie is None:
            return _nobody("/")
        answer: Response = RedirectResponse("/", status_code=303)
        if headers.get("sec-fetch-site") == "cross-site":  # a redirect would be the other page's: without our cookie
            answer = HTMLResponse(_ONWARD)
        secure = host in self.access.https
        answer.set_cookie(self.access.cookie, cookie, httponly=True, samesite="strict", path="/", secure=secure)
        return answer


def refusal(status: int, what: str, where: str, got: str = "", do: str = "") -> JSONResponse:
    """The one shape of every error."""
    return JSONResponse({"error": {"what": what, "where": where, "got": got, "do": do}}, status_code=status)


def _nobody(path: str) -> Response:
    what, do = "nobody is signed in", "open the address that smiler review printed"
    if path.startswith("/api/"):
        return refusal(401, what, "cookie", do=do)
    return HTMLResponse(f"<!doctype html><title>smiler review</title><p>{what}: {do}.</p>", status_code=401)


def _foreign(headers: Headers, host: str) -> Response | None:
    """A write must come from the page: by its Origin, or by the browser's word where there is none."""
    origin = headers.get("origin")
    if origin is None:
        same = headers.get("sec-fetch-site") == "same-origin"
        return None if same else refusal(403, "a write says where it comes from", "Origin")
    if origin.lower() in (f"http://{host}", f"https://{host}"):
        return None
    return refusal(403, "the request comes from another page", "Origin", ascii(origin[:100]))


def _without_xsrf(headers: Headers, session: Session) -> Response | None:
    if hmac.compare_digest(headers.get(XSRF, "").encode(), session.xsrf.encode()):
        return None
    return refusal(403, "the token of the page is missing or wrong", "X-XSRF-Token", do="load the page again")
