"""Four targets that read what strangers wrote: each input is either used or refused by one SmilerError.

python tests/fuzz/targets.py dicom 10000 0     prints one line of JSON
"""

import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from smiler.domain.errors import SmilerError

Check = Callable[[bytes], bool]
"""Reads an input: True where it was used, False where it was refused. Any other exception is a finding."""
NASTY = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xfe\xff\x00\xe0")
WORDS = [
    '"',
    ",",
    "#",
    "@",
    "~",
    "+",
    ":",
    "auto:",
    "absent",
    "../..",
    "=",
    "[",
    "]",
    "{",
    "1e999",
    "nan",
    "-1",
    "99999999999999999999",
    "true",
    "<script>",
    ".",
    "é",
    "0:0",
    "5:1",
    '"""',
]
WORDS += ["", "'", "\n", "\t", "\0", "\u202e", "\ufeff"]


def mutated(seed: bytes, rng: random.Random, words: tuple[bytes, ...]) -> bytes:
    """A few changes: bytes, runs, words, cuts, repetitions."""
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[at % len(data)] = rng.randrange(256)
        elif kind == 1:
            word = rng.choice(words)
            data[at : at + len(word)] = word
        elif kind == 2:
            data[at:at] = rng.choice(words)
        elif kind == 3:
            del data[at : at + rng.choice((1, 2, 4, 16, 300))]
        elif kind == 4:
            data[at:at] = data[at : at + rng.choice((1, 4, 60))]
        elif rng.random() < 0.2:
            data = data[:at]
    return bytes(data)


@contextmanager
def nifti(folder: Path) -> Iterator[tuple[list[bytes], Check, tuple[bytes, ...]]]:
    import nibabel as nib
    import numpy as np

    from smiler.formats.nifti import read_ct, read_header, read_labels

    seeds = []
    kind: Any = nib
    for dtype in (np.int16, np.uint8, np.float32):
        for form in (kind.Nifti1Image, kind.Nifti2Image):
            image = form(np.arange(60).reshape(3, 4, 5).astype(dtype), np.diag([-0.8, -0.8, 2.5, 1]))
            seeds.append(image.to_bytes())

    def check(data: bytes) -> bool:
        path = folder / ("x.nii" if data[:2] != b"\x1f\x8b" else "x.nii.gz")
        path.write_bytes(data)
        read_header(path)
        read_ct(path)
        read_labels(path)
        return True

    yield seeds, check, NASTY


@contextmanager
def dicom(folder: Path) -> Iterator[tuple[list[bytes], Check, tuple[bytes, ...]]]:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "formats"))
    import warnings

    from dicom_files import Slices, ct
    from pydicom.uid import JPEGLSLossless, RLELossless

    from smiler.formats.dicom import worker

    warnings.simplefilter("ignore")
    seeds = []
    for syntax in (None, RLELossless, JPEGLSLossless):
        made = Slices(ct((1, 16, 12)), **({"syntax": syntax} if syntax else {}))
        stream = BytesIO()
        made.dataset(0).save_as(stream, enforce_file_format=True)
        seeds.append(stream.getvalue())
    seeds.append(seeds[0][132:])  # without a preamble
    limits = {"max_bytes": 1 << 28, "rescale": "refuse", "detilt": False}

    def check(data: bytes) -> bool:
        path = folder / "x.dcm"
        path.write_bytes(data)
        answer = worker.answer({"task": "ct", "path": str(path), "out": str(folder / "out"), **limits})
        return "faults" not in answer

    yield seeds, check, (*NASTY, b"\xe0\x7f\x10\x00", b"SQ", b"UN", b"OW", b"\xfe\xff\xdd\xe0\x00\x00\x00\x00")


@contextmanager
def cases(folder: Path) -> Iterator[tuple[list[bytes], Check, tuple[bytes, ...]]]:
    from smiler.domain.cohort import Cohort

    for name in ("a.nii.gz", "b.nii.gz", "map.nii.gz"):
        (folder / name).write_bytes(b"")
    (folder / "cohort.toml").write_text('format = 1\n[[organ]]\nkey = "liver"\n[[organ]]\nkey = "spleen"\n')
    text = (
        "case,patient,image,liver,spleen\np1,A,a.nii.gz,map.nii.gz#1+2@0:40,absent\n"
        'p2,B,b.nii.gz,auto:map.nii.gz,"map.nii.gz#3~9@0:4,6:9:2"\n'
    )

    def check(data: bytes) -> bool:
        (folder / "cases.csv").write_bytes(data)
        Cohort.open(folder)
        return True

    yield [text.encode()], check, tuple(word.encode() for word in WORDS)


@contextmanager
def recipes(folder: Path) -> Iterator[tuple[list[bytes], Check, tuple[bytes, ...]]]:
    from smiler.recipe.recipe import load_recipe

    text = (
        'method = "smile"\norgans = ["liver"]\n[training]\nsteps = 100\nlearning_rate = 0.01\n'
        '[network]\nname = "unet"\nwidth = 16\n[data]\nspacing_xy_mm = 2.0\n'
    )

    def check(data: bytes) -> bool:
        path = folder / "r.toml"
        path.write_bytes(data)
        load_recipe("smile", path, [])
        return True

    yield [text.encode()], check, tuple(word.encode() for word in WORDS)


TARGETS = {"nifti": nifti, "dicom": dicom, "cases": cases, "recipes": recipes}


def run(name: str, count: int, seed: int) -> dict[str, Any]:
    """Feed a target; the numbers of what was used and refused, slowest input (s of CPU), memory, findings."""
    rng = random.Random(seed)
    told: dict[str, Any] = {"target": name, "inputs": 0, "used": 0, "refused": 0, "slowest_s": 0.0, "findings": []}
    with tempfile.TemporaryDirectory() as folder, TARGETS[name](Path(folder)) as (seeds, check, words):
        for _ in range(count):
            data = mutated(rng.choice(seeds), rng, words)
            began = time.process_time()
            try:
                used = check(data)
            except SmilerError as error:
                used = False
                if "\n" in str(error.args[0]) or not str(error):
                    told["findings"].append(["a message of several lines", data.hex()[:4000]])
            except Exception as error:  # noqa: BLE001  the very thing that is looked for
                told["findings"].append([f"{type(error).__name__}: {error}"[:300], data.hex()[:4000]])
                used = False
            told["used" if used else "refused"] += 1
            told["inputs"] += 1
            told["slowest_s"] = max(told["slowest_s"], round(time.process_time() - began, 3))
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())  # ru_maxrss would count the parent's
    assert peak is not None
    told["peak_mb"] = int(peak[1]) // 1024
    return told


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))) + "\n")
