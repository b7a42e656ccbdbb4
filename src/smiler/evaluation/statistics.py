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

BLOCK = 1 << 20
"""Values drawn at once by the bootstrap: about 16 MB however many patients and draws there are."""

DECIMALS = 12
"""Differences are rounded to this before they are ranked, so that 0.3 - 0.2 ties with 0.2 - 0.1, and values that agree
to this are all equal."""

FEW = 20
"""Below this many patients a 95 % interval holds the truth less often than it says (decision 25)."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval, in the unit of the values, and the number of patients behind it.

    With n = 1 nothing can be said about the spread: `low` and `high` are None, and only then.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    def __post_init__(self) -> None:
        if not self._valid():
            raise BadInput(
                "an interval needs finite bounds in order and at least one value; one value alone has no bounds",
                where="Interval",
                got=f"mean {self.mean}, low {self.low}, high {self.high}, n {self.n}",
                do="build it with bootstrap_mean or paired_difference",
            )

    @property
    def bounds(self) -> tuple[float, float] | None:
        """low and high; None with n = 1."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def scaled(self, factor: float) -> "Interval":
        """The same in another unit, such as points for shares; `factor` is positive."""
        low, high = (None if bound is None else factor * bound for bound in (self.low, self.high))
        return Interval(factor * self.mean, low, high, self.n)

    def _valid(self) -> bool:
        if self.n < 1 or not np.isfinite(self.mean):
            return False
        if self.bounds is None:
            return self.n == 1 and self.low is None and self.high is None
        low, high = self.bounds
        return self.n > 1 and bool(np.isfinite([low, high]).all()) and low <= high


def bootstrap_mean(values: Values, draws: int = 10_000, seed: int = 0) -> Interval:
    """Mean of values (n,), one per patient, with a 95 % bootstrap interval over patients (BCa).

    BCa moves the percentiles for the skew of the values (Efron, "Better bootstrap confidence intervals", Journal of the
    American Statistical Association 82(397), 1987). With n = 1 there is no interval; values that are all equal have an
    interval without width, and n says on how many patients it rests. The same values and seed give the same interval.
    Raises BadInput when there are no values, some aren't finite, or draws < 1.
    """
    vector = _vector("values", values)
    if draws < 1:
        raise BadInput("a bootstrap needs at least one draw", where="draws", got=str(draws), do="10,000 is usual")
    mean = float(vector.mean())
    if vector.size == 1:
        return Interval(mean, None, None, n=1)
    if np.ptp(np.round(vector, DECIMALS)) == 0:
        return Interval(mean, mean, mean, n=vector.size)
    result = scipy.stats.bootstrap(
        (vector,),
        np.mean,
        n_resamples=draws,
        batch=max(1, BLOCK // vector.size),
        vectorized=True,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    return Interval(mean, float(low), float(high), n=vector.size)


def paired_difference(a: Values, b: Values, draws: int = 10_000, seed: int = 0) -> Interval:
    """Mean of a - b over patients, with the bootstrap interval of these differences; a[i], b[i] (n,): one patient's.

    Raises BadInput when the lengths differ, and like `bootstrap_mean`.
    """
    return bootstrap_mean(_differences(a, b), draws, seed)


def wilcoxon(a: Values, b: Values) -> float | None:
    """Two-sided p value of the Wilcoxon signed-rank test on paired values (n,); 1 when no pair differs.

    None with n = 1: one patient can't speak against chance.

    Patients without a difference are dropped (Wilcoxon, Biometrics Bulletin 1(6), 1945). SciPy chooses the
    null distribution: exact for up to 50 patients without ties, else the normal approximation (with ties and up to 13
    patients, every assignment of signs). Raises BadInput when the lengths differ, nothing is given, or a value isn't
    finite.
    """
    differences = np.round(_differences(a, b), DECIMALS)
    if differences.size == 1:
        return None
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


def holm_of(p_values: Sequence[float | None]) -> list[float | None]:
    """`holm` over the tests that have a p value; the others, of one patient each, are no tests and stay None."""
    known = [p for p in p_values if p is not None]
    adjusted = iter(holm(known) if known else [])
    return [None if p is None else next(adjusted) for p in p_values]


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
