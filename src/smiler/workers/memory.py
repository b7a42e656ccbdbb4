"""How much memory this process may take, within the limits that it was given; and one sentence where it runs out."""

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from smiler.domain.errors import BadInput, SmilerError

LEAST_BYTES = 1 << 30
"""With a smaller limit (ulimit -v) libraries neither load nor fail: OpenBLAS asks again for ever."""
UNKNOWN_BYTES = 4 << 30
"""Taken to be available where the system does not tell."""
_LIMITS = ("memory.max", "memory.limit_in_bytes")
"""Files of a control group, versions 2 and 1. What is used of it is no help: it counts every file that was read."""


def available_bytes() -> int:
    """The least of all that is told; never fails."""
    return min([*_of_machine(), *_of_groups(), *_of_process()], default=UNKNOWN_BYTES)


def peak_bytes() -> int:
    """The most memory that this process has had at once; 0 where the system does not tell."""
    with suppress(OSError):
        return max((int(kb) << 10 for kb in re.findall(r"VmHWM: +(\d+)", _own_status())), default=0)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def _own_status() -> str:
    return Path("/proc/self/status").read_text().replace("\t", " ")


def check_limit() -> None:
    """BadInput where this process may not even take what the libraries need, unless they are loaded."""
    if (limit := _limit()) is not None and limit < LEAST_BYTES and "scipy.linalg" not in sys.modules:
        got, do = f"{limit / 2**20:.0f} MiB", f"allow {LEAST_BYTES >> 20} MiB or more: ulimit -v {LEAST_BYTES >> 10}"
        raise BadInput("too little memory is allowed to begin with", where="ulimit -v", got=got, do=do)


@contextmanager
def lacking(where: str, do: str = "") -> Iterator[None]:
    """Memory that runs out within, however a library puts it, as the BadInput for it; its frames, and arrays, go."""
    try:
        yield
    except Exception as error:
        if (told := out_of_memory(error, where, do)) is None:
            raise
        raise told from None


def out_of_memory(error: BaseException, where: str, do: str = "") -> BadInput | None:
    """The one sentence for an error that stands for memory that ran out; None for any other."""
    if isinstance(error, SmilerError) or not _stands_for_memory(error):
        return None
    got = " ".join(str(error).split())[:160] or type(error).__name__
    do = do or "close what else runs, do one case at a time (--jobs 1), crop or resample it, or take a larger machine"
    return BadInput("memory ran out", where=where, got=got, do=do)


def _stands_for_memory(error: BaseException) -> bool:
    """numpy raises MemoryError; torch, blosc2 and threads RuntimeError; the system ENOMEM; the loader ImportError."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError | ImportError) and bool(_WORDS.search(str(error)))


_WORDS = re.compile(
    r"can.?t allocate memory|cannot allocate memory|out of memory|not enough memory|can't start new thread"
    r"|failed to map segment",
    re.IGNORECASE,
)


def _of_machine() -> Iterator[int]:
    with suppress(OSError, ValueError, AttributeError):  # no sysconf on Windows
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError):
        yield from (int(kb) << 10 for kb in re.findall(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text()))


def _of_process() -> Iterator[int]:
    """What is left of this process's own limit."""
    with suppress(OSError, ValueError, IndexError):
        if (limit := _limit()) is not None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            yield max(0, limit - pages * os.sysconf("SC_PAGE_SIZE"))


def _limit() -> int | None:
    """Bytes of address space that this process may take; None for any number."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if soft == resource.RLIM_INFINITY else soft


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
