"""Grey values of a volume as the network sees them: HU in a window for CT, z-scores for MR."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smiler.domain.errors import BadInput
from smiler.store.options import DataOptions

Z_UNITS, LEAST_SD = 100, 4.0
"""z-scores are stored as hundredths; whole numbers of a smaller spread are too coarse for them."""


@dataclass(frozen=True)
class GreyScale:
    """A map from the numbers of a volume to working values: `(value - mean) * factor`, clipped to `low` and `high`."""

    low: int
    high: int
    mean: float = 0.0
    factor: float = 1.0

    @classmethod
    def of(cls, values: NDArray[np.int16], data: DataOptions, where: str) -> "GreyScale":
        """The map for a volume (z, y, x). z-scores: mean and spread of all that is brighter than the volume's mean.

        The darker part is mostly air, of which there is more or less in the picture.

        Raises:
            BadInput: z-scores of a volume whose numbers hardly differ.
        """
        low, high = data.working_range
        if data.normalisation == "hu":
            return cls(low, high)
        bright = values[values > values.mean()]
        mean, sd = (float(bright.mean()), float(bright.std())) if bright.size else (0.0, 0.0)
        if sd < LEAST_SD:
            raise BadInput(
                "the grey values hardly differ once they are rounded to whole numbers",
                where=where,
                got=f"values from {values.min()} to {values.max()}",
                do="multiply them, so that they fill some hundred whole numbers",
            )
        return cls(low, high, mean, Z_UNITS / sd)

    def __call__(self, values: NDArray[Any]) -> NDArray[np.int16]:
        """Working values, rounded, of a part of the volume (z, y, x), resampled or not."""
        if self.factor != 1 or self.mean:
            values = (values - np.float32(self.mean)) * np.float32(self.factor)
        clipped: NDArray[np.int16]
        if values.dtype == np.int16:
            clipped = np.clip(values, np.int16(self.low), np.int16(self.high))
        else:
            clipped = np.rint(np.clip(values, self.low, self.high)).astype(np.int16)
        return clipped
