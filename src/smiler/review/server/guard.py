"""Who may speak to the server: its own addresses, signed-in reviewers, and writes only from the page itself."""

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "smiler_review"
XSRF = "x-xsrf-token"
MOST_SESSIONS = 1000
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


@dataclass(frozen=True)
class Session:
    """One signed-in browser."""

    reviewer: str
    xsrf: str


@dataclass
class Access:
    """Tokens by reviewer, and the addresses under which the server may be called ('127.0.0.1:8765')."""

    tokens: dict[str, str]
    hosts: frozenset[str]
    sessions: OrderedDict[str, Session] = field(default_factory=OrderedDict)

    @classmethod
    def fresh(cls, reviewers: Iterable[str], hosts: Iterable[str]) -> "Access":
        """A new 128-bit token for each reviewer."""
        tokens = {reviewer: secrets.token_urlsafe(16) for reviewer in reviewers}
        return cls(tokens, frozenset(host.lower() for host in hosts))

    def sign_in(self, token: str) -> str | None:
        """A new session's cookie for a token, or None."""
        given = token.encode()
        found = [name for name, own in self.tokens.items() if hmac.compare_digest(own.encode(), given)]
        if not found:
            return None
        cookie = secrets.token_urlsafe(16)
        self.sessions[cookie] = Session(found[0], secrets.token_urlsafe(16))
        while len(self.sessions) > MOST_SESSIONS:
            self.sessions.popitem(last=False)
        return cookie

    def session(self, headers: Headers) -> Session | None:
        """Whose cookie it is."""
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return None
        return self.sessions.get(morsel.value) if morsel else None


class Guard:
    """ASGI: refuses what the rules above do not allow, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

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
        if scope["path"] == "/" and scope["method"] == "GET" and b"token=" in scope["query_string"]:
            return self._sign_in(scope["query_string"])
        session = self.access.session(headers)
        if session is None:
            return _nobody(scope["path"])
        scope["session"] = session
        if scope["method"] in _SAFE:
            return None
        return _foreign(headers, host) or _without_xsrf(headers, session)

    def _sign_in(self, query: bytes) -> Response:
        token = parse_qs(query.decode("latin-1")).get("token", [""])[0]
        cookie = self.access.sign_in(token)
        if cookie is None:
            return _nobody("/")
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", path="/")
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
