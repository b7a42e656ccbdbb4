"""The same slices under truth and under every arm, for the report's pictures."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smiler.domain.files import replacing
from smiler.evaluation.truth import Truth
from smiler.experiments.trial import SHOWN, TrialFolder
from smiler.formats.labels import read_case_labels
from smiler.formats.volumes import read_ct

AIR_HU = -1024


@dataclass
class Overlay:
    """Slices gathered one by one: CT, spacing, case and number, and a bit field for each column."""

    rows: dict[str, list[NDArray[np.generic]]] = field(default_factory=dict)
    facts: dict[str, list[object]] = field(default_factory=lambda: {"case": [], "z": [], "spacing": []})

    def add(self, case: str, z: int, spacing: tuple[float, ...], hu: Any, volumes: Mapping[str, Any]) -> None:
        """Add slice z of a CT (z, y, x) in HU with spacing (y, x) in mm, and of bit fields of the same shape."""
        for name, volume in {"hu": hu, **volumes}.items():
            self.rows.setdefault(name, []).append(volume[z])
        for name, value in (("case", case), ("z", z), ("spacing", spacing)):
            self.facts[name].append(value)

    def save(self, path: Path) -> None:
        """Write what a report reads as `overlays.npz` or `rounds.npz`."""
        largest = np.max([plane.shape for plane in self.rows["hu"]], axis=0)
        arrays: dict[str, Any] = {}
        for name, planes in self.rows.items():
            around = AIR_HU if name == "hu" else 0
            arrays[name] = np.stack([_padded(plane, largest, around) for plane in planes])
        arrays |= {name: np.asarray(values) for name, values in self.facts.items()}
        packed = io.BytesIO()
        np.savez_compressed(packed, **arrays)
        with replacing(path) as temporary:
            temporary.write_bytes(packed.getvalue())


def _padded(plane: NDArray[np.generic], size: NDArray[np.int64], around: int) -> NDArray[np.generic]:
    return np.pad(
        plane, [(0, int(n) - have) for n, have in zip(size, plane.shape, strict=True)], constant_values=around
    )


def save_overlays(path: Path, truth: Truth, trials: Mapping[str, TrialFolder]) -> None:
    """Two slices each of the first test cases: `hu`, `spacing`, `case`, `z`, bit fields for truth and for each arm."""
    overlay = Overlay()
    for case in truth.cohort.cases[:SHOWN]:
        ct = read_ct(truth.cohort.image_path(case))
        drawn = read_case_labels(truth.cohort, case, ct.geometry).drawn
        volumes = {"truth": drawn, **{arm: trial.shown(case.id) for arm, trial in trials.items()}}
        for z in _telling_slices(drawn, len(truth.cohort.organs)):
            overlay.add(case.id, z, ct.geometry.spacing[1:], ct.hu, volumes)
    overlay.save(path)


def _telling_slices(drawn: NDArray[np.int32], organs: int) -> tuple[int, ...]:
    """The slice with most organs, and the one with most of them among slices at least a fifth of the volume away."""
    counts = np.array([sum(bool((plane >> k & 1).any()) for k in range(organs)) for plane in drawn])
    first = int(counts.argmax())
    far = np.abs(np.arange(len(counts)) - first) >= len(counts) // 5
    return first, int(np.where(far, counts, -1).argmax())
