"""How far an uncertainty can be trusted: reliability of probabilities, and what is wrong among the surest.

Both are gathered case by case into small tables, so that any number of volumes fits.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 10
COVERAGES = tuple(round(0.1 * i, 1) for i in range(1, 11))
SEEN = 0.05


@dataclass
class Reliability:
    """Voxels by the probability they were given: how many, their mean probability, and how many are the organ.

    Counted are voxels with a probability of at least 0.05 or that belong to the organ: the endless certain background
    would hide everything else. Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning".
    """

    count: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    told: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    true: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))

    def add(self, probability: NDArray[np.floating], truth: NDArray[np.bool_]) -> None:
        """Add voxels, arrays of one shape."""
        counted = (probability >= SEEN) | truth
        p, t = probability[counted].astype(np.float64), truth[counted]
        place = np.minimum((p * BINS).astype(np.int64), BINS - 1)
        self.count += np.bincount(place, minlength=BINS)
        self.told += np.bincount(place, weights=p, minlength=BINS)
        self.true += np.bincount(place, weights=t, minlength=BINS)

    @property
    def expected_error(self) -> float | None:
        """Expected calibration error, 0 to 1: mean over voxels of |probability - frequency| of their bin."""
        total = self.count.sum()
        return float(np.abs(self.told - self.true).sum() / total) if total else None

    def to_json(self) -> dict[str, Any]:
        """Per bin: voxels, mean probability, frequency (None where there is no voxel)."""
        rows = zip(self.count, self.told, self.true, strict=True)
        table = [[int(n), p / n if n else None, t / n if n else None] for n, p, t in rows]
        return {"bins": table, "ece": self.expected_error}


@dataclass
class RiskCoverage:
    """Of an organ's predicted voxels, the share that is wrong among the safest 10, 20, ..., 100 % of each volume.

    El-Yaniv and Wiener 2010, "On the Foundations of Noise-free Selective Classification".
    """

    accepted: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(COVERAGES)))
    wrong: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(COVERAGES)))

    def add(self, rank: NDArray[np.floating], truth: NDArray[np.bool_]) -> None:
        """Add one volume's predicted voxels (n,): rank (higher is safer), and whether each is right."""
        order = np.argsort(-rank.astype(np.float64), kind="stable")
        wrong = np.concatenate([[0], np.cumsum(~truth[order])])
        counts = np.rint(np.asarray(COVERAGES) * len(rank)).astype(np.int64)
        self.accepted += counts
        self.wrong += wrong[counts]

    @property
    def area(self) -> float | None:
        """Mean risk over the coverages: lower is better."""
        return float(np.mean(self.wrong / self.accepted)) if self.accepted.all() else None

    def to_json(self) -> dict[str, Any]:
        """Risk at each coverage, and their mean."""
        pairs = zip(self.wrong, self.accepted, strict=True)
        return {"risk": [w / n if n else None for w, n in pairs], "area": self.area}
