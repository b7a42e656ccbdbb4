"""What a phantom is: its organs, its options and one finished case, each valid if it exists."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smiler.phantom.arrays import BoolArray

SMALLEST_SHAPE = (8, 32, 32)


@dataclass(frozen=True)
class PhantomOrgan:
    """An organ's key and, where it is a part of another organ, that organ's key."""

    key: str
    part_of: str | None = None


ORGANS: tuple[PhantomOrgan, ...] = (
    PhantomOrgan("liver"),
    PhantomOrgan("stomach"),
    PhantomOrgan("pancreas"),
    PhantomOrgan("spleen"),
    PhantomOrgan("kidney_right"),
    PhantomOrgan("kidney_left"),
    PhantomOrgan("gallbladder"),
    PhantomOrgan("aorta"),
    PhantomOrgan("liver_tumor", part_of="liver"),
)


@dataclass(frozen=True)
class PhantomOptions:
    """The few things worth choosing; everything else varies from patient to patient.

    shape: voxels along (z, y, x). The field of view in mm does not depend on it.
    noise_hu: standard deviation of the scanner's noise in HU, before each patient's own factor.
    deformation_mm: standard deviation of the smooth random displacement of the organs in mm.
    """

    shape: tuple[int, int, int] = (40, 128, 128)
    noise_hu: float = 9.0
    deformation_mm: float = 4.0

    def __post_init__(self) -> None:
        too_small = any(n < least for n, least in zip(self.shape, SMALLEST_SHAPE, strict=True))
        if too_small:
            raise ValueError(
                f"PhantomOptions.shape: got {self.shape}, need at least {SMALLEST_SHAPE} (z, y, x)"
                " so that every organ has a voxel; ask for a larger shape"
            )
        for name in ("noise_hu", "deformation_mm"):
            value = getattr(self, name)
            if not 0.0 <= value <= 20.0:
                raise ValueError(f"PhantomOptions.{name}: got {value}, need 0 to 20; choose a value in between")


@dataclass(frozen=True)
class PhantomCase:
    """One synthetic CT volume and the complete truth about it.

    hu: int16 (z, y, x), Hounsfield units; z runs from the feet up, y from anterior to
        posterior, x from the patient's right to the left.
    masks: a bool (z, y, x) array per key of ORGANS. The liver's mask contains its tumour's;
        all other organs share no voxel.
    spacing: voxel size in mm, (z, y, x).
    absent: keys of the organs that this patient does not have: exactly the empty masks.
    """

    hu: NDArray[np.int16]
    masks: dict[str, BoolArray]
    spacing: tuple[float, float, float]
    absent: frozenset[str]

    def __post_init__(self) -> None:
        keys = {organ.key for organ in ORGANS}
        if set(self.masks) != keys:
            raise ValueError(
                f"PhantomCase.masks: got {sorted(self.masks)}, need exactly {sorted(keys)};"
                " give an absent organ an empty mask"
            )
        empty = frozenset(key for key, mask in self.masks.items() if not mask.any())
        if empty != self.absent:
            raise ValueError(
                f"PhantomCase.absent: got {sorted(self.absent)}, but the empty masks are"
                f" {sorted(empty)}; name exactly the organs without a voxel"
            )
        self._check_exclusion()

    def _check_exclusion(self) -> None:
        wholes = [organ.key for organ in ORGANS if organ.part_of is None]
        owners = np.sum([self.masks[key] for key in wholes], axis=0, dtype=np.uint8)
        if owners.max(initial=0) > 1:
            raise ValueError(
                f"PhantomCase.masks: {int((owners > 1).sum())} voxels belong to two exclusive"
                " organs; give each voxel to one of them"
            )
        for organ in ORGANS:
            if organ.part_of and (self.masks[organ.key] & ~self.masks[organ.part_of]).any():
                raise ValueError(
                    f"PhantomCase.masks: {organ.key} leaves {organ.part_of}; add its voxels to {organ.part_of}"
                )
