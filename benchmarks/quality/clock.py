"""The budget: CPU seconds of a process and all that it started, so that waiting for a busy machine doesn't count."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """Of this process, of its ended children and of those that still run."""
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system + _below(os.getpid())


def _below(process: int) -> float:
    """Of the children that still run, with what their own ended children took."""
    return sum(_of(child) + _below(child) for child in _children(process))


def _children(process: int) -> set[int]:
    """Ids of direct children, by any of the process's threads; those of a process that ended meanwhile are none."""
    children: set[int] = set()
    for told in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children.update(map(int, told.read_text().split()))
        except OSError:
            continue
    return children


def _of(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS


class Budget:
    """Minutes of CPU time from a job's beginning, and what each part of the job took of them.

    `read` gives CPU seconds; the beginning is what it gives now.
    """

    def __init__(self, minutes: float, read: Callable[[], float] = cpu_seconds) -> None:
        if minutes <= 0:
            raise ValueError(f"a budget is above 0 minutes, not {minutes}")
        self.seconds = 60 * minutes
        self._read = read
        self._begin = self._last = self._now()
        self.parts: dict[str, float] = {}

    def _now(self) -> float:
        return self._read()

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return self._now() - self._begin

    @property
    def left(self) -> float:
        """Seconds to the end; below 0 after it."""
        return self.seconds - self.spent

    def share(self, since: float = 0.0) -> float:
        """Of what was left `since` seconds after the beginning, how much is spent: 0 to 1."""
        return min(1.0, max(0.0, (self.spent - since) / max(self.seconds - since, 1e-9)))

    def part(self, name: str) -> None:
        """What was spent since the last part belongs to this one."""
        now = self._now()
        self.parts[name] = self.parts.get(name, 0.0) + now - self._last
        self._last = now

    def pause(self, seconds: float) -> None:
        """So many of the last seconds don't count: they only measured."""
        self._begin += seconds
        self._last += seconds
