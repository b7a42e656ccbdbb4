"""The whole line without what Windows lacks: no folder opens, nothing read-only is flushed, no POSIX module or call.

Third parties are imported first: it is our own code that must do without.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput

TAKE_AWAY = """
import builtins, errno, io, os, pathlib, signal, sys, tempfile
import torch, lightning_fabric, monai.networks.blocks, scipy.stats, matplotlib.figure, filelock, rich.progress, typer
import pydantic, blosc2, cc3d, edt, isal.igzip, safetensors.torch, multiprocessing.popen_spawn_posix, subprocess
import multiprocessing.resource_tracker, fcntl

multiprocessing.resource_tracker._HAVE_SIGMASK = False
flags, get_flags = fcntl.fcntl, fcntl.F_GETFL
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for module, names in (
    (os, "fork fchmod fchown chown getuid geteuid getppid sched_getaffinity sysconf uname killpg O_DIRECTORY"),
    (signal, "SIGKILL SIGHUP SIGUSR1 pthread_sigmask"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)

plain_open, plain_fsync = os.open, os.fsync

def open_no_folder(path, *more, **named):
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    return plain_open(path, *more, **named)

def fsync_what_is_written(handle):
    if flags(handle, get_flags) & (os.O_WRONLY | os.O_RDWR) == 0:
        raise OSError(errno.EBADF, "Bad file descriptor")
    plain_fsync(handle)

def no_link(*_, **__):
    raise OSError(errno.EPERM, "A required privilege is not held by the client")

def no_proc(read):
    def reading(self, *more, **named):
        if str(self).startswith(("/proc", "/sys")):
            raise FileNotFoundError(errno.ENOENT, "no such file", str(self))
        return read(self, *more, **named)
    return reading

os.open, os.fsync, os.symlink = open_no_folder, fsync_what_is_written, no_link
pathlib.Path.read_text = no_proc(pathlib.Path.read_text)
tempfile.NamedTemporaryFile = no_link  # an open file that is opened again

from smiler.cli import main

def smiler(*words, code=0):
    sys.argv = ["smiler", *map(str, words)]
    try:
        main()
        ended = 0
    except SystemExit as stop:
        ended = stop.code or 0
    assert ended == code, (words, ended)
"""
LINE = """
phantom = sys.argv[1]
smiler("export", phantom, "linked", "--format", "nnunet", code=2)
smiler("export", phantom, "bids", "--format", "bids", "--copy-images")
smiler("import", "bids", "cohort")
smiler("audit", "cohort", "--deep", "--jobs", 2)
tiny = ["data.spacing_xy_mm=native", "network.width=8", "sampling.patch_size=32", "sampling.batch_size=2"]
tiny += ["training.device=cpu", "training.precision=32"]
smiler("train", "cohort", "run", "-m", "smile", "--steps", 2, *(word for change in tiny for word in ("-s", change)))
smiler("predict", "run", "cohort", "--out", "masks")
smiler("relabel", "run", "cohort", "completed")
from smiler.domain.files import scratch, sync_folder
sync_folder(pathlib.Path("run"))
with scratch(pathlib.Path("run"), "label", b"abc") as file:
    assert file.read_bytes() == b"abc"
assert not file.exists()
"""


def test_import_audit_train_predict_relabel(world: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE_AWAY + LINE, str(world.phantom)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "no link to the CT can be made here" in " ".join(done.stderr.split())
    assert "--copy-images" in done.stderr
    assert (tmp_path / "masks" / "volumes.csv").exists()
    assert (tmp_path / "masks" / "phantom000" / "liver.nii.gz").exists()
    assert "\\" not in (tmp_path / "cohort" / "cases.csv").read_text(encoding="utf-8")
    assert not [path for path in tmp_path.rglob("*.tmp*") if path.is_file()]


@pytest.mark.parametrize("column", ["image", "liver"])
def test_a_ledger_with_backslashes_says_how_to_write_paths(column: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.nii.gz").touch()
    cells = {"image": "images/a.nii.gz", "liver": ""} | {column: "images\\a.nii.gz"}
    (tmp_path / "cohort.toml").write_text('format = 1\n[[organ]]\nkey = "liver"\n', encoding="utf-8")
    (tmp_path / "cases.csv").write_text(f"case,patient,image,liver\na,a,{cells['image']},{cells['liver']}\n")
    with pytest.raises(BadInput, match=r"write / between the names of folders: images/a\.nii\.gz"):
        Cohort.open(tmp_path)


def test_json_on_a_terminal_of_another_code_page_stays_json(tmp_path: Path) -> None:
    script = "from smiler.cli.console import print_json; print_json({'title': 'Łeber 肝'})"
    command = [sys.executable, "-c", script]
    environment = {"PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"title": "Łeber 肝"}
