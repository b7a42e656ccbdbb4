"""What runs in a process of `Processes`: read the work, then one item after the other, and answer each."""

import os
import signal
import threading
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

from smiler.workers.answers import answer, portable
from smiler.workers.cores import limit_threads


def serve(pipe: "Connection[Any, Any]", threads: int) -> None:
    """Until there is nothing more to read. Ctrl-C is the parent's affair; what it decides arrives as SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    limit_threads(os.environ, threads)  # before the work is read, which loads torch
    with suppress(EOFError, ConnectionError):
        work = pipe.recv()
        while True:
            pipe.send(portable(answer(work, pipe.recv(), work.where)))


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Leave in good order, so that no half written file stays behind."""
    raise SystemExit(128 + signal.SIGTERM)


def _end_with_parent() -> None:
    """A parent that is killed can't end its processes: they must not work on without it."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
