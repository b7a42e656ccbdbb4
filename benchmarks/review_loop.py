"""The loop on the phantom: train, relabel, review, train again; and what the queue's order saves of a reviewer's time.

    make bench-loop       # results/review/loop.json, docs/pictures/review-order.png

A perfect reviewer corrects what the queue gives: his seconds are 12 to look and decide and 0.25 for each cm2 of wrong
area (of the organ, where that is less). 90 % of the annotations are hidden. The order's replay counts the Dice of the
cohort's masks, mean over organs; the loop counts the Dice of a network, trained anew with the same steps, on other
patients.
"""

import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.machine import about
from matplotlib.figure import Figure

from smiler.domain.cohort import Cohort
from smiler.domain.files import write_json
from smiler.domain.judged import Judged
from smiler.evaluation.truth import Truth
from smiler.experiments.hide import hide
from smiler.experiments.phantom_cohort import make_phantom_cohort
from smiler.formats.labels import read_case_labels
from smiler.formats.volumes import read_header, read_labels
from smiler.review.desk import Desk, Remark, at_desk
from smiler.review.errors import Pair
from smiler.review.gain import learn
from smiler.review.ledger import Asked
from smiler.review.masks import Mask
from smiler.review.order import Candidate, Place, by_gain, candidates, trusted_volumes
from smiler.review.orientation import ras, ras_shape
from smiler.review.states import OPEN, Decision, State
from smiler.verbs.run import trained_on

CASES, TESTED, SIZE, ALPHA, STEPS = 36, 12, (32, 96, 96), 0.9, 500
LOOK_SECONDS, CM2_SECONDS = 12.0, 0.25
LEVELS = (0.5, 0.8, 0.9, 0.95)
DRAWS = 20
SHARE_REVIEWED = 0.25
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Known:
    """What only the simulation knows of a pair: Dice before the review, and what the review takes."""

    dice: float
    minutes: float


def smiler(*words: object) -> Any:
    """Run a command of smiler, and what its --json says."""
    command = [sys.executable, "-m", "smiler", *map(str, words), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def known_of(completed: Cohort, full: Cohort, case: str, organ: str) -> tuple[Known, Mask]:
    """The proposal beside the truth, and the truth on the page's grid."""
    geometry = read_header(full.image_path(full.case(case))).geometry
    truth = (read_case_labels(full, full.case(case), geometry).drawn >> full.organs.index(organ) & 1).astype(bool)
    cell = completed.case(case).cell(organ)
    found = np.zeros_like(truth)
    if cell.path:
        found = read_labels(completed.mask_path(completed.case(case), organ)).mask(cell.labels) > 0
    total = int(truth.sum() + found.sum())
    _, y, x = geometry.spacing
    wrong = min(int((truth ^ found).sum()), int(truth.sum()) or int(found.sum())) * y * x / 100
    wrong = wrong if truth.any() else 0.0  # absent is one key
    known = Known(2 * int((truth & found).sum()) / total if total else 1.0, (LOOK_SECONDS + CM2_SECONDS * wrong) / 60)
    return known, Mask.of(ras(truth.view(np.uint8)), ras_shape(geometry))


def replay(
    found: Sequence[Candidate], known: dict[Pair, Known], pick: Callable[[list[Candidate], list[Judged]], Candidate]
) -> tuple[list[float], list[float]]:
    """Minutes, and the mean Dice over organs after each decision."""
    dice = {pair: one.dice for pair, one in known.items()}
    organs = Counter(pair.organ for pair in known)
    left, judged, minutes = list(found), list[Judged](), [0.0]
    mean = sum(value / organs[pair.organ] for pair, value in dice.items()) / len(organs)
    means = [mean]
    while left:
        chosen = pick(left, judged)
        left.remove(chosen)
        one, head = known[chosen.pair], chosen.head
        if head is not None and head.agreement is not None:
            seconds = one.minutes * 60
            judged.append(Judged(chosen.pair.organ, head.agreement, head.unsure_cm2 or 0.0, one.dice, seconds))
        minutes.append(minutes[-1] + one.minutes)
        means.append(means[-1] + (1 - one.dice) / organs[chosen.pair.organ] / len(organs))
    return minutes, means


def minutes_to(level: float, minutes: Sequence[float], means: Sequence[float]) -> float:
    """Minutes until this share of all that can be gained is gained."""
    return float(np.interp(means[0] + level * (means[-1] - means[0]), means, minutes))


def orders(found: list[Candidate], known: dict[Pair, Known], trusted: Counter[str]) -> dict[str, Any]:
    """Minutes by order and level, and the curves."""

    def ours(left: list[Candidate], judged: list[Judged]) -> Candidate:
        done = Counter(c.pair.organ for c in found) - Counter(c.pair.organ for c in left)
        return by_gain(learn(judged))(left, trusted + done, 0)[0].candidate

    def unsure(left: list[Candidate], judged: list[Judged]) -> Candidate:  # noqa: ARG001
        return min(left, key=lambda c: c.head.agreement if c.head and c.head.agreement is not None else 1.0)

    curves = {"expected gain": [replay(found, known, ours)], "least agreement": [replay(found, known, unsure)]}
    rng = np.random.default_rng(0)
    curves["random"] = [replay(found, known, lambda left, _: left[int(rng.integers(len(left)))]) for _ in range(DRAWS)]
    table = {
        name: {str(level): round(float(np.mean([minutes_to(level, *curve) for curve in each])), 2) for level in LEVELS}
        for name, each in curves.items()
    }
    ratios = {
        str(level): round(table["expected gain"][str(level)] / table["random"][str(level)], 3) for level in LEVELS
    }
    draw(curves)
    return {"minutes": table, "over_random": ratios, "all_minutes": round(curves["random"][0][0][-1], 1)}


def draw(curves: dict[str, list[tuple[list[float], list[float]]]]) -> None:
    """Dice against minutes."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for (name, each), colour in zip(curves.items(), ("tab:blue", "tab:orange", "tab:grey"), strict=True):
        for number, (minutes, means) in enumerate(each):
            axes.plot(minutes, means, color=colour, alpha=1 if len(each) == 1 else 0.3, label="" if number else name)
    axes.set_xlabel("reviewer's minutes")
    axes.set_ylabel("Dice of the cohort's masks, mean over organs")
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(ROOT / "docs/pictures/review-order.png", dpi=130)


def review(desk: Desk, known: dict[Pair, Known], masks: dict[Pair, Mask], budget: float) -> dict[str, Any]:
    """Decide in the queue's order, through the desk, until the minutes are spent."""
    spent, done = 0.0, Counter[str]()
    while spent < budget:
        heads = desk.ledger.heads()
        all_of_them = candidates([case.id for case in desk.cohort], desk.cohort.organs, heads)
        left = [c for c in all_of_them if c.state in OPEN and c.pair in known]
        if not left:
            break
        places: list[Place] = by_gain(learn(desk.ledger.judged()))(left, trusted_volumes(all_of_them), 0)
        chosen = places[0].candidate
        pair, number = chosen.pair, chosen.head.number if chosen.head else 0
        remark, asked = Remark("", known[pair].minutes * 60), Asked("perfect", uuid.uuid4().hex, number, "simulated")
        if masks[pair].voxels:
            answer = desk.correct(asked, pair, masks[pair], remark)
        else:
            answer = desk.decide(asked, pair, Decision.ABSENT, remark)
        assert answer.status == 200, answer
        spent += known[pair].minutes
        done[str(State.CORRECTED if masks[pair].voxels else State.ABSENT)] += 1
    return {"minutes": round(spent, 1), "decisions": dict(done)}


def mean_dice(run: Path, test: Path) -> dict[str, Any]:
    """Of a run on other patients: mean over patients, with its interval, as `smiler evaluate` says it."""
    found: dict[str, Any] = smiler("evaluate", run, test)["dice"]
    return found


def annotated(run: Path) -> int:
    """How many (case, organ) pairs a run learned from."""
    return len(trained_on(run))


def main() -> None:
    """Measure and keep."""
    begin = time.monotonic()
    head = about("make bench-loop", ("smiler-seg", "torch", "numpy", "scipy"))
    with tempfile.TemporaryDirectory() as folder:
        outcome = head | measured(Path(folder))
    outcome["took_minutes"] = round((time.monotonic() - begin) / 60, 1)
    write_json(ROOT / "results/review/loop.json", outcome)
    print(json.dumps(outcome, indent=1))


def measured(place: Path) -> dict[str, Any]:
    """The whole loop in a folder that is thrown away."""
    full = make_phantom_cohort(place / "full", CASES, SIZE, seed=11)
    make_phantom_cohort(place / "test", TESTED, SIZE, seed=12)
    hidden = hide(full, place / "hidden", ALPHA)
    settings = ("--method", "marginal-dice", "--steps", STEPS)
    smiler("train", hidden.folder, place / "first", *settings)
    smiler("relabel", place / "first", hidden.folder, place / "completed", "--round")
    completed = Cohort.open(place / "completed")
    truth = Truth.open(place / "full").cohort
    known: dict[Pair, Known] = {}
    masks: dict[Pair, Mask] = {}
    with at_desk(completed.folder, print) as desk:
        found = candidates([case.id for case in completed], completed.organs, desk.ledger.heads())
        trusted = Counter(trusted_volumes(found))
        found = [candidate for candidate in found if candidate.state in OPEN]
        for candidate in found:
            known[candidate.pair], masks[candidate.pair] = known_of(
                completed, truth, candidate.pair.case, candidate.pair.organ
            )
        by_order = orders(found, known, trusted)
        budget = SHARE_REVIEWED * sum(one.minutes for one in known.values())
        reviewed = review(desk, known, masks, budget)
        gain = learn(desk.ledger.judged())
        reviewed["rank_correlation"] = None if gain.correlation is None else round(gain.correlation, 3)
    smiler("train", completed.folder, place / "second", *settings)
    return {
        "cohort": {"cases": CASES, "tested": TESTED, "size_zyx": SIZE, "alpha": ALPHA, "steps": STEPS},
        "pairs": len(found),
        "order": by_order,
        "review": reviewed,
        "verify": smiler("review", completed.folder, "--verify")["verify"]["faults"],
        "dice_before": mean_dice(place / "first", place / "test"),
        "dice_after": mean_dice(place / "second", place / "test"),
        "annotated": {name: annotated(place / name) for name in ("first", "second")},
    }


if __name__ == "__main__":
    main()
