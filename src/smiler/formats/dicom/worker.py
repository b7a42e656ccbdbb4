"""The process that reads and writes DICOM: one task a line in, one answer a line out, arrays through files.

Parsers and decoders of untrusted files run here, under a limit of memory; if one crashes, only this process dies.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from smiler.domain.errors import BadInput, Faults
from smiler.domain.files import cannot_write
from smiler.domain.geometry import Geometry
from smiler.formats.dicom.objects import LABELMAP_CLASS, RTSTRUCT_CLASS, SEG_CLASS, UNREADABLE, Object, objects

MEMORY_BYTES = 6 << 30
PARENT_SECONDS = 1.0
"""How often a worker looks whether its parent still lives."""
SOME_SLICES = 5


def main() -> None:
    """Serve tasks until the other side closes its end."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in _tasks(int(sys.argv[1])):
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


def _tasks(parent: int) -> Iterator[str]:
    """Tasks as they come. Threads look after the other side meanwhile: a worker whose parent was killed ends at once.

    The end of the pipe says so everywhere, unless another process has inherited it; another parent says so on POSIX.
    """
    tasks: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            tasks.put(line)
        os._exit(0)

    def watch() -> None:
        while os.name == "nt" or os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        os._exit(0)

    for work in (read, watch):
        threading.Thread(target=work, daemon=True).start()
    while True:
        yield tasks.get()


def answer(task: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to one task; whatever is wrong with the files is told in `faults`."""
    try:
        return TASKS[task["task"]](task)
    except Faults as error:
        return {"faults": [_fault(fault) for fault in error.faults]}
    except BadInput as error:
        return {"faults": [_fault(error)]}
    except MemoryError:
        fault = BadInput("reading it takes more memory than allowed", where=str(task.get("path", "")), got="")
        return {"faults": [_fault(fault)]}
    except (NameError, ImportError):  # a mistake of ours, not a file's: end the process
        raise
    except Exception as error:  # noqa: BLE001  a parser's own bug on a broken file is that file's fault, told in one line
        got = ascii(f"{type(error).__name__}: {error}"[:200])[1:-1]
        return {"faults": [_fault(BadInput("the DICOM files can't be read", where=str(task.get("path", "")), got=got))]}


def _fault(error: BadInput) -> list[str]:
    return [error.what, error.where, error.got, error.do]


def _header(task: Mapping[str, Any]) -> dict[str, Any]:
    """Where the series lies; no pixel is decoded."""
    from smiler.formats.dicom.pixels import check_bytes, check_whole
    from smiler.formats.dicom.series import read_series

    series = read_series(Path(task["path"]), **_how(task))
    check_bytes(series, task["max_bytes"])
    check_whole(series)
    return {"shape": series.shape, "affine": series.affine.tolist(), "notes": series.notes}


def _how(task: Mapping[str, Any]) -> dict[str, Any]:
    return {"detilt": task["detilt"], "incomplete": task.get("incomplete", False)}


def _files(task: Mapping[str, Any]) -> dict[str, Any]:
    """The files of the series in the order of its slices, and its UID."""
    from smiler.formats.dicom.series import read_series

    series = read_series(Path(task["path"]), **_how(task))
    return {"files": [str(source.path) for source in series.sources], "uid": series.sources[0].series}


def _ct(task: Mapping[str, Any]) -> dict[str, Any]:
    """HU (k, rows, columns) int16 into the file `out`."""
    from smiler.formats.dicom.pixels import check_bytes, check_whole, hounsfield
    from smiler.formats.dicom.series import read_series

    series = read_series(Path(task["path"]), **_how(task))
    check_bytes(series, task["max_bytes"])
    check_whole(series)
    hu, notes = hounsfield(series, task["rescale"])
    _put(hu, task["out"])
    return {"shape": series.shape, "affine": series.affine.tolist(), "notes": [*series.notes, *notes]}


def _some(task: Mapping[str, Any]) -> dict[str, Any]:
    """Where the series lies; of a few of its slices HU int16 into the file `out`."""
    from smiler.formats.dicom.pixels import hounsfield
    from smiler.formats.dicom.series import read_series

    series = read_series(Path(task["path"]), detilt=task["detilt"])
    _put(hounsfield(series.some(SOME_SLICES), task["rescale"])[0], task["out"])
    return {"shape": series.shape, "affine": series.affine.tolist(), "notes": series.notes}


def _labels(task: Mapping[str, Any]) -> dict[str, Any]:
    """A mask series, a SEG or an RTSTRUCT: codes uint16 into `out`, and what each code stands for."""
    path = Path(task["path"])
    found = [thing for thing in objects(path) if isinstance(thing, Object) and not thing.is_directory]
    drawn = [thing for thing in found if thing.sop_class in _DRAWN]
    if len(drawn) != 1 or len(found) != 1:
        return _mask_series(task)
    if task["geometry"] is None:
        raise BadInput("a segmentation is read together with its CT", where=str(path))
    geometry = Geometry.of(*task["geometry"])
    stack = _DRAWN[drawn[0].sop_class](drawn[0], geometry)
    _put(stack.codes, task["out"])
    told = {"notes": stack.notes, "meaning": stack.meaning, "unusable": list(stack.unusable.items())}
    return {"shape": geometry.shape, "affine": None, **told}


def _put(array: Any, path: str) -> None:
    """An array where the other side reads it; a full disk is no fault of the DICOM files."""
    try:
        Path(path).write_bytes(np.ascontiguousarray(array).data)
    except OSError as error:
        raise cannot_write(Path(path), error) from error


def _mask_series(task: Mapping[str, Any]) -> dict[str, Any]:
    """One folder of slices a mask; several by a pattern are united."""
    from smiler.formats.dicom.pixels import check_bytes, stored
    from smiler.formats.dicom.series import read_series

    united: Any = None
    for path in sorted(_matching(Path(task["path"]))):
        series = read_series(path)
        check_bytes(series, task["max_bytes"])
        values = stored(series)
        if united is None:
            united, first = values, series
        elif values.shape != united.shape or np.abs(series.affine - first.affine).max() > 1e-3:
            raise BadInput("masks that belong together lie on different grids", where=str(path), got=str(first.path))
        else:
            united = (united > 0) | (values > 0)
    if united is None:
        raise BadInput("no mask there", where=task["path"])
    _put(united.astype(np.uint16), task["out"])
    return {"shape": first.shape, "affine": first.affine.tolist(), "notes": first.notes, "meaning": None}


def _matching(path: Path) -> set[Path]:
    """The folders that a pattern at the end of the path stands for, or the path itself."""
    from smiler.domain.places import walk

    if "*" not in path.name:
        return {path}
    depth = len(path.parts)
    return {Path(*entry.path.parts[:depth]) for entry in walk(path)}


def _scan(task: Mapping[str, Any]) -> dict[str, Any]:
    """What lies below a path: CT series that can be cases, and what is drawn on them."""
    from smiler.formats.dicom.scan import scan

    return scan(Path(task["path"]))


def _write(task: Mapping[str, Any]) -> dict[str, Any]:
    """A SEG or an RTSTRUCT for a series, from bits int32 (k, rows, columns) in the file `array`, into `out`.

    Without the two it is tried, and nothing is written.
    """
    from smiler.formats.dicom.segmentation import write_segmentation
    from smiler.formats.dicom.segments import Segment
    from smiler.formats.dicom.series import read_series
    from smiler.formats.dicom.structures import write_structures

    series = read_series(Path(task["path"]), detilt=True, incomplete=True)  # its reader has decided on that
    bits = _bits(task, series.shape)
    segments = [Segment(**{**row, "region": tuple(row["region"])}) for row in task["segments"]]
    write = write_segmentation if task["kind"] == "dicom-seg" else write_structures
    try:
        made = write(series, bits, segments, task["name"])
    except UNREADABLE as error:
        got = ascii(f"{type(error).__name__}: {error}"[:200])[1:-1]
        what, do = f"no {task['kind']} can be written for this series", "mend its headers, or write nifti"
        raise BadInput(what, where=task["path"], got=got, do=do) from error
    if task["out"]:
        try:
            Path(task["out"]).write_bytes(made)
        except OSError as error:
            raise cannot_write(Path(task["target"]), error) from error
    return {}


def _bits(task: Mapping[str, Any], shape: tuple[int, int, int]) -> Any:
    """The masks, or of a rehearsal a voxel of the first segment."""
    if task["array"]:
        return np.fromfile(task["array"], dtype=np.int32).reshape(shape)
    bits = np.zeros(shape, dtype=np.int32)
    bits[0, 0, 0] = 1
    return bits


def _segmentation(found: Object, geometry: Geometry) -> Any:
    from smiler.formats.dicom.segmentation import read_segmentation

    return read_segmentation(found, geometry)


def _structures(found: Object, geometry: Geometry) -> Any:
    from smiler.formats.dicom.structures import read_structures

    return read_structures(found, geometry)


_DRAWN: Mapping[str, Callable[[Object, Geometry], Any]] = {
    SEG_CLASS: _segmentation,
    LABELMAP_CLASS: _segmentation,
    RTSTRUCT_CLASS: _structures,
}
TASKS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "header": _header,
    "files": _files,
    "ct": _ct,
    "some": _some,
    "labels": _labels,
    "scan": _scan,
    "write": _write,
}

if __name__ == "__main__":
    main()
