"""For tests that stop programs and kill workers: who hears Ctrl-C, which processes work for a program (Linux)."""

import importlib.util
import signal
from pathlib import Path

import pytest

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'smiler-seg[ray]'"
)
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes through /proc")


def hear_ctrl_c() -> None:
    """Tests started in a script's background (`make test &`) ignore it, and so would every program they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def workers_of(program: int) -> list[int]:
    """The processes that work for it: its own children, or those of the Ray that it started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and program in ancestors(int(folder.name)):
            command = (folder / "cmdline").read_bytes()
            if b"spawn_main" in command or command.startswith(b"ray::_task"):
                found.append(int(folder.name))
    return found


def ancestors(pid: int) -> list[int]:
    """Its parent, the parent's parent and so on."""
    found = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:
            break
        found.append(pid)
    return found
