"""The process that reads DICOM may die: the error names what it read, and the next read works."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from dicom_files import Slices, ct

from smiler.domain.cells import parse_cell
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.organs import OrganSet
from smiler.formats.dicom import client
from smiler.formats.dicom.client import write_masks
from smiler.formats.dicom.segments import segments_of
from smiler.formats.nifti import grid_of, write_labels
from smiler.formats.volumes import read_ct, read_header
from smiler.store.store import build_store


def test_a_process_that_is_killed_names_the_series_and_the_next_read_works(tmp_path: Path) -> None:
    series = Slices(ct()).write(tmp_path / "s")
    process = client._Process()
    client._idle.append(process)
    os.kill(process.process.pid, signal.SIGKILL)
    process.process.wait()
    with pytest.raises(BadInput, match=r"s: the DICOM files can't be read; got the reading process ended with -9"):
        read_header(series)
    assert read_ct(series).hu.shape == (7, 10, 12)


def test_a_read_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = Slices(ct()).write(tmp_path / "s")
    process = client._Process()
    client._idle.append(process)
    os.kill(process.process.pid, signal.SIGSTOP)
    monkeypatch.setattr(client, "LONGEST_SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(BadInput, match="can't be read"):
        read_header(series)
    assert time.monotonic() - began < 30


def test_threads_do_not_share_a_process(tmp_path: Path) -> None:
    folders = [Slices(ct(seed=n)).write(tmp_path / str(n)) for n in range(4)]
    found: dict[int, bool] = {}

    def read(n: int) -> None:
        found[n] = bool((read_ct(folders[n]).hu == ct(seed=n)).all())

    threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(4), True)


def test_a_reader_that_dies_while_training_names_the_case(tmp_path: Path) -> None:
    Slices(ct()).write(tmp_path / "series")
    mask = grid_of(read_header(tmp_path / "series").geometry)
    write_labels(tmp_path / "liver.nii.gz", np.ones((7, 10, 12), dtype=np.uint8), mask)
    cells = {"liver": parse_cell("liver.nii.gz")}
    cohort = Cohort(tmp_path, OrganSet.of("liver"), (Case("p1", "p1", "series", cells),))
    process = client._Process()
    client._idle.append(process)
    os.kill(process.process.pid, signal.SIGKILL)
    process.process.wait()
    with pytest.raises(BadInput, match=r"case p1, .*series: the DICOM files can't be read"):
        build_store(cohort, tmp_path / "cache")
    assert len(build_store(cohort, tmp_path / "cache")) == 1


def test_no_module_of_the_users_folder_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = Slices(ct()).write(tmp_path / "s")
    (tmp_path / "pydicom.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(client, "_idle", [])
    assert read_ct(series).hu.shape == (7, 10, 12)
    assert not (tmp_path / "owned").exists()
    client._idle.pop().close()


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may become longer than `size` bytes, in this process and in those it starts: as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_no_fault_of_the_dicom_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = Slices(ct((7, 64, 64))).write(tmp_path / "s")
    grid, segments = read_header(series), segments_of(OrganSet.of("liver"), ["liver"], "MANUAL")
    monkeypatch.setattr(client, "_idle", [])
    bits = np.zeros(grid.geometry.shape, dtype=np.int32)
    with room_for(4096):
        with pytest.raises(BadInput, match=r"cannot write the file.*check space"):
            read_ct(series)
        with pytest.raises(BadInput, match=r"o\.dcm: cannot write the file.*check space"):
            write_masks(tmp_path / "o.dcm", series, bits, grid, segments, "dicom-seg")
    assert not (tmp_path / "o.dcm").exists()
    client._close_idle()


PARENT = """
import os, sys, time
from smiler.formats.dicom import client
process = client._Process()
assert process.ask({"task": "scan", "path": sys.argv[1]})["series"]
if os.fork() == 0:
    time.sleep(60)  # another process that has the pipe's end, as a pool's workers do
print(process.process.pid, flush=True)
time.sleep(60)
"""


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_a_worker_ends_with_the_parent_that_was_killed(tmp_path: Path) -> None:
    series = Slices(ct()).write(tmp_path / "s")
    command = [sys.executable, "-c", PARENT, str(series)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert is_there(worker)
        parent.kill()
        until = time.monotonic() + 20
        try:
            while is_there(worker) and time.monotonic() < until:
                time.sleep(0.1)
            assert not is_there(worker)
        finally:
            os.killpg(parent.pid, signal.SIGKILL)


def test_arrays_of_a_killed_process_do_not_stay(tmp_path: Path) -> None:
    script = (
        "from smiler.formats.dicom import client; import os\nwith client._file() as f: f.write_bytes(b'x'); os._exit(9)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    (left,) = tmp_path.glob("smiler-*")
    os.utime(left, (1, 1))
    subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert not left.exists()
