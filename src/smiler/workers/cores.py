"""How many processes a machine bears, and what of its cores each of them takes."""

import os
from collections.abc import MutableMapping

LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def own_cores() -> int:
    """Those of them that are this process's: as many as its libraries may have threads, where that is limited."""
    limits = [int(own) for name in LIMITS if (own := os.environ.get(name, "")).isdecimal()]
    return min([cores(), *(limit for limit in limits if limit)])


def usual_jobs(among: int | None = None) -> int:
    """Two where there are two cores (one thread convolves more than half as fast as two), then one for every four."""
    count = among or cores()
    return max(min(2, count), count // 4)


def threads_each(jobs: int) -> int:
    """Threads of each of so many processes."""
    return max(1, cores() // jobs)


def limit_threads(environment: MutableMapping[str, str], threads: int) -> None:
    """At most so many threads for what is loaded from now on; a lower limit that the user set stays."""
    for name in LIMITS:
        own = environment.get(name, "")
        environment[name] = str(min(threads, int(own)) if own.isdecimal() and int(own) else threads)
