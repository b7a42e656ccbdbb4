"""What lies at a path that is not what a command wants, and which command comes next; known by its names."""

import difflib
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from smiler.domain.cohort import LEDGER, MANIFEST
from smiler.domain.endings import ending_of
from smiler.domain.errors import BadInput
from smiler.domain.remote import Remote

RECIPE, DATA_SET, EXPORT, SWEEP = "recipe.toml", "dataset.json", "smiler.json", "sweep.json"
FOLDS = "folds.json"
LOOKED_AT = 2000
"""So many names below a folder are looked at."""
NEW_COHORT = "my-cohort"


@dataclass(frozen=True)
class Signpost:
    """kind: cohort, run, folds, results, data, volumes, dicom, file, empty, missing or other; what it is; what next."""

    kind: str
    what: str
    do: str = ""


def signpost(path: Path) -> Signpost:
    """What lies at the path. Never fails: what can't be looked at is "other", as is what lies at an address."""
    try:
        return Signpost("other", "") if isinstance(path, Remote) else _looked_at(path)
    except OSError:
        return Signpost("other", "")


def instead(what: str, path: Path, where: Path | None = None, do: str = "") -> BadInput:
    """The fault of a path that is not what a command wants: what is there, and the next command.

    `do` goes before it where nothing is there.
    """
    there = signpost(path)
    own = there.do if not do or there.kind not in ("empty", "missing", "other") else do
    return BadInput(what, where=str(where or path), got=there.what, do=own or do)


def _looked_at(path: Path) -> Signpost:
    if not path.exists():
        beside = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, 1)
        return Signpost("missing", "there is nothing", f"did you mean {path.parent / near[0]}?" if near else "")
    if not path.is_dir():
        return _file(path)
    own = _ours(path)
    if own:
        return own
    for below in sorted(child for child in path.iterdir() if child.is_dir()):
        inner = _ours(below)
        if inner and inner.kind in ("cohort", "run", "folds"):
            return Signpost("other", f"a folder above {inner.what}", f"give {_quoted(below)}")
    return _data(path)


def _ours(path: Path) -> Signpost | None:
    """What smiler itself wrote."""
    here = _quoted(path)
    if (path / MANIFEST).exists() or (path / LEDGER).exists():
        return Signpost("cohort", "a cohort of smiler", f"smiler audit {here}, or smiler train {here} RUN")
    if (path / RECIPE).exists():
        return Signpost("run", "a run of smiler", f"smiler predict {here} IMAGE --out MASKS")
    if (path / FOLDS).exists():
        return Signpost("folds", "a training of smiler in folds", f"smiler predict {here} IMAGE --out MASKS")
    if (path / SWEEP).exists():
        return Signpost("results", "a sweep of smiler", f"smiler report {here}")
    return None


def _file(path: Path) -> Signpost:
    parent = path.parent
    if path.name in (MANIFEST, LEDGER):
        return Signpost("file", "a file of a cohort", f"give its folder, {_quoted(parent)}")
    if path.name in (RECIPE, FOLDS):
        return Signpost("file", "a file of a run", f"give its folder, {_quoted(parent)}")
    if ending_of(path.name):
        do = f"smiler predict RUN {_quoted(path)} --out MASKS, or smiler import its data set"
        return Signpost("file", "a file with one volume", do)
    if path.name.lower().endswith((".zip", ".dcm")):
        do = f"smiler import {_quoted(path)} {NEW_COHORT} where it holds DICOM; else unpack it and import the folder"
        return Signpost("file", "a zip file or a DICOM file", do)
    return Signpost("file", "a file", "give a folder")


def _data(path: Path) -> Signpost:
    """Somebody else's data, or nothing."""
    into = f"smiler import {_quoted(path)} {NEW_COHORT}"
    if (path / DATA_SET).exists() or any(path.glob(f"Dataset*/{DATA_SET}")):
        return Signpost("data", "what looks like a data set of nnU-Net or the Decathlon", into)
    if (path / EXPORT).exists():
        return Signpost("data", "an export of smiler", into)
    names = list(islice(_names(path), LOOKED_AT))
    if any(_is_dicom(name) for name in names if not ending_of(name.name)):
        return Signpost(
            "dicom", "a folder of DICOM files", f"{into}, or smiler predict RUN {_quoted(path)} --out MASKS"
        )
    if (path / "images").is_dir() and ((path / "masks").is_dir() or (path / "labels").is_dir()):
        return Signpost("data", "a folder of images and masks", f"{into} --format folder")
    volume = next((name for name in names if ending_of(name.name)), None)
    if volume:
        do = f"{into}, with --format folder --image IMAGES --mask ORGAN=MASKS (or --labelmap MAPS --labels TABLE)"
        do += (
            f" where its layout is not a known one; without masks: smiler predict RUN {_quoted(volume)} ... --out MASKS"
        )
        return Signpost("volumes", f"a folder of volumes, such as {volume.relative_to(path)}", do)
    if not names:
        do = f"smiler import SOURCE {_quoted(path)} makes a cohort there, smiler train COHORT {_quoted(path)} a run"
        return Signpost("empty", "an empty folder", do)
    return Signpost("other", f"a folder of other files, such as {names[0].relative_to(path)}")


def _names(path: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(path):
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


def _is_dicom(path: Path) -> bool:
    if path.name.lower().endswith((".dcm", ".zip")):
        return True
    if not path.is_file():  # a pipe would be waited for
        return False
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
