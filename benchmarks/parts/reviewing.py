"""`smiler review` as a process that is killed and started again, and reviewers who ask until they are answered."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from smiler.review.masks import Box

SMILER = [sys.executable, "-m", "smiler", "review"]


class Server:
    """The server of one cohort; `urls` wait while it is down."""

    def __init__(self, cohort: Path, users: Path) -> None:
        self.command = [*SMILER, str(cohort), "--no-browser", "--json", "--users", str(users)]
        self.start_seconds: list[float] = []
        self._up = threading.Event()
        self._start()

    def _start(self) -> None:
        begin, text = time.monotonic(), ""
        self._process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        while not text.endswith("\n}\n"):
            line = self._process.stdout.readline()
            if not line:
                raise SystemExit("the server ended before it told its addresses")
            text += line
        self._urls: dict[str, str] = json.loads(text)["urls"]
        self.start_seconds.append(round(time.monotonic() - begin, 2))
        self._up.set()

    def url(self, reviewer: str) -> str:
        """A reviewer's address, as soon as there is one."""
        self._up.wait()
        return self._urls[reviewer]

    def kill(self) -> None:
        """kill -9, then start again."""
        self._up.clear()
        self.stop(signal.SIGKILL)
        self._start()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        self._process.send_signal(how)
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()


@contextmanager
def serving(cohort: Path, *reviewers: str) -> Iterator[Server]:
    """A server for reviewers of these names."""
    users = cohort.with_name(f"{cohort.name}.txt")
    users.write_text("\n".join(reviewers) + "\n")
    server = Server(cohort, users)
    try:
        yield server
    finally:
        server.stop()


@dataclass(frozen=True)
class Request:
    """A decision by name, or a mask's voxels (0, 1) in a box, on the revision `base`."""

    case: str
    organ: str
    base: int
    kind: str
    box: Box | None = None
    body: bytes = b""
    key: str = field(default_factory=lambda: uuid.uuid4().hex)


def corrected(case: str, organ: str, base: int, box: Box, voxels: NDArray[np.uint8]) -> Request:
    """A mask as the page sends it."""
    return Request(case, organ, base, "corrected", box, gzip.compress(voxels.tobytes(order="F"), 1))


class Reviewer:
    """One browser. What it asks while the server is down is asked again under its key."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name
        self.asked_again = 0
        self._sign_in()

    def _sign_in(self) -> None:
        while True:
            url = self.server.url(self.name)
            base = url.split("/?")[0]
            self.http = httpx.Client(base_url=base, headers={"origin": base}, timeout=120)
            try:
                self.http.get(url)
                self.http.headers["x-xsrf-token"] = self.http.get("/api/session").json()["xsrf"]
            except httpx.TransportError:
                self.http.close()
                time.sleep(0.05)
            else:
                return

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """JSON, however often it takes to get it."""
        while True:
            try:
                found: dict[str, Any] = self.http.get(f"/api/{path}", params=params).raise_for_status().json()
            except httpx.TransportError:
                self._again()
            else:
                return found

    def raw(self, path: str) -> int:
        """Bytes of an answer as they come, not unpacked."""
        with self.http.stream("GET", f"/api/{path}") as answer:
            answer.raise_for_status()
            return sum(map(len, answer.iter_raw()))

    def send(self, request: Request) -> tuple[httpx.Response, float]:
        """The answer, and seconds; NaN if the request was asked again."""
        again = self.asked_again
        while True:
            begin = time.perf_counter()
            try:
                answer = self.write(request)
            except httpx.TransportError:
                self._again()
            else:
                return answer, time.perf_counter() - begin if again == self.asked_again else float("nan")

    def write(self, request: Request, kind: str = "masks") -> httpx.Response:
        """Once. kind: masks, or drafts."""
        headers = {"if-match": f'"{request.base}"', "idempotency-key": request.key}
        if request.box is None:
            url = f"/api/cases/{request.case}/decisions/{request.organ}"
            return self.http.post(url, json={"decision": request.kind, "active_seconds": 10}, headers=headers)
        url = f"/api/cases/{request.case}/{kind}/{request.organ}"
        return self.http.put(url, content=request.body, params={"box": str(request.box)}, headers=headers)

    def _again(self) -> None:
        self.asked_again += 1
        self.close()
        self._sign_in()

    def close(self) -> None:
        """Hang up."""
        self.http.close()


def verified(cohort: Path) -> dict[str, Any]:
    """What `smiler review COHORT --verify` says."""
    command = [*SMILER, str(cohort), "--verify", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if not done.stdout:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)["verify"]
    return found
