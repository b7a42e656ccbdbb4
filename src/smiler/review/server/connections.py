"""Connections that only take up room: half a request, a request that never ends, an answer that nobody fetches."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol


@dataclass(frozen=True)
class Patience:
    """Seconds that a client may take, and how many may be connected at a time.

    head: from the beginning of a request, or the answer before it, to the end of its headers. pause: between two
    pieces of a body, or of an answer that is fetched. body: for the whole body.
    """

    head: float = 30.0
    pause: float = 30.0
    body: float = 600.0
    most: int = 512


def patient(patience: Patience) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which closes connections that wait too long for their client."""

    class Watched(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """One connection."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.watch = Watch(self, patience)
            if len(self.connections) > patience.most:
                watches = [one.watch for one in self.connections]
                max(watches, key=lambda watch: watch.waited).close()

        def data_received(self, data: bytes) -> None:
            self.watch.heard()
            super().data_received(data)

        def connection_lost(self, exc: Exception | None) -> None:
            self.watch.end()
            super().connection_lost(exc)

    return Watched


class Watch:
    """What a connection waits for, and since when."""

    def __init__(self, protocol: Any, patience: Patience) -> None:
        self.protocol, self.patience = protocol, patience
        self._cycle: Any = None
        self._unsent = 0
        self._begin = self._last = time.monotonic()
        self._timer = self._next()

    def heard(self) -> None:
        """Something came from the client."""
        self._last = time.monotonic()

    @property
    def waited(self) -> float:
        """Seconds since the client should have sent the rest of its headers; -1 while it has sent them."""
        self._look()
        return -1.0 if self._is_asked() else time.monotonic() - self._begin

    def end(self) -> None:
        """The connection is gone."""
        self._timer.cancel()

    def close(self) -> None:
        """At once, whatever is under way."""
        self.protocol.transport.abort()

    def _next(self) -> asyncio.TimerHandle:
        shortest = min(self.patience.head, self.patience.pause, self.patience.body)
        return asyncio.get_running_loop().call_later(shortest / 4, self._check)

    def _check(self) -> None:
        self._look()
        if self._is_late():
            self.close()
        else:
            self._timer = self._next()

    def _is_asked(self) -> bool:
        cycle = self.protocol.cycle
        return cycle is not None and not cycle.response_complete

    def _look(self) -> None:
        """Start to count anew where another request or answer is under way than before."""
        cycle, unsent = self.protocol.cycle, self.protocol.transport.get_write_buffer_size()
        now = cycle if self._is_asked() else None
        if now is not self._cycle:
            self._cycle, self._begin, self._last = now, time.monotonic(), time.monotonic()
        if unsent != self._unsent:
            self._unsent, self._last = unsent, time.monotonic()

    def _is_late(self) -> bool:
        begin, last = time.monotonic() - self._begin, time.monotonic() - self._last
        if self._unsent:
            return last > self.patience.pause
        if self._cycle is None:
            return begin > self.patience.head
        return bool(self._cycle.more_body) and (last > self.patience.pause or begin > self.patience.body)
