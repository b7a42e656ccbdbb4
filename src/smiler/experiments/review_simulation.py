"""A perfect reviewer on a cohort whose truth is known: what the queue's order saves of a reviewer's minutes.

He corrects what he is given, whatever it is, to the truth. What it takes him is a model of its own: so long to look
and to decide, and so long for each cm2 of wrong area (of the organ's, where that is less); to mark an organ absent is a
key. Measured is the Dice of the cohort's masks, mean over organs.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from smiler.domain.cells import Status
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.files import replacing, write_json, write_text
from smiler.domain.judged import Judged
from smiler.domain.progress import Progress, Silent
from smiler.evaluation.truth import Truth
from smiler.formats.labels import read_case_labels
from smiler.formats.volumes import read_header, read_labels
from smiler.review.desk import at_desk
from smiler.review.errors import Pair
from smiler.review.gain import learn
from smiler.review.order import Candidate, by_gain, candidates, trusted_volumes
from smiler.review.states import OPEN, State

OURS, UNSURE, RANDOM, BEST = "expected gain", "least agreement", "random", "best possible"
ORDERS = (OURS, UNSURE, RANDOM, BEST)
"""best possible: by what each decision truly gains for its minutes, which nobody can know."""
LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Shares of all that can be gained."""

Pick = Callable[[list[Candidate], list[Judged]], Candidate]


@dataclass(frozen=True)
class Reviewer:
    """How fast he is."""

    look_seconds: float = 12.0
    seconds_per_cm2: float = 0.25


@dataclass(frozen=True)
class Known:
    """What only the simulation knows of a pair: the proposal's Dice, and what a decision on it takes."""

    dice: float
    minutes: float


@dataclass(frozen=True)
class Curve:
    """Minutes, and the mean Dice over organs after so many."""

    minutes: tuple[float, ...]
    dice: tuple[float, ...]

    def minutes_to(self, level: float) -> float:
        """Minutes until this share of all that can be gained is gained."""
        return float(np.interp(self.dice[0] + level * (self.dice[-1] - self.dice[0]), self.dice, self.minutes))


@dataclass(frozen=True)
class Simulation:
    """The curves by order (random: several draws); `untold`: pairs whose truth is not known."""

    curves: Mapping[str, tuple[Curve, ...]]
    known: Mapping[Pair, Known]
    untold: int = 0
    reviewer: Reviewer = field(default_factory=Reviewer)

    def minutes(self, order: str, level: float) -> float:
        """To a share of the gain; mean over draws."""
        return float(np.mean([curve.minutes_to(level) for curve in self.curves[order]]))

    def summary(self) -> dict[str, Any]:
        """For people and scripts."""
        minutes = {order: {str(level): round(self.minutes(order, level), 2) for level in LEVELS} for order in ORDERS}
        shares = {
            order: {str(level): round(self.minutes(order, level) / self.minutes(RANDOM, level), 3) for level in LEVELS}
            for order in ORDERS
        }
        first = self.curves[OURS][0]
        return {
            "pairs": len(self.known),
            "untold": self.untold,
            "reviewer": {"look_seconds": self.reviewer.look_seconds, "per_cm2": self.reviewer.seconds_per_cm2},
            "all_minutes": round(first.minutes[-1], 1),
            "dice_before": round(first.dice[0], 4),
            "minutes": minutes,
            "over_random": shares,
        }

    def save(self, out: Path) -> None:
        """`simulation.json`, `simulation.csv` (every point of every curve) and `simulation.png`."""
        write_json(out / "simulation.json", self.summary())
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["order", "draw", "minutes", "dice"])
        for order, curves in self.curves.items():
            for draw, curve in enumerate(curves):
                for minutes, dice in zip(curve.minutes, curve.dice, strict=True):
                    writer.writerow([order, draw, round(minutes, 3), round(dice, 5)])
        write_text(out / "simulation.csv", stream.getvalue())
        with replacing(out / "simulation.png") as temporary:
            self.figure().savefig(temporary, dpi=130, format="png")

    def figure(self) -> Figure:
        """Dice against minutes."""
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.add_subplot()
        colours = {OURS: "tab:blue", UNSURE: "tab:orange", RANDOM: "tab:grey", BEST: "tab:green"}
        for order, curves in self.curves.items():
            for number, curve in enumerate(curves):
                several, style = len(curves) > 1, "--" if order == BEST else "-"
                label = None if number else order
                axes.plot(
                    curve.minutes, curve.dice, style, color=colours[order], alpha=0.3 if several else 1, label=label
                )
        axes.set_xlabel("reviewer's minutes")
        axes.set_ylabel("Dice of the cohort's masks,\nmean over organs")
        axes.legend(loc="lower right")
        axes.grid(alpha=0.3)
        return figure


def simulate(
    completed: Cohort,
    truth: Truth,
    reviewer: Reviewer | None = None,
    draws: int = 20,
    progress: Progress | None = None,
) -> Simulation:
    """Replay the review of all open proposals of a cohort in each order. Nothing is decided in the cohort itself."""
    reviewer = reviewer or Reviewer()
    with at_desk(completed.folder, lambda _: None) as desk:
        found = candidates([case.id for case in completed], completed.organs, desk.ledger.heads())
        judged = [*desk.held_out(), *desk.ledger.judged()]
    known: dict[Pair, Known] = {}
    for told in (progress or Silent()).track(
        _each_case(completed, truth, found, reviewer), "comparing", len(completed)
    ):
        known.update(told)
    open_ones = [candidate for candidate in found if candidate.state in OPEN]
    chosen = [candidate for candidate in open_ones if candidate.pair in known]
    if not chosen:
        raise BadInput(
            "nothing is to be reviewed whose truth is known",
            where=str(completed.folder),
            got=f"{len(open_ones)} open proposals",
            do="give a cohort with proposals, and the same cases fully annotated",
        )
    trusted = Counter(trusted_volumes(found))
    replays = {order: draws if order == RANDOM else 1 for order in ORDERS}
    curves = {
        order: tuple(replay(chosen, known, _pick(order, chosen, known, trusted, n), judged) for n in range(times))
        for order, times in replays.items()
    }
    return Simulation(curves, known, len(open_ones) - len(chosen), reviewer)


def _each_case(
    completed: Cohort, truth: Truth, found: Sequence[Candidate], reviewer: Reviewer
) -> Iterator[dict[Pair, Known]]:
    """By case, the open pairs whose truth is told."""
    there = {case.id for case in truth.cohort}
    for case in completed:
        organs = [one.pair.organ for one in found if one.pair.case == case.id and one.state in OPEN]
        full = truth.cohort.case(case.id) if case.id in there else None
        told = [key for key in organs if full is not None and full.status(key) is not Status.UNANNOTATED]
        if full is None or not told:
            yield {}
            continue
        geometry = read_header(truth.cohort.image_path(full)).geometry
        drawn = read_case_labels(truth.cohort, full, geometry).drawn
        yield {
            Pair(case.id, key): compared(
                _proposal(completed, case.id, key, drawn.shape),
                (drawn >> truth.cohort.organs.index(key) & 1).astype(bool),
                float(np.prod(geometry.spacing[1:])) / 100,
                reviewer,
            )
            for key in told
        }


def _proposal(completed: Cohort, case: str, organ: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    cell = completed.case(case).cell(organ)
    if not cell.path:
        return np.zeros(shape, dtype=bool)
    return read_labels(completed.mask_path(completed.case(case), organ)).mask(cell.labels) > 0


def compared(found: NDArray[np.bool_], truth: NDArray[np.bool_], voxel_cm2: float, reviewer: Reviewer) -> Known:
    """A proposal beside the truth, both (z, y, x); `voxel_cm2`: a voxel's area in its slice."""
    drawn, total = int(truth.sum()), int(truth.sum() + found.sum())
    wrong = min(int((truth ^ found).sum()), drawn) * voxel_cm2 if drawn else 0.0
    seconds = reviewer.look_seconds + reviewer.seconds_per_cm2 * wrong
    return Known(2 * int((truth & found).sum()) / total if total else 1.0, seconds / 60)


def replay(found: Sequence[Candidate], known: Mapping[Pair, Known], pick: Pick, judged: Sequence[Judged] = ()) -> Curve:
    """Decide one after the other, until nothing is left. What each decision tells, the next choice may know."""
    organs = Counter(candidate.pair.organ for candidate in found)
    left, told, minutes = list(found), list(judged), [0.0]
    dice = [sum(known[one.pair].dice / organs[one.pair.organ] for one in found) / len(organs)]
    while left:
        chosen = pick(left, told)
        left.remove(chosen)
        one, head = known[chosen.pair], chosen.head
        agreement, area = (head.agreement, head.unsure_cm2 or 0.0) if head is not None else (None, 0.0)
        if agreement is not None or chosen.state is State.MISSING:
            told.append(Judged(chosen.pair.organ, agreement, area, one.dice, one.minutes * 60))
        minutes.append(minutes[-1] + one.minutes)
        dice.append(dice[-1] + (1 - one.dice) / organs[chosen.pair.organ] / len(organs))
    return Curve(tuple(minutes), tuple(dice))


def _pick(
    order: str, found: Sequence[Candidate], known: Mapping[Pair, Known], trusted: Counter[str], seed: int
) -> Pick:
    every = Counter(candidate.pair.organ for candidate in found)
    rng = np.random.default_rng(seed)

    def ours(left: list[Candidate], judged: list[Judged]) -> Candidate:
        done = every - Counter(candidate.pair.organ for candidate in left)
        return by_gain(learn(judged))(left, trusted + done, seed)[0].candidate

    def unsure(left: list[Candidate], _: list[Judged]) -> Candidate:
        return min(left, key=lambda c: c.head.agreement if c.head and c.head.agreement is not None else 1.0)

    def best(left: list[Candidate], _: list[Judged]) -> Candidate:
        return max(left, key=lambda c: (1 - known[c.pair].dice) / every[c.pair.organ] / known[c.pair].minutes)

    def random(left: list[Candidate], _: list[Judged]) -> Candidate:
        return left[int(rng.integers(len(left)))]

    return {OURS: ours, UNSURE: unsure, BEST: best, RANDOM: random}[order]
