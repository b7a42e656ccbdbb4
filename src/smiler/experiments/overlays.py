"""The same slices under truth and under every arm, for the report's pictures."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smiler.domain.files import replacing
from smiler.evaluation.truth import Truth
from smiler.experiments.trial import SHOWN, TrialFolder
from smiler.formats.labels import read_case_labels
from smiler.formats.nifti import read_ct


def save_overlays(path: Path, truth: Truth, trials: Mapping[str, TrialFolder]) -> None:
    """Two slices each of the first test cases: `hu`, `spacing`, `case`, `z`, bit fields for truth and for each arm."""
    rows: dict[str, list[NDArray[np.generic]]] = {}
    names: dict[str, list[object]] = {"case": [], "z": [], "spacing": []}
    for case in truth.cohort.cases[:SHOWN]:
        ct = read_ct(truth.cohort.image_path(case))
        drawn = read_case_labels(truth.cohort, case, ct.geometry).drawn
        for z in _telling_slices(drawn, len(truth.cohort.organs)):
            volumes: dict[str, Any] = {"hu": ct.hu, "truth": drawn}
            _add(rows, volumes | {arm: trial.shown(case.id) for arm, trial in trials.items()}, z)
            for name, value in (("case", case.id), ("z", z), ("spacing", ct.geometry.spacing[1:])):
                names[name].append(value)
    arrays = {name: np.stack(values) for name, values in rows.items()}
    arrays |= {name: np.asarray(values) for name, values in names.items()}
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
    with replacing(path) as temporary:
        temporary.write_bytes(packed.getvalue())


def _add(rows: dict[str, list[NDArray[np.generic]]], volumes: Mapping[str, Any], z: int) -> None:
    for name, volume in volumes.items():
        rows.setdefault(name, []).append(volume[z])


def _telling_slices(drawn: NDArray[np.int32], organs: int) -> tuple[int, ...]:
    """The slice with most organs, and the one with most of them among slices at least a fifth of the volume away."""
    counts = np.array([sum(bool((plane >> k & 1).any()) for k in range(organs)) for plane in drawn])
    first = int(counts.argmax())
    far = np.abs(np.arange(len(counts)) - first) >= len(counts) // 5
    return first, int(np.where(far, counts, -1).argmax())
