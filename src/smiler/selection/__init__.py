"""Which predictions are safe enough to be learned from."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from smiler.selection.rules import mc_dropout, score

Rule = Callable[[NDArray[np.float16], NDArray[np.float16] | None], NDArray[np.float32]]

RULES: dict[str, Rule] = {"score": score, "mc_dropout": mc_dropout}
NEEDS_SPREAD = frozenset({"mc_dropout"})
