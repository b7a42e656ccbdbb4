"""Memory that is freed is kept by the process: counted by the pages that the kernel had to hand out."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys
import numpy as np
from smiler.networks.memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for each in range(21):
    if each == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(40_000_000, dtype=np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc can be told to keep memory")
def test_freed_memory_is_kept() -> None:
    assert faults("keep") < faults("usual") / 10
