"""What a reviewer's minute is worth: expected Dice and minutes of a proposal, learned from what experts decided.

Expected Dice: isotonic regression on the model's agreement with itself (Barlow et al. 1972), over experts' masks that
the model did not learn from and over proposals decided here; each organ's own deviation is added, shrunk where few are
known. Minutes: a start and a share of the area on which the model does not agree, refitted from logged active seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, nnls
from scipy.stats import spearmanr

from smiler.domain.judged import Judged

Values = NDArray[np.float64]
FEWEST = 8
"""Judged proposals below which nothing is calibrated, and agreement is taken as it is."""
FEWEST_TO_DOUBT, LEAST_CORRELATION = 15, 0.3
"""From so many on, a rank correlation below this says that agreement tells nothing: the order is random then."""
START_SECONDS, SECONDS_PER_CM2 = 20.0, 0.1
REDRAW_MINUTES = 10.0
"""Before anything is logged: to look and decide, to redraw what is doubtful, to draw an organ that nothing proposes."""
BELIEF = 5.0
"""How many judged proposals the values above, and the zero deviation of an organ, are worth."""
MOST_SECONDS = 3600.0


@dataclass(frozen=True)
class Gain:
    """What was learned so far."""

    pairs: int = 0
    correlation: float | None = None
    curve: tuple[Values, Values] | None = None
    deviation: Mapping[str, float] = field(default_factory=dict)
    start: float = START_SECONDS
    per_cm2: float = SECONDS_PER_CM2

    @property
    def doubted(self) -> bool:
        """Whether agreement was seen to tell nothing of Dice."""
        enough = self.pairs >= FEWEST_TO_DOUBT
        return enough and (self.correlation is None or self.correlation < LEAST_CORRELATION)

    def dice(self, organ: str, agreement: float) -> float:
        """Expected Dice of a proposal, 0 to 1."""
        if self.curve is None:
            return agreement
        knots, means = self.curve
        value = float(np.interp(agreement, knots, means)) + self.deviation.get(organ, 0.0)
        return min(1.0, max(0.0, value))

    def minutes(self, unsure_cm2: float) -> float:
        """Expected minutes of a decision on a proposal."""
        return (self.start + self.per_cm2 * unsure_cm2) / 60


def learn(judged: Sequence[Judged]) -> Gain:
    """Fit both."""
    start, per_cm2 = _speed(judged)
    if len(judged) < FEWEST:
        return Gain(len(judged), start=start, per_cm2=per_cm2)
    agreement = np.array([row.agreement for row in judged])
    dice = np.array([row.dice for row in judged])
    curve = _isotonic(agreement, dice)
    rest = dice - np.interp(agreement, curve[0], curve[1])
    organs = np.array([row.organ for row in judged])
    deviation = {key: float(rest[organs == key].sum() / ((organs == key).sum() + BELIEF)) for key in {*organs.tolist()}}
    varies = np.ptp(agreement) > 0 and np.ptp(dice) > 0
    correlation = float(spearmanr(agreement, dice).statistic) if varies else None
    return Gain(len(judged), correlation, curve, deviation, start, per_cm2)


def _isotonic(agreement: Values, dice: Values) -> tuple[Values, Values]:
    """Knots of the curve: equal agreements are one knot, with the mean of their Dice."""
    knots, which, counts = np.unique(agreement, return_inverse=True, return_counts=True)
    means = np.bincount(which, weights=dice) / counts
    return knots, np.asarray(isotonic_regression(means, weights=counts).x)


def _speed(judged: Sequence[Judged]) -> tuple[float, float]:
    """Start in seconds, seconds per cm2, neither below 0; what is assumed counts as a few decisions."""
    timed = [row for row in judged if row.seconds is not None]
    area = np.array([0.0, 100.0, *(row.unsure_cm2 for row in timed)])
    seconds = START_SECONDS + SECONDS_PER_CM2 * area
    seconds[2:] = [min(MOST_SECONDS, row.seconds or 0.0) for row in timed]
    weight = np.sqrt(np.array([BELIEF, BELIEF, *([1.0] * len(timed))]))
    found, _ = nnls(np.stack([weight, weight * area], axis=1), weight * seconds)
    return max(float(found[0]), 1.0), float(found[1])
