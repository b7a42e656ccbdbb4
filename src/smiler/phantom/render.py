"""From tissue to Hounsfield units: contrast phase, texture, blur and noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from smiler.phantom.arrays import FloatArray, LabelArray
from smiler.phantom.case import PhantomOptions
from smiler.phantom.fields import grain
from smiler.phantom.patient import Patient
from smiler.phantom.reference import REFERENCE
from smiler.phantom.tissue import Tissue

# HU and its sd inside the tissue, for tissues that contrast medium does not reach.
PLAIN: dict[Tissue, tuple[float, float]] = {
    Tissue.AIR: (-1000, 0), Tissue.TABLE_FOAM: (-920, 5), Tissue.TABLE_SHELL: (80, 20),
    Tissue.SKIN: (-20, 15), Tissue.FAT: (-104, 8), Tissue.MUSCLE: (54, 14),
    Tissue.BONE_CORTEX: (420, 120), Tissue.BONE_MARROW: (180, 50), Tissue.DISC: (85, 15),
    Tissue.CANAL: (30, 10), Tissue.LUNG: (-850, 45), Tissue.FREE: (-98, 14),
    Tissue.ORGAN_FAT: (-96, 12), Tissue.STOMACH_GAS: (-930, 10), Tissue.BOWEL_FLUID: (30, 18),
    Tissue.BOWEL_CONTRAST: (230, 50), Tissue.BOWEL_GAS: (-900, 25), Tissue.STOOL: (25, 70),
    Tissue.URINE: (15, 10), Tissue.OESOPHAGUS: (55, 12),
}  # fmt: skip

# Offset from the pancreas's HU, and sd inside, of tissues that enhance about as it does.
LIKE_PANCREAS: dict[Tissue, tuple[float, float]] = {
    Tissue.STOMACH_WALL: (0, 14), Tissue.BOWEL_WALL: (4, 14), Tissue.ADRENAL: (-5, 8),
}  # fmt: skip

PHASE_CORRELATION = 0.85
LOWEST_SOFT_TISSUE_HU = 12.0
CONTRAST_DRINKERS = 0.25


@dataclass(frozen=True)
class GreyValues:
    """Mean HU and sd inside, both float32 indexed by Tissue, of one patient."""

    mean: FloatArray
    inside_sd: FloatArray


def drinks_contrast(rng: np.random.Generator) -> bool:
    """Whether the patient drank oral contrast medium before the scan."""
    return bool(rng.random() < CONTRAST_DRINKERS)


def draw_grey_values(rng: np.random.Generator, patient: Patient, contrast: bool) -> GreyValues:
    """Sample every tissue's HU; enhancing organs rise and fall together with the phase."""
    mean, inside = np.zeros(len(Tissue), np.float32), np.zeros(len(Tissue), np.float32)
    for tissue, (hu, sd) in PLAIN.items():
        mean[tissue], inside[tissue] = hu + rng.normal(0, 3) * (tissue > Tissue.AIR), sd
    liver, aorta = _organ_hu(rng, "liver", patient), _organ_hu(rng, "aorta", patient)
    pancreas, kidney = _organ_hu(rng, "pancreas", patient), _organ_hu(rng, "kidney_right", patient)
    for tissue, (offset, sd) in LIKE_PANCREAS.items():
        mean[tissue], inside[tissue] = pancreas + offset + rng.normal(0, 8), sd
    cortex = 16 + 8 * patient.phase
    vein = 0.5 * (liver + aorta) + 12
    drawn = {
        Tissue.LIVER: (liver, 8), Tissue.LIVER_VESSEL: (liver + 12 + 10 * patient.phase, 8),
        Tissue.TUMOR: (liver - rng.uniform(15, 60), 14), Tissue.PANCREAS: (pancreas, 13),
        Tissue.SPLEEN: (_organ_hu(rng, "spleen", patient), 8), Tissue.ARTERY: (aorta, 10),
        Tissue.KIDNEY_CORTEX: (kidney + cortex, 12), Tissue.VEIN: (vein, 10),
        Tissue.KIDNEY_MEDULLA: (kidney - 1.3 * cortex, 12), Tissue.HEART: (aorta - 15, 14),
        Tissue.GALLBLADDER: (max(rng.normal(26, 22), -5), 8),
        Tissue.STOMACH_CONTENT: _meal(rng, contrast),
    }  # fmt: skip
    for tissue, (hu, sd) in drawn.items():
        mean[tissue], inside[tissue] = hu, sd
    return GreyValues(mean, inside)


def _meal(rng: np.random.Generator, contrast: bool) -> tuple[float, float]:
    """HU and sd inside of what the stomach holds: water, food or contrast medium."""
    if contrast:
        return float(rng.uniform(90, 320)), 35.0
    return float(np.clip(rng.normal(26, 15), 2, 60)), float(rng.uniform(6, 28))


def _organ_hu(rng: np.random.Generator, key: str, patient: Patient) -> float:
    organ = REFERENCE[key]
    own = np.sqrt(1 - PHASE_CORRELATION**2) * np.clip(rng.normal(), -2, 2)
    hu = organ.hu + organ.hu_sd * (PHASE_CORRELATION * patient.phase + own)
    return max(float(hu), LOWEST_SOFT_TISSUE_HU)


def add_gas_level(rng: np.random.Generator, labels: LabelArray) -> None:
    """Let gas rise to the front of the stomach, as it does when the patient lies on the back."""
    content = np.argwhere(labels == Tissue.STOMACH_CONTENT)
    share = rng.uniform(0.003, 0.02)
    if len(content) < 50 or rng.random() < 0.35:
        return
    level = np.quantile(content[:, 1], share)
    gas = content[content[:, 1] <= level]
    labels[tuple(gas.T)] = Tissue.STOMACH_GAS


def render(
    rng: np.random.Generator, labels: LabelArray, grey: GreyValues, options: PhantomOptions
) -> NDArray[np.int16]:
    """The CT volume, int16 (z, y, x), HU clipped to [-1024, 1500]."""
    shape = options.shape
    fine = grain(rng, shape, (0.5, 1.3, 1.3))
    hu = grey.mean[labels] + grey.inside_sd[labels] * fine
    sharpness = rng.uniform(0.45, 0.75)
    hu = ndimage.gaussian_filter(hu, (0.35, sharpness, sharpness), truncate=3.0)
    noise = grain(rng, shape, (0.0, 0.55, 0.55)) * np.float32(rng.uniform(0.7, 1.4))
    hu += noise * np.float32(options.noise_hu)
    return np.clip(np.rint(hu), -1024, 1500).astype(np.int16)
