"""How the C library hands out memory: what a step has freed, the next one gets, not the operating system."""

import ctypes
import platform
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""M_TRIM_THRESHOLD and M_MMAP_MAX of glibc's malloc.h."""


@cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees; whether the C library (glibc) can do so.

    By default glibc asks the operating system for every large tensor and gives it back, and each time the pages are
    cleared and mapped anew: on two cores a U-Net's step took a third longer.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return all([library.mallopt(_MMAP_MAX, 0), library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)])
