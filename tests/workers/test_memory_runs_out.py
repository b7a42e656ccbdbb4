"""Memory that runs out: one sentence that names the case, from every kind of workers and from the commands; no hang."""

import errno
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from smiler.domain.errors import BadInput
from smiler.workers.base import InProcess, Staged, Workers
from smiler.workers.memory import available_bytes, out_of_memory
from smiler.workers.pipelined import Pipelined
from smiler.workers.processes import Processes
from smiler.workers.threads import Threads

pytest.importorskip("resource", reason="limits of a process are set through resource")
ROOM = 170 << 20
"""Enough for a CT of the tests, and not for its masks as well."""
LIMITED = """
import resource, sys
import numpy, smiler.audit.audit, smiler.report.matrix
if sys.argv[2] == "train":
    import smiler.verbs.train
from pathlib import Path
from smiler.cli import main
numpy.ones((64, 64)) @ numpy.ones((64, 64))
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv.pop(1)),) * 2)
main()
"""


@dataclass(frozen=True)
class Hungry(Staged[int, int, int, int]):
    """Asks for more than there is at item 1, in one of its stages."""

    at: str

    def stage(self, name: str, item: int) -> int:
        if (name, item) == (self.at, 1):
            np.empty(1 << 60, dtype=np.uint8)
        return item

    def read(self, item: int) -> int:
        return self.stage("read", item)

    def compute(self, read: int) -> int:
        return self.stage("compute", read)

    def write(self, made: int) -> int:
        return self.stage("write", made)

    def memory(self, item: int) -> int:
        return 1

    def where(self, item: int) -> str:
        return f"number {item}"


@pytest.mark.parametrize("stage", ["read", "compute", "write"])
@pytest.mark.parametrize("workers", [InProcess(), Threads(2), Pipelined(10)], ids=["here", "threads", "pipelined"])
def test_the_item_is_named_and_the_ones_before_it_are_done(workers: Workers, stage: str) -> None:
    results = workers.map(Hungry(stage), range(4))
    assert next(results) == 0
    with pytest.raises(BadInput, match=r"number 1: memory ran out; got Unable to allocate") as caught:
        list(results)
    assert "--jobs 1" in caught.value.do


def test_in_other_processes_too() -> None:
    with pytest.raises(BadInput, match="number 1: memory ran out"):
        list(Processes(1).map(Hungry("compute"), range(3)))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: 9 bytes"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        ImportError("libx.so: failed to map segment from shared object"),
    ],
)
def test_however_a_library_puts_it(error: Exception) -> None:
    told = out_of_memory(error, "case p1")
    assert told is not None
    assert str(told).startswith("case p1: memory ran out; got ")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), RuntimeError("shapes differ"), ValueError("memory")])
def test_another_error_stays_what_it_is(error: Exception) -> None:
    assert out_of_memory(error, "case p1") is None


def test_a_limit_of_the_process_counts_as_what_is_available() -> None:
    script = (
        "import resource; from smiler.workers.memory import available_bytes;"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30,) * 2); print(available_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 2 << 30
    assert available_bytes() > 0


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two CT of 52 MB, whose bit fields take 104 MB each; a few kB on disk."""
    folder = tmp_path_factory.mktemp("large")
    hu, mask = np.full((260, 320, 320), -1000, np.int16), np.zeros((260, 320, 320), np.uint8)
    hu[:, 80:240, 80:240] = 40
    hu[:, 100:120, 100:120] = -100
    mask[:, 150:160, 150:160] = 1
    for n in range(2):
        hu[0, 0, 0] = n
        for name, array in ((f"c{n}", hu), (f"m{n}", mask)):
            nib.save(nib.Nifti1Image(array, np.diag([-1, -1, 2, 1.0])), folder / f"{name}.nii.gz")
    (folder / "cohort.toml").write_text('format = 1\n[[organ]]\nkey = "liver"\n', encoding="utf-8")
    rows = [f"c{n},p{n},c{n}.nii.gz,m{n}.nii.gz" for n in range(2)]
    (folder / "cases.csv").write_text("\n".join(["case,patient,image,liver", *rows, ""]), encoding="utf-8")
    return folder


def with_memory(room: int, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LIMITED, str(room), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


def test_a_deep_audit_tells_what_does_not_fit_and_ends(large: Path) -> None:
    done = with_memory(ROOM, "audit", large, "--deep")
    words = " ".join(done.stdout.split())
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "case c0, " in words or "case c1, " in words
    assert "memory ran out; got Unable to allocate" in words


def test_a_training_is_refused_with_the_case_that_does_not_fit(large: Path, tmp_path: Path) -> None:
    done = with_memory(ROOM, "train", large, tmp_path / "run", "--method", "smile", "--steps", 2, "--cache", tmp_path)
    words = " ".join(done.stderr.split())
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in words
    assert any(name in words for name in ("case c0, ", "case c1, ", "c0.nii.gz: ", "c1.nii.gz: "))
    assert "memory ran out" in words or "does not fit into memory" in words  # of masks and arrays, or of a file


def test_less_than_the_libraries_need_is_refused_at_once() -> None:
    """OpenBLAS would ask for its buffers for ever."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (300 << 20,) * 2);"
        "from smiler.cli import main; main()"
    )
    command = [sys.executable, "-c", script, "audit", "somewhere", "--deep"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "too little memory is allowed to begin with (got 300 MiB)" in " ".join(done.stderr.split())
