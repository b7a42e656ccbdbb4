"""Run the server: bind first, so that the address that is told is the one that answers."""

import socket
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import uvicorn

from smiler.domain.checks import check_number
from smiler.domain.errors import BadInput
from smiler.review.desk import Desk
from smiler.review.order import coming
from smiler.review.repeats import SHARE
from smiler.review.server.app import make_app
from smiler.review.server.connections import Patience, patient
from smiler.review.server.guard import LABEL, Access
from smiler.review.server.page import BUILT
from smiler.review.server.room import Room

LOOPBACK, EVERYWHERE = {"127.0.0.1", "localhost", "::1"}, {"0.0.0.0", "::"}
FIRST_PORT, PORTS, HTTP_PORT = 20_000, 10_000, 80


@dataclass(frozen=True)
class ServeOptions:
    """Where to listen, and for whom. page: another page's folder. monailabel: 3D Slicer, too.

    port 0: the cohort's usual one if it is free, so that pages which are open find the server again; else any.
    public_url: under which reviewers reach the server, if that is another one: a proxy's.
    patience: how long a client may take.
    repeats: the share of decided proposals that come a second time, see `repeats`.
    """

    host: str = "127.0.0.1"
    port: int = 0
    reviewers: tuple[str, ...] = ("reviewer",)
    page: Path | None = None
    seed: int = 0
    monailabel: bool = False
    repeats: float = SHARE
    public_url: str = ""
    patience: Patience = Patience()

    def __post_init__(self) -> None:
        check_number(self.port, "--port", 0, 65535, whole=True)
        check_number(self.repeats, "--repeats", 0, 1)


@dataclass(frozen=True)
class Bound:
    """A server whose socket listens already; urls: each reviewer's address with its token; slicer: 3D Slicer's."""

    server: uvicorn.Server
    room: Room
    listener: socket.socket
    urls: dict[str, str]
    slicer: dict[str, str]

    def run(self) -> None:
        """Serve until it is stopped. The CT that is likely to be asked for first is read while the browser starts."""
        Thread(target=self._expect, daemon=True).start()
        with self.listener:
            self.server.run(sockets=[self.listener])

    def _expect(self) -> None:
        with suppress(BadInput):  # the database may be closed by now
            self.room.expect(coming(self.room.places(self.room.candidates())))


def bind(desk: Desk, options: ServeOptions) -> Bound:
    """Listen, with a fresh token for each reviewer."""
    listener = _listening(options.host, options.port or _usual_port(desk.cohort.folder), options.port)
    port, public = listener.getsockname()[1], public_host(options.public_url)
    desk.keys.secret()
    if desk.keys.trouble:
        desk.sheet.told(desk.keys.trouble)
    names = {*_names(options.host, port), *([public] if public else [])}
    access = Access.fresh(options.reviewers, names, desk.keys.secret, port)
    if options.public_url.lower().startswith("https:"):
        access = replace(access, https=frozenset({public}))
    base = options.public_url.rstrip("/") or f"http://{_shown(options.host)}:{port}"
    urls = {name: f"{base}/?token={token}" for name, token in access.tokens.items()}
    slicer = {name: f"{base}{LABEL}{token}/" for name, token in access.tokens.items() if options.monailabel}
    room, page = Room(desk, options.seed, options.repeats), options.page or BUILT
    app = make_app(room, access, page, with_monailabel=options.monailabel)
    config = uvicorn.Config(
        app, http=patient(options.patience), log_level="warning", access_log=False, server_header=False,
        timeout_keep_alive=30,
    )  # fmt: skip
    return Bound(uvicorn.Server(config), room, listener, urls, slicer)


def public_host(url: str) -> str:
    """Name, and port if it is told, of an address like https://review.example.org; empty for none."""
    if not url:
        return ""
    parts = urlsplit(url)
    whole = parts.scheme in ("http", "https") and parts.netloc and not (parts.path.strip("/") or parts.query)
    if not whole or "@" in parts.netloc:
        do = "write it as https://review.example.org"
        raise BadInput("not an address under which a page can be reached", where="--public-url", got=url, do=do)
    return parts.netloc.lower()


def _usual_port(cohort: Path) -> int:
    return FIRST_PORT + zlib.crc32(str(cohort.resolve()).encode()) % PORTS


def _listening(host: str, *ports: int) -> socket.socket:
    """On the first of these ports that is free."""
    family, refused = socket.AF_INET6 if ":" in host else socket.AF_INET, OSError()
    for port in ports:
        try:
            return socket.create_server((host, port), family=family, backlog=128)
        except (OSError, OverflowError) as error:
            refused = OSError(str(error))
    do = "choose another --port or --host"
    raise BadInput("can't listen here", where=f"{host}:{ports[-1]}", got=str(refused), do=do) from refused


def _shown(host: str) -> str:
    """The host as it stands in an address. One that stands for all of this machine's own answers under none."""
    if host in EVERYWHERE:
        host = next(iter(sorted(_own_addresses())), socket.gethostname())
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _names(host: str, port: int) -> set[str]:
    """How a browser may call the server."""
    if host in LOOPBACK:
        names = {"127.0.0.1", "localhost", "[::1]"}
    elif host in EVERYWHERE:
        names = {"127.0.0.1", "localhost", "[::1]", socket.gethostname(), socket.getfqdn(), *_own_addresses()}
    else:
        names = {f"[{host}]" if ":" in host else host, socket.gethostname(), socket.getfqdn()}
    return {f"{name}:{port}" for name in names} | (names if port == HTTP_PORT else set())


def _own_addresses() -> set[str]:
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:
        return set()
    return {f"[{address}]" if ":" in address else address for address in found}
