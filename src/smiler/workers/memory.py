"""How much memory this process may take: what the machine has available, within the limits of its control groups."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

UNKNOWN_BYTES = 4 << 30
"""Taken to be available where the system does not tell."""
_LIMITS = ("memory.max", "memory.limit_in_bytes")
"""Files of a control group, versions 2 and 1. What is used of it is no help: it counts every file that was read."""


def available_bytes() -> int:
    """The least of all that is told; never fails."""
    return min([*_of_machine(), *_of_groups()], default=UNKNOWN_BYTES)


def _of_machine() -> Iterator[int]:
    with suppress(OSError, ValueError, AttributeError):  # no sysconf on Windows
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError):
        yield from (int(kb) << 10 for kb in re.findall(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text()))


def _of_groups() -> Iterator[int]:
    """Of every group that this process is in, and of those above: each may have a limit."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            own = Path("/sys/fs/cgroup", kinds, path.lstrip("/"))
            for group in (own, *own.parents):
                yield from _limits(group)


def _limits(group: Path) -> Iterator[int]:
    for name in _LIMITS:
        with suppress(OSError, ValueError):  # no such file, or "max": no limit
            yield int((group / name).read_text())
