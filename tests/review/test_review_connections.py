"""Clients that take up room: half a request, one that never ends, an answer that nobody fetches, very many at once."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from reviewing import Reviewer, Served, serving

from smiler.review.server.connections import Patience

PATIENCE = Patience(head=0.6, pause=0.6, body=1.5, most=8)
DEADLINE = 10.0


@pytest.fixture
def served(folder: Path) -> Iterator[Served]:
    with serving(folder, patience=PATIENCE) as running:
        yield running


def connected(served: Served, content: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", served.port), timeout=DEADLINE)
    client.sendall(content)
    return client


def ended(client: socket.socket) -> float:
    """Seconds until the server hangs up; what it answers before is read."""
    start = time.monotonic()
    try:
        while client.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    client.close()
    return time.monotonic() - start


def refused(client: socket.socket, piece: bytes, pause: float = 0.05) -> float:
    """Seconds until the server takes no more of what is sent again and again."""
    start = time.monotonic()
    with client:
        try:
            while time.monotonic() - start < DEADLINE:
                client.sendall(piece)
                time.sleep(pause)
        except ConnectionError:
            pass
    return time.monotonic() - start


@pytest.mark.parametrize("content", [b"", b"GET /api/session HT", b"GET /api/session HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
def test_half_a_request_is_hung_up_on(served: Served, content: bytes) -> None:
    assert PATIENCE.head / 2 < ended(connected(served, content)) < DEADLINE / 2


def test_headers_that_come_drop_by_drop_are_hung_up_on(served: Served) -> None:
    assert refused(connected(served, b"GET / HTTP/1.1\r\n"), b"X-Drop: 1\r\n") < DEADLINE / 2


def put(served: Served, anna: Reviewer, length: int) -> bytes:
    """The head of a mask's upload."""
    cookie = "; ".join(f"{name}={value}" for name, value in anna.http.cookies.items())
    path = f"/api/cases/{anna.ids['b']}/masks/liver"
    lines = [
        f"PUT {path} HTTP/1.1", f"Host: 127.0.0.1:{served.port}", f"Origin: {anna.base}", f"Cookie: {cookie}",
        f"X-XSRF-Token: {anna.session['xsrf']}", 'If-Match: "1"', "Idempotency-Key: half-a-body",
        f"Content-Length: {length}", "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


def test_half_a_body_is_hung_up_on_and_nothing_comes_of_it(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    anna = served.reviewer("anna")
    assert PATIENCE.pause / 2 < ended(connected(served, put(served, anna, 1000) + b"half")) < DEADLINE / 2
    whole = refused(connected(served, put(served, anna, 10_000)), b"x")  # never a pause, but the whole takes too long
    assert PATIENCE.body < whole < DEADLINE / 2
    assert anna.head("b", "liver")["revision"] == 1
    assert "Traceback" not in capfd.readouterr().err


def test_an_answer_that_nobody_fetches_is_given_up(served: Served) -> None:
    anna = served.reviewer("anna")
    cookie = "; ".join(f"{name}={value}" for name, value in anna.http.cookies.items())
    client = connected(served)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    ask = f"GET /api/openapi.json HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nCookie: {cookie}\r\n\r\n".encode()
    assert refused(client, ask, 0) < DEADLINE / 2


def test_very_many_connections_keep_no_reviewer_out(served: Served) -> None:
    idle = [connected(served, b"GET /") for _ in range(5 * PATIENCE.most)]
    assert served.reviewer("anna").decide("b", "liver", "accept").status_code == 200
    assert all(ended(client) < DEADLINE / 2 for client in idle)
