"""Run the server: bind first, so that the address that is told is the one that answers."""

import socket
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import uvicorn

from smiler.domain.errors import BadInput
from smiler.review.desk import Desk
from smiler.review.order import coming
from smiler.review.repeats import SHARE
from smiler.review.server.app import make_app
from smiler.review.server.guard import LABEL, Access
from smiler.review.server.page import BUILT
from smiler.review.server.room import Room

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class ServeOptions:
    """Where to listen, and for whom. port 0: any free one. page: another page's folder. monailabel: 3D Slicer, too.

    repeats: the share of decided proposals that come a second time, see `repeats`.
    """

    host: str = "127.0.0.1"
    port: int = 0
    reviewers: tuple[str, ...] = ("reviewer",)
    page: Path | None = None
    seed: int = 0
    monailabel: bool = False
    repeats: float = SHARE


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
        first = coming(self.room.places(self.room.candidates()))
        Thread(target=self.room.expect, args=(first,), daemon=True).start()
        with self.listener:
            self.server.run(sockets=[self.listener])


def bind(desk: Desk, options: ServeOptions) -> Bound:
    """Listen, with a fresh token for each reviewer."""
    listener = _listening(options.host, options.port)
    port = listener.getsockname()[1]
    access = Access.fresh(options.reviewers, _names(options.host, port))
    shown = f"[{options.host}]" if ":" in options.host else options.host
    base = f"http://{shown}:{port}"
    urls = {name: f"{base}/?token={token}" for name, token in access.tokens.items()}
    slicer = {name: f"{base}{LABEL}{token}/" for name, token in access.tokens.items() if options.monailabel}
    room, page = Room(desk, options.seed, options.repeats), options.page or BUILT
    app = make_app(room, access, page, with_monailabel=options.monailabel)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, timeout_keep_alive=30)
    return Bound(uvicorn.Server(config), room, listener, urls, slicer)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        do = "choose another --port or --host"
        raise BadInput("can't listen here", where=f"{host}:{port}", got=str(error), do=do) from error


def _names(host: str, port: int) -> set[str]:
    """How a browser may call the server."""
    if host in LOOPBACK:
        names = {"127.0.0.1", "localhost", "[::1]"}
    elif host in ("0.0.0.0", "::"):
        names = {"127.0.0.1", "localhost", "[::1]", socket.gethostname(), socket.getfqdn(), *_own_addresses()}
    else:
        names = {f"[{host}]" if ":" in host else host, socket.gethostname(), socket.getfqdn()}
    return {f"{name}:{port}" for name in names}


def _own_addresses() -> set[str]:
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:
        return set()
    return {f"[{address}]" if ":" in address else address for address in found}
