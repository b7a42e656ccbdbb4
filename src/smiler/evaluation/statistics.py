"""Statistics: how sure a mean or a difference between two arms is, over patients.

Two arms are compared on the same patients: mean difference with a bootstrap interval over patients, a two-sided
Wilcoxon signed-rank test, and Holm's correction over all tests of a table. One value per patient goes in: average
over a patient's scans first, because scans of one patient aren't independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.stats

from smiler.domain.errors import BadInput

Vector: TypeAlias = npt.NDArray[np.float64]
Values: TypeAlias = Sequence[float] | Vector

PERCENTILES = (2.5, 97.5)
"""Bounds of a 95 % percentile interval."""

BLOCK = 1 << 20
"""Values drawn at once by the bootstrap: about 16 MB however many patients and draws there are."""

DECIMALS = 12
"""Differences are rounded to this before they are ranked, so that 0.3 - 0.2 ties with 0.2 - 0.1."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval, in the unit of the values, and the number of patients behind it."""

    mean: float
    low: float
    high: float
    n: int

    def __post_init__(self) -> None:
        if self.n < 1 or not np.isfinite([self.mean, self.low, self.high]).all() or self.low > self.high:
            raise BadInput(
                "an interval needs finite bounds in order and at least one value",
                where="Interval",
                got=f"mean {self.mean}, low {self.low}, high {self.high}, n {self.n}",
                do="build it with bootstrap_mean or paired_difference",
            )


def bootstrap_mean(values: Values, draws: int = 10_000, seed: int = 0) -> Interval:
    """Mean of values (n,), one per patient, with a 95 % percentile bootstrap interval over patients.

    With n = 1 nothing can be said about the spread: low = high = mean, and n says so. Bounds of few patients are too
    narrow (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). The same values and seed give
    the same interval. Raises BadInput when there are no values, some aren't finite, or draws < 1.
    """
    vector = _vector("values", values)
    mean = float(vector.mean())
    if vector.size == 1:
        return Interval(mean, mean, mean, n=1)
    low, high = np.percentile(_resampled_means(vector, draws, seed), PERCENTILES)
    return Interval(mean, float(low), float(high), n=vector.size)


def paired_difference(a: Values, b: Values, draws: int = 10_000, seed: int = 0) -> Interval:
    """Mean of a - b over patients, with its patient bootstrap interval; a[i] and b[i] (n,) are the same patient's.

    Raises BadInput when the lengths differ, and like `bootstrap_mean`.
    """
    return bootstrap_mean(_differences(a, b), draws, seed)


def wilcoxon(a: Values, b: Values) -> float:
    """Two-sided p value of the Wilcoxon signed-rank test on paired values (n,); 1 when no pair differs.

    Patients without a difference are dropped (Wilcoxon, Biometrics Bulletin 1(6), 1945). SciPy chooses the
    null distribution: exact for up to 50 patients without ties, else the normal approximation (with ties and up to 13
    patients, every assignment of signs). Raises BadInput when the lengths differ, nothing is given, or a value isn't
    finite.
    """
    differences = np.round(_differences(a, b), DECIMALS)
    differing = differences[differences != 0]
    if not differing.size:
        return 1.0
    return float(scipy.stats.wilcoxon(differing).pvalue)


def holm(p_values: Values) -> list[float]:
    """Adjusted p values in the order given: reject where one is <= alpha, and the family-wise error stays <= alpha.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2), 1979.
    Raises BadInput when there are none or one lies outside [0, 1].
    """
    p = _vector("p_values", p_values)
    if p.min() < 0 or p.max() > 1:
        raise BadInput("a p value lies in [0, 1]", where="p_values", got=str(p.tolist()), do="pass the tests' p values")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]


def _resampled_means(vector: Vector, draws: int, seed: int) -> Vector:
    """Means (draws,) of samples with replacement from values (n,), drawn in blocks of bounded size."""
    if draws < 1:
        raise BadInput("a bootstrap needs at least one draw", where="draws", got=str(draws), do="10,000 is usual")
    generator = np.random.default_rng(seed)
    rows = max(1, BLOCK // vector.size)
    means = np.empty(draws)
    for start in range(0, draws, rows):
        block = means[start : start + rows]
        picks = generator.integers(0, vector.size, size=(block.size, vector.size))
        block[:] = vector[picks].mean(axis=1)
    return means


def _differences(a: Values, b: Values) -> Vector:
    left, right = _vector("a", a), _vector("b", b)
    if left.size != right.size:
        raise BadInput(
            "paired values need the same patients on both sides",
            where="a, b",
            got=f"{left.size} and {right.size} values",
            do="keep the patients that both arms scored, in one order",
        )
    return left - right


def _vector(name: str, values: Values) -> Vector:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
        raise BadInput(
            "statistics need a list of one or more finite numbers",
            where=name,
            got=f"shape {vector.shape}, {np.count_nonzero(~np.isfinite(vector))} of them not finite",
            do="leave out the patients that weren't scored, and report n",
        )
    return vector
