"""What stored numbers become: whole HU or labels, slab by slab, with what had to be changed counted."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from smiler.domain.errors import BadInput
from smiler.formats.nifti_header import Header

AIR_HU = -1024
WHOLE_WITHIN = 1e-6
LARGEST_LABEL = 65535


@dataclass
class ToHU:
    """Stored numbers to int16 HU: scaled, rounded, clipped; NaN and Inf counted and set to -1024 HU."""

    header: Header
    nonfinite: int = 0
    clipped: int = 0
    rounded: int = 0

    def __call__(self, slab: NDArray[Any]) -> NDArray[Any]:
        """Any shape; the result can be stored as int16."""
        if self.header.scaling is None and np.can_cast(slab.dtype, np.int16):
            return slab
        values = scaled(slab, self.header)
        finite = np.isfinite(values)
        bad = values.size - int(np.count_nonzero(finite))
        if bad:
            self.nonfinite += bad
            values[~finite] = AIR_HU
        whole = np.rint(values)
        self.rounded += int(np.count_nonzero(np.abs(whole - values) > 1e-3))
        np.clip(whole, -32768, 32767, out=values)
        self.clipped += int(np.count_nonzero(whole != values))
        return values.astype(np.int16)

    def notes(self, nonfinite: Literal["refuse", "clamp"], where: str) -> tuple[str, ...]:
        """What was changed; BadInput for NaN and Inf unless they may be clamped."""
        if self.nonfinite and nonfinite == "refuse":
            raise BadInput(
                "voxels are NaN or infinite",
                where=where,
                got=f"{self.nonfinite} of them",
                do=f"mend the volume, or set nonfinite = clamp to make them {AIR_HU} HU",
            )
        told = (
            (self.nonfinite, f"NaN or infinite voxels set to {AIR_HU} HU"),
            (self.clipped, "voxels clipped to what int16 holds, -32768 to 32767 HU"),
            (self.rounded, "voxels rounded to whole HU"),
        )
        return tuple(f"{count} {what}" for count, what in told if count)


@dataclass(frozen=True)
class ToLabels:
    """Stored numbers to labels 0 to 65535; BadInput for a value that is not a whole number or out of range."""

    header: Header
    where: str

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Smallest type that holds every label the file can hold."""
        narrow = self.header.scaling is None and self.header.dtype.kind in "iu" and self.header.dtype.itemsize == 1
        return np.uint8 if narrow else np.uint16

    def __call__(self, slab: NDArray[Any]) -> NDArray[Any]:
        """Any shape; the result can be stored as `dtype`."""
        if self.header.scaling is None and slab.dtype.kind in "iu":
            self._refuse(slab, (slab < 0) | (slab > LARGEST_LABEL), "a label is not in 0 to 65535")
            return slab
        values = scaled(slab, self.header)
        whole = np.rint(values)
        with np.errstate(invalid="ignore"):
            self._refuse(values, ~(np.abs(whole - values) <= WHOLE_WITHIN), "a label is not a whole number")
        self._refuse(values, (whole < 0) | (whole > LARGEST_LABEL), "a label is not in 0 to 65535")
        return whole

    def _refuse(self, values: NDArray[Any], bad: NDArray[np.bool_], what: str) -> None:
        if bad.any():
            raise BadInput(
                what, where=self.where, got=f"{values[bad].flat[0]:.7g}", do="write the mask as whole numbers"
            )


def scaled(slab: NDArray[Any], header: Header) -> NDArray[np.float64]:
    """A new float64 array of the values that the stored numbers mean."""
    with np.errstate(all="ignore"):  # signalling NaN, overflow: what is not finite is counted or refused by the caller
        values = slab.astype(np.float64)
        if header.scaling is not None:
            slope, inter = header.scaling
            values *= slope
            values += inter
    return values
