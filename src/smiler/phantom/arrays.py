"""Names for the array types that the phantom's modules hand to each other."""

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.uint8]

Point = tuple[float, float, float]  # (z, y, x) in mm
Window = tuple[slice, slice, slice]  # (z, y, x) part of a volume
