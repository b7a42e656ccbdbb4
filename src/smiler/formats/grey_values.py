"""Whether the numbers of a CT are HU: air, fat and soft tissue lie where HU have them, however it is cut or padded."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smiler.domain.errors import BadInput
from smiler.formats.nifti import ReadOptions

FEWEST_VOXELS = 2000
"""Fewer say too little."""
MOST_VOXELS = 1 << 19
"""About so many of a volume are looked at, evenly spread."""
SOFT, BODY, AIR, BETWEEN = (-200, 250), (-300, 32767), (-1100, -500), (-900, -250)
"""HU of soft tissue; of all that is neither air nor lung; of air; of lung and of the edges between air and tissue."""
RAISED = (SOFT[0] + 1024, SOFT[1] + 1024)
"""Where soft tissue lies in DICOM's stored numbers, which are most often HU + 1024; in HU, dense bone alone."""
LEAST_SPREAD, BELOW_ZERO, BELOW_AIR = 100, -20, -1101
_SIZE, _ZERO = 1 << 16, 1 << 15


@dataclass(frozen=True)
class GreyValues:
    """How often each value occurs among the voxels that were looked at: `counts` of -32768 to 32767."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_SIZE, dtype=np.int64))

    @classmethod
    def of(cls, hu: NDArray[np.int16]) -> "GreyValues":
        """Of a volume (z, y, x)."""
        seen = cls()
        seen.add(hu)
        return seen

    def add(self, values: NDArray[Any]) -> None:
        """Look at some voxels of a block (three axes) of whole numbers that int16 holds."""
        step = max(1, int(np.ceil((values.size / MOST_VOXELS) ** (1 / values.ndim))))
        some = values[(slice(None, None, step),) * values.ndim]
        np.add(self.counts, np.bincount(some.ravel().astype(np.int64) + _ZERO, minlength=_SIZE), out=self.counts)

    @property
    def total(self) -> int:
        """Voxels that were looked at."""
        return int(self.counts.sum())

    @property
    def seen(self) -> str:
        """The range of their values."""
        there = np.flatnonzero(self.counts) - _ZERO
        return f"values from {there[0]} to {there[-1]}"

    @property
    def fault(self) -> str:
        """Why they can't be HU; empty where they can. Metal, contrast and padding of any value are no reason."""
        if self.total < FEWEST_VOXELS:
            return ""
        low, high = self._percentile(0.001), self._percentile(0.999)
        if high - low < LEAST_SPREAD:
            return f"nearly all lie within {low} to {high}"
        if self._share(-_ZERO, BELOW_ZERO) < 0.0005:
            return "none lies below 0, where fat and air are"
        return self._without_padding._odd

    @property
    def convincing(self) -> bool:
        """Whether a part of a volume shows already that it is in HU: nothing is odd, and there is air."""
        return self.total >= FEWEST_VOXELS and self._share(*AIR) > 0.01 and not self.fault

    def notes(self, reading: ReadOptions, where: str) -> tuple[str, ...]:
        """What must be known of them; BadInput if they can't be HU, unless any values may be read."""
        if not (fault := self.fault):
            return ()
        if reading.grey_values == "any":
            return (f"the grey values are not HU ({self.seen}; {fault}) and are used as they are",)
        raise BadInput(
            "the grey values are not HU",
            where=where,
            got=f"{self.seen}; {fault}",
            do="convert it to HU (air near -1000, soft tissue from -100 to 200), or take it as it is with reading."
            "grey_values = any (predict, relabel, evaluate: --any-grey-values); for MR, train with "
            "data.normalisation = zscore",
        )

    @property
    def _without_padding(self) -> "GreyValues":
        """Without the two most frequent values up to 0, where that is no accident: constant air, and padding."""
        counts, often = self.counts.copy(), np.argsort(self.counts)[-2:]
        counts[often[(counts[often] > 0.1 * self.total) & (often <= _ZERO)]] = 0
        return GreyValues(counts) if counts.any() else self

    @property
    def _odd(self) -> str:
        if self._raised:
            return "most tissue lies near 1024 instead of near 0"
        if self._share(*SOFT) < max(0.005, 0.2 * self._share(*BODY)):
            return "hardly any lies where soft tissue is"
        return "many lie below air" if self._share(-_ZERO, BELOW_AIR) > 0.1 else ""

    @property
    def _raised(self) -> bool:
        """Much tissue where only dense bone should be; less is enough where nothing lies between air and tissue."""
        ratio = self._share(*RAISED) / max(self._share(*SOFT), 1e-9)
        return ratio > 0.5 or (ratio > 0.12 and self._share(*BETWEEN) < 0.002)

    def _share(self, first: int, last: int) -> float:
        return float(self.counts[first + _ZERO : last + _ZERO + 1].sum()) / max(self.total, 1)

    def _percentile(self, share: float) -> int:
        return int(np.searchsorted(np.cumsum(self.counts), share * self.total)) - _ZERO
