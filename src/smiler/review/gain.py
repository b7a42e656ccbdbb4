"""What a reviewer's minute is worth: expected Dice and minutes of a proposal, learned from what experts decided.

Expected Dice: isotonic regression on the model's agreement with itself (Barlow et al. 1972), over experts' masks that
the model did not learn from and over proposals decided here; each organ's own deviation is added, shrunk where few are
known. Where agreement is seen to tell nothing, an organ's proposals are expected to be what they were so far. Minutes:
a start and a share of the area on which the model does not agree, refitted from logged active seconds, times an
organ's own pace; where nothing is proposed, what drawing the organ took so far.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

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
BELIEF = 2.0
"""How many judged proposals the values above, and what all organs have in common, are worth."""
MOST_SECONDS = 3600.0


@dataclass(frozen=True)
class Gain:
    """What was learned so far. By organ: `deviation` and `usual` of its Dice, `pace` of its minutes, `redraw` minutes,
    and the share in which nothing proposed was right (`absent`).
    """

    pairs: int = 0
    correlation: float | None = None
    curve: tuple[Values, Values] | None = None
    deviation: Mapping[str, float] = field(default_factory=dict)
    usual: Mapping[str, float] = field(default_factory=dict)
    start: float = START_SECONDS
    per_cm2: float = SECONDS_PER_CM2
    pace: Mapping[str, float] = field(default_factory=dict)
    redraw: Mapping[str, float] = field(default_factory=dict)
    absent: Mapping[str, float] = field(default_factory=dict)

    @property
    def doubted(self) -> bool:
        """Whether agreement was seen to tell nothing of Dice."""
        enough = self.pairs >= FEWEST_TO_DOUBT
        return enough and (self.correlation is None or self.correlation < LEAST_CORRELATION)

    def dice(self, organ: str, agreement: float | None) -> float:
        """Expected Dice of a proposal, 0 to 1; where nothing is proposed, how often that was right."""
        if agreement is None:
            return _of(self.absent, organ, 0.0)
        if self.curve is None:
            return agreement
        if self.doubted:
            return _of(self.usual, organ, agreement)
        knots, means = self.curve
        value = float(np.interp(agreement, knots, means)) + self.deviation.get(organ, 0.0)
        return min(1.0, max(0.0, value))

    def minutes(self, unsure_cm2: float, organ: str = "") -> float:
        """Expected minutes of a decision on a proposal."""
        return (self.start + self.per_cm2 * unsure_cm2) / 60 * self.pace.get(organ, 1.0)

    def redraw_minutes(self, organ: str) -> float:
        """Expected minutes where nothing is proposed."""
        return _of(self.redraw, organ, REDRAW_MINUTES)


OTHERS = ""
"""Stands for an organ of which nothing is known."""


def _of(values: Mapping[str, float], organ: str, otherwise: float) -> float:
    return values.get(organ, values.get(OTHERS, otherwise))


def learn(judged: Sequence[Judged]) -> Gain:
    """Fit all of it to what was judged, in any order."""
    proposed = [row for row in judged if row.agreement is not None]
    nothing = [row for row in judged if row.agreement is None]
    start, per_cm2 = _speed(proposed)
    gain = Gain(len(proposed), start=start, per_cm2=per_cm2)
    gain = replace(
        gain,
        pace=_pace(proposed, gain),
        redraw=_means(
            [(row.organ, min(MOST_SECONDS, row.seconds) / 60) for row in nothing if row.seconds], REDRAW_MINUTES
        ),
        absent=_means([(row.organ, row.dice) for row in nothing], 0.0),
    )
    if len(proposed) < FEWEST:
        return gain
    agreement = np.array([row.agreement for row in proposed], dtype=np.float64)
    dice = np.array([row.dice for row in proposed])
    curve = _isotonic(agreement, dice)
    rest = dice - np.interp(agreement, curve[0], curve[1])
    organs = np.array([row.organ for row in proposed])
    deviation = {key: float(rest[organs == key].sum() / ((organs == key).sum() + BELIEF)) for key in {*organs.tolist()}}
    varies = np.ptp(agreement) > 0 and np.ptp(dice) > 0
    correlation = float(spearmanr(agreement, dice).statistic) if varies else None
    usual = _means([(row.organ, row.dice) for row in proposed], float(dice.mean()))
    return replace(gain, correlation=correlation, curve=curve, deviation=deviation, usual=usual)


def _means(rows: Sequence[tuple[str, float]], before: float) -> dict[str, float]:
    """Each organ's mean, shrunk to that of all organs, and that to what was assumed before."""
    if not rows:
        return {}
    values = np.array([value for _, value in rows])
    every = float((values.sum() + BELIEF * before) / (len(values) + BELIEF))
    found = {OTHERS: every}
    for key in {organ for organ, _ in rows}:
        own = [value for organ, value in rows if organ == key]
        found[key] = (sum(own) + BELIEF * every) / (len(own) + BELIEF)
    return found


def _pace(judged: Sequence[Judged], gain: Gain) -> dict[str, float]:
    """By organ, logged seconds over expected ones, shrunk to 1."""
    timed = [
        (row.organ, min(MOST_SECONDS, row.seconds), 60 * gain.minutes(row.unsure_cm2)) for row in judged if row.seconds
    ]
    if not timed:
        return {}
    believed = BELIEF * float(np.mean([expected for _, _, expected in timed]))
    sums = {organ: [believed, believed] for organ, _, _ in timed}
    for organ, logged, expected in timed:
        sums[organ][0] += logged
        sums[organ][1] += expected
    return {organ: logged / expected for organ, (logged, expected) in sums.items()}


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
