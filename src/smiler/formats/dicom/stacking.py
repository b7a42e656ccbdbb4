"""Masks that may overlap as one array of small codes: which labels a code stands for is said beside it."""

import numpy as np
from numpy.typing import NDArray

from smiler.domain.errors import BadInput


class Stacker:
    """`codes` uint16 (z, y, x); `meaning[code]` are the labels that the voxel has, `meaning[0]` none.

    `unusable`: labels whose masks can't be used, and why. `notes`: what was left out of the others.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.codes: NDArray[np.uint16] = np.zeros(shape, dtype=np.uint16)
        self.meaning: list[tuple[int, ...]] = [()]
        self.unusable: dict[int, str] = {}
        self.notes: list[str] = []

    def add(self, label: int, mask: NDArray[np.bool_]) -> None:
        """Add a label's mask (z, y, x)."""
        for code in np.unique(self.codes[mask]).tolist():
            if len(self.meaning) > np.iinfo(np.uint16).max:
                raise BadInput("too many combinations of overlapping masks", where=f"label {label}")
            self.codes[mask & (self.codes == code)] = len(self.meaning)
            self.meaning.append((*self.meaning[code], label))

    def refuse(self, label: int, error: BadInput) -> None:
        """Leave a label out: one bad mask costs that mask."""
        self.unusable[label] = error.what + (f" ({error.got})" if error.got else "")

    def refuse_unless_any(self, drawn: int, error: BadInput | None) -> None:
        """Raise the error where none of the labels that are drawn can be used: then the whole object can't."""
        if error is not None and len(self.unusable) >= drawn:
            raise error
