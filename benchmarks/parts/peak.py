"""Peak memory of predicting a CT, in a process of its own.

python -m benchmarks.parts.peak COHORT SPACING SLICES
"""

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.parts.painted import subject
from benchmarks.parts.timing import peak_mb
from smiler.domain.cohort import Cohort
from smiler.formats.nifti import write_ct
from smiler.verbs.predict import PredictRequest, predict


def peak_of(cohort: Path, spacing: float | str, slices: int) -> int:
    """Peak memory (MB) of a process that predicts the cohort's first CT, repeated to so many slices."""
    words = [sys.executable, "-m", "benchmarks.parts.peak", str(cohort), str(spacing), str(slices)]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def prepare(cohort: Cohort, folder: Path, slices: int) -> Path:
    """The CT with its slices repeated, as a file."""
    from smiler.formats.volumes import read_ct

    ct = read_ct(cohort.image_path(cohort.cases[0]))
    hu = np.concatenate([ct.hu] * -(-slices // len(ct.hu)))[:slices]
    path = folder / "ct.nii.gz"
    write_ct(path, hu, type(ct.geometry).canonical(hu.shape, ct.geometry.spacing))
    return path


def main(folder: str, spacing: str, slices: str) -> None:
    """Predict and print the peak: of a first process the file, of a second the prediction."""
    cohort = Cohort.open(Path(folder))
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        if slices.startswith("made:"):
            subject_ = subject(cohort, float(spacing) if spacing != "native" else "native", depth=34)
            small = replace(subject_, ct=replace(subject_.ct, hu=subject_.ct.hu[:1]))
            predict(small.model, [Path(slices[5:])], PredictRequest(place / "out"))
            sys.stdout.write(f"{peak_mb()}\n")
            return
        path = prepare(cohort, place, int(slices))
        words = [sys.executable, "-m", "benchmarks.parts.peak", folder, spacing, f"made:{path}"]
        sys.stdout.write(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
