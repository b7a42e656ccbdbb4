"""The same slices under truth and under every arm, for the report's pictures."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from smiler.domain.cohort import Case
from smiler.domain.files import replacing
from smiler.evaluation.scores import Measured
from smiler.evaluation.truth import Truth
from smiler.formats.labels import read_case_labels
from smiler.formats.nifti import read_ct

CASES = 3


def save_overlays(path: Path, truth: Truth, predicted: Mapping[str, Mapping[str, Measured]]) -> None:
    """Two slices each of the first cases: `hu`, `spacing`, `case`, `z`, and a bit field for truth and for each arm."""
    rows: dict[str, list[NDArray[np.generic]]] = {}
    names: dict[str, list[object]] = {"case": [], "z": [], "spacing": []}
    for case in truth.cohort.cases[:CASES]:
        ct = read_ct(truth.cohort.image_path(case))
        drawn = read_case_labels(truth.cohort, case, ct.geometry).drawn
        for z in _telling_slices(drawn, len(truth.cohort.organs)):
            volumes: dict[str, NDArray[np.generic]] = {"hu": ct.hu, "truth": drawn}
            _add(rows, volumes | _bits(case, predicted), z)
            for name, value in (("case", case.id), ("z", z), ("spacing", ct.geometry.spacing[1:])):
                names[name].append(value)
    arrays = {name: np.stack(values) for name, values in rows.items()}
    arrays |= {name: np.asarray(values) for name, values in names.items()}
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
    with replacing(path) as temporary:
        temporary.write_bytes(packed.getvalue())


def _bits(case: Case, predicted: Mapping[str, Mapping[str, Measured]]) -> dict[str, NDArray[np.generic]]:
    return {arm: cases[case.id].bits for arm, cases in predicted.items()}


def _add(rows: dict[str, list[NDArray[np.generic]]], volumes: Mapping[str, NDArray[np.generic]], z: int) -> None:
    for name, volume in volumes.items():
        rows.setdefault(name, []).append(volume[z])


def _telling_slices(drawn: NDArray[np.int32], organs: int) -> tuple[int, ...]:
    """The slice with most organs, and the one with most of them among slices at least a fifth of the volume away."""
    counts = np.array([sum(bool((plane >> k & 1).any()) for k in range(organs)) for plane in drawn])
    first = int(counts.argmax())
    far = np.abs(np.arange(len(counts)) - first) >= len(counts) // 5
    return first, int(np.where(far, counts, -1).argmax())
