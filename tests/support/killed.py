"""A process that is killed while it writes files."""

import subprocess
import sys
from pathlib import Path

WRITER = """
import os, sys
from contextlib import ExitStack
from pathlib import Path
from smiler.domain.files import replacing
with ExitStack() as stack:
    for name in sys.argv[1:]:
        stack.enter_context(replacing(Path(name), ".nii.gz")).write_text("half")
    os.kill(os.getpid(), 9)
"""


def kill_a_writer(*paths: Path) -> list[Path]:
    """What a process leaves that is killed while it writes these files."""
    subprocess.run([sys.executable, "-c", WRITER, *map(str, paths)], check=False)
    left = [next(path.parent.glob(f".{path.name[:60]}.????????.tmp.nii.gz")) for path in paths]
    assert len(set(left)) == len(paths)
    return left
