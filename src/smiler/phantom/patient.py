"""One patient's draw: size, fat, contrast phase, organ volumes and what is missing."""

from dataclasses import dataclass

import numpy as np

from smiler.phantom.arrays import Point
from smiler.phantom.reference import REFERENCE

# Probability that a patient lacks the organ; the liver, stomach, pancreas and aorta always exist.
ABSENCE: dict[str, float] = {
    "gallbladder": 0.2,
    "spleen": 0.04,
    "kidney_right": 0.03,
    "kidney_left": 0.03,
    "liver_tumor": 0.5,
}


@dataclass(frozen=True)
class Patient:
    """Everything about a patient that is one number.

    scale: size relative to the reference anatomy, (z, y, x).
    fat_mm: thickness of the subcutaneous fat at the flank.
    visceral: 0 = lean, 1 = average, 2 = obese abdomen.
    phase: contrast enhancement, about -1.8 (none) to 1.8 (strong), mean 0.
    bottom_mm, top_mm: the scanned range in the reference anatomy (0 = lowest liver slice).
    """

    scale: Point
    fat_mm: float
    visceral: float
    phase: float
    bottom_mm: float
    top_mm: float
    volumes_ml: dict[str, float]
    absent: frozenset[str]


def draw_patient(rng: np.random.Generator) -> Patient:
    """Sample a patient; tall patients have larger organs, obese ones wider gaps."""
    size = float(np.clip(rng.normal(1.0, 0.04), 0.91, 1.09))
    z, y, x = np.clip(rng.normal(size, 0.03, 3), 0.9, [1.11, 1.11, 1.07])
    obesity = float(np.clip(rng.normal(), -1.7, 1.7))
    return Patient(
        scale=(float(z), float(y), float(x)),
        fat_mm=float(min(18 * np.exp(0.4 * obesity) * rng.uniform(0.8, 1.25), 34)),
        visceral=float(np.clip(1 + 0.5 * obesity + rng.normal(0, 0.2), 0, 2)),
        phase=float(np.clip(rng.normal(), -1.8, 1.8)),
        bottom_mm=float(rng.uniform(-50, -26)),
        top_mm=float(rng.uniform(204, 224)),
        volumes_ml={key: _draw_volume(rng, key, size) for key in REFERENCE},
        absent=frozenset(key for key, p in ABSENCE.items() if rng.random() < p),
    )


def _draw_volume(rng: np.random.Generator, key: str, size: float) -> float:
    """Log-normal with the measured mean and sd in ml, following the patient's size."""
    organ = REFERENCE[key]
    variance = np.log1p((organ.volume_sd_ml / organ.volume_ml) ** 2)
    draw = np.clip(rng.normal(), -1.8, 1.8)
    return float(organ.volume_ml * size**2 * np.exp(np.sqrt(variance) * draw - variance / 2))
