"""DICOM from this side: tasks for the limited process, and what it answers as CT, grids, labels and errors."""

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from smiler.domain.errors import BadInput, raise_all
from smiler.domain.fetching import scratch
from smiler.domain.files import replacing
from smiler.domain.geometry import Geometry
from smiler.formats.dicom.segments import Segment
from smiler.formats.nifti import CT, ReadOptions
from smiler.formats.nifti_grid import Grid, grid_of_affine

LONGEST_SECONDS = 900.0
KINDS = ("dicom-seg", "rtstruct")


class _Process:
    """One limited process, started when it is first wanted."""

    def __init__(self) -> None:
        # -P: no module from the user's folder; our number, so that it ends with us
        command = [sys.executable, "-P", "-m", "smiler.formats.dicom.worker", str(os.getpid())]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )

    def ask(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """The answer, or BadInput where the process died of the task or took too long."""
        timer = threading.Timer(LONGEST_SECONDS, self.process.kill)
        timer.daemon = True
        timer.start()
        try:
            questions, answers = self._streams()
            questions.write(json.dumps(task) + "\n")
            questions.flush()
            line = answers.readline()
        except OSError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            self.close()
            got = f"the reading process ended with {self.process.returncode}"
            raise BadInput("the DICOM files can't be read", where=str(task["path"]), got=got, do="get the files again")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        for stream in self._streams():
            with suppress(OSError):
                stream.close()

    def _streams(self) -> tuple[IO[str], IO[str]]:
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the process was started without pipes")
        return self.process.stdin, self.process.stdout


_idle: list[_Process] = []
_lock = threading.Lock()


def _close_idle() -> None:
    while _idle:
        _idle.pop().close()


def _ask(**task: Any) -> dict[str, Any]:
    """Give a task to an idle process, or to a new one; raises what the process found wrong."""
    with _lock:
        process = _idle.pop() if _idle else None
    if process is None:
        process = _Process()
        atexit.unregister(_close_idle)  # once is enough, however many there are
        atexit.register(_close_idle)
    try:
        answer = process.ask(task)
    except BaseException:
        process.close()
        raise
    with _lock:
        _idle.append(process)
    faults = [BadInput(what, where=where, got=got, do=do) for what, where, got, do in answer.get("faults", ())]
    if task["task"] != "scan" or "series" not in answer:
        raise_all(faults)
    return answer


@contextmanager
def _file() -> Iterator[Path]:
    with scratch() as folder:
        yield folder / "array"


def read_header(path: Path, options: ReadOptions) -> Grid:
    """Where a CT series lies; no pixel is decoded. BadInput unless it is one regular series."""
    answer = _ask(task="header", path=str(path), max_bytes=options.max_bytes, **_how(options))
    return _grid(answer, path)


def _how(options: ReadOptions) -> dict[str, bool]:
    return {"detilt": options.detilt, "incomplete": options.incomplete == "accept"}


def files_of(path: Path, options: ReadOptions) -> tuple[list[Path], str]:
    """The files of a CT series in the order of its slices (they may lie in a zip file), and its UID."""
    answer = _ask(task="files", path=str(path), **_how(options))
    return [Path(file) for file in answer["files"]], str(answer["uid"])


def read_ct(path: Path, options: ReadOptions) -> CT:
    """A CT series as HU, int16 (z, y, x) in canonical order."""
    with _file() as out:
        limits = {"max_bytes": options.max_bytes, "rescale": options.rescale}
        answer = _ask(task="ct", path=str(path), out=str(out), **limits, **_how(options))
        own = np.fromfile(out, dtype=np.int16).reshape(answer["shape"])
    grid = _grid(answer, path)
    hu = np.ascontiguousarray(grid.canonical(own.transpose(2, 1, 0)))
    return CT(hu, grid.geometry, grid, grid.notes)


def read_some(path: Path, options: ReadOptions) -> tuple[Grid, NDArray[np.int16]]:
    """Where a CT series lies, and a few of its slices as HU, int16 (slices, rows, columns)."""
    with _file() as out:
        answer = _ask(task="some", path=str(path), out=str(out), rescale=options.rescale, detilt=options.detilt)
        hu = np.fromfile(out, dtype=np.int16).reshape(-1, *answer["shape"][1:])
    return _grid(answer, path), hu


@dataclass(frozen=True)
class MaskCodes:
    """Masks: codes uint16 (z, y, x), their own grid or None, and beside a segmentation's what each code stands for.

    unusable: labels whose masks can't be used, and why.
    """

    codes: NDArray[np.uint16]
    grid: Grid | None
    meaning: list[tuple[int, ...]] | None
    notes: tuple[str, ...]
    unusable: Mapping[int, str] = field(default_factory=dict)


def read_labels(path: Path, options: ReadOptions, geometry: Geometry | None) -> MaskCodes:
    """A mask series, DICOM-SEG or RTSTRUCT.

    A segmentation or structure set is brought to `geometry` (grid None); without one it can't be read.
    """
    wanted = None if geometry is None else [geometry.shape, geometry.affine]
    with _file() as out:
        answer = _ask(task="labels", path=str(path), out=str(out), max_bytes=options.max_bytes, geometry=wanted)
        own = np.fromfile(out, dtype=np.uint16).reshape(answer["shape"])
    if answer["affine"] is None:
        meaning = [tuple(labels) for labels in answer["meaning"]]
        return MaskCodes(own, None, meaning, tuple(answer["notes"]), dict(answer["unusable"]))
    grid = _grid(answer, path)
    return MaskCodes(np.ascontiguousarray(grid.canonical(own.transpose(2, 1, 0))), grid, None, grid.notes)


def scan(path: Path) -> dict[str, Any]:
    """CT series below a path, and what is drawn on them; `faults` are told, not raised."""
    return _ask(task="scan", path=str(path))


def write_masks(
    out: Path, image: Path, bits: NDArray[np.int32], grid: Grid, segments: Sequence[Segment], kind: str
) -> None:
    """Write a DICOM-SEG or RTSTRUCT for the series `image`. bits: canonical (z, y, x), bit i is segment i."""
    with _file() as array, replacing(out, ".dcm") as temporary:
        np.ascontiguousarray(grid.own(bits).transpose(2, 1, 0)).tofile(array)
        rows = [asdict(segment) for segment in segments]
        _ask(
            task="write",
            kind=kind,
            path=str(image),
            array=str(array),
            out=str(temporary),
            target=str(out),
            segments=rows,
            name=out.name,
        )


def rehearse_masks(image: Path, segments: Sequence[Segment], kind: str) -> None:
    """BadInput if `write_masks` could not write such masks for the series `image`; nothing is written."""
    rows = [asdict(segment) for segment in segments]
    _ask(task="write", kind=kind, path=str(image), array="", out="", target="", segments=rows, name="")


def _grid(answer: Mapping[str, Any], path: Path) -> Grid:
    """Own axes (i, j, k) are columns, rows, slices; the affine arrives for (k, row, column) in LPS."""
    lps = np.array(answer["affine"])[:, [2, 1, 0, 3]]
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    k, j, i = answer["shape"]
    return grid_of_affine((i, j, k), ras, str(path), tuple(answer["notes"]))
