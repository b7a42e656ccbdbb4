"""Masks that may overlap as one array of small codes: which labels a code stands for is said beside it."""

import numpy as np
from numpy.typing import NDArray

from smiler.domain.errors import BadInput


class Stacker:
    """`codes` uint16 (z, y, x); `meaning[code]` are the labels that the voxel has, `meaning[0]` none."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.codes: NDArray[np.uint16] = np.zeros(shape, dtype=np.uint16)
        self.meaning: list[tuple[int, ...]] = [()]

    def add(self, label: int, mask: NDArray[np.bool_]) -> None:
        """Add a label's mask (z, y, x)."""
        for code in np.unique(self.codes[mask]).tolist():
            if len(self.meaning) > np.iinfo(np.uint16).max:
                raise BadInput("too many combinations of overlapping masks", where=f"label {label}")
            self.codes[mask & (self.codes == code)] = len(self.meaning)
            self.meaning.append((*self.meaning[code], label))
