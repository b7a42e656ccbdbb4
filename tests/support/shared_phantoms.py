"""What the fixture `phantoms` gives: small cohorts of complete phantoms, without generating them again."""

from collections.abc import Callable
from pathlib import Path

from smiler.domain.cohort import Cohort

Phantoms = Callable[[Path, int], Cohort]
"""(folder, cases) -> the first of MOST phantoms of 8x32x32 voxels, copied into the folder."""
MOST = 12
