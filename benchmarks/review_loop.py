"""The loop on the phantom: train, relabel, review, train again; and what the queue's order saves of a reviewer's time.

    make bench-loop       # results/review/loop.json, docs/pictures/review-order.png

A perfect reviewer corrects what the queue gives (`smiler review --simulate` says how fast he is). 90 % of the
annotations are hidden. The order's replay counts the Dice of the cohort's masks, mean over organs; the loop counts the
Dice of a network, trained anew with the same steps, on other patients.
"""

import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import about
from smiler.domain.cohort import Cohort
from smiler.domain.files import replacing, write_json
from smiler.evaluation.truth import Truth
from smiler.experiments.hide import hide
from smiler.experiments.phantom_cohort import make_phantom_cohort
from smiler.experiments.review_simulation import Known, simulate
from smiler.formats.labels import read_case_labels
from smiler.formats.volumes import read_header
from smiler.review.desk import Desk, Remark, at_desk
from smiler.review.errors import Pair
from smiler.review.gain import learn
from smiler.review.ledger import Asked
from smiler.review.masks import Mask
from smiler.review.order import Place, by_gain, candidates, trusted_volumes
from smiler.review.orientation import ras, ras_shape
from smiler.review.states import OPEN, Decision, State
from smiler.verbs.run import trained_on

CASES, TESTED, SIZE, ALPHA, STEPS = 36, 12, (32, 96, 96), 0.9, 1000
SEED = 21
"""Not that on whose proposals the order was worked out (11)."""
SHARE_REVIEWED = 0.25
ROOT = Path(__file__).parents[1]


def smiler(*words: object) -> Any:
    """Run a command of smiler, and what its --json says."""
    command = [sys.executable, "-m", "smiler", *map(str, words), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def mask_of(full: Cohort, pair: Pair) -> Mask:
    """The truth on the page's grid."""
    case = full.case(pair.case)
    geometry = read_header(full.image_path(case)).geometry
    drawn = read_case_labels(full, case, geometry).drawn >> full.organs.index(pair.organ) & 1
    return Mask.of(ras(drawn.astype(np.uint8)), ras_shape(geometry))


def review(desk: Desk, known: Mapping[Pair, Known], full: Cohort, budget: float) -> dict[str, Any]:
    """Decide in the queue's order, through the desk, until the minutes are spent."""
    spent, done = 0.0, Counter[str]()
    while spent < budget:
        heads = desk.ledger.heads()
        all_of_them = candidates([case.id for case in desk.cohort], desk.cohort.organs, heads)
        left = [c for c in all_of_them if c.state in OPEN and c.pair in known]
        if not left:
            break
        places: list[Place] = by_gain(learn([*desk.held_out(), *desk.ledger.judged()]))(
            left, trusted_volumes(all_of_them), 0
        )
        chosen = places[0].candidate
        pair, number = chosen.pair, chosen.head.number if chosen.head else 0
        remark, asked = Remark("", known[pair].minutes * 60), Asked("perfect", uuid.uuid4().hex, number, "simulated")
        mask = mask_of(full, pair)
        if mask.voxels:
            answer = desk.correct(asked, pair, mask, remark)
        else:
            answer = desk.decide(asked, pair, Decision.ABSENT, remark)
        assert answer.status == 200, answer
        spent += known[pair].minutes
        done[str(State.CORRECTED if mask.voxels else State.ABSENT)] += 1
    return {"minutes": round(spent, 1), "decisions": dict(done)}


def mean_dice(run: Path, test: Path) -> dict[str, Any]:
    """Of a run on other patients: mean over those in whom the organ is present, as `smiler evaluate` says it.

    The other phantoms have the names of those that were trained on, so their kind is unknown, and never "yes".
    """
    kinds = smiler("evaluate", run, test)["learned"]
    assert len(kinds) == 1, list(kinds)
    assert "yes" not in kinds
    found: dict[str, Any] = next(iter(kinds.values()))["dice"]
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
    full = make_phantom_cohort(place / "full", CASES, SIZE, seed=SEED)
    make_phantom_cohort(place / "test", TESTED, SIZE, seed=SEED + 1)
    hidden = hide(full, place / "hidden", ALPHA)
    settings = ("--method", "marginal-dice", "--steps", STEPS, "--set", f"sampling.patch_size={SIZE[1]}")
    smiler("train", hidden.folder, place / "first", *settings)
    smiler("relabel", place / "first", hidden.folder, place / "completed", "--round")
    completed, truth = Cohort.open(place / "completed"), Truth.open(place / "full")
    simulation = simulate(completed, truth)
    with replacing(ROOT / "docs/pictures/review-order.png") as temporary:
        simulation.figure().savefig(temporary, dpi=130, format="png")
    with at_desk(completed.folder, print) as desk:
        budget = SHARE_REVIEWED * sum(one.minutes for one in simulation.known.values())
        reviewed = review(desk, simulation.known, truth.cohort, budget)
        gain = learn(desk.ledger.judged())
        reviewed["rank_correlation"] = None if gain.correlation is None else round(gain.correlation, 3)
    smiler("train", completed.folder, place / "second", *settings)
    return {
        "cohort": {"seed": SEED, "cases": CASES, "tested": TESTED, "size_zyx": SIZE, "alpha": ALPHA, "steps": STEPS},
        "order": simulation.summary(),
        "review": reviewed,
        "verify": smiler("review", completed.folder, "--verify")["verify"]["faults"],
        "dice_before": mean_dice(place / "first", place / "test"),
        "dice_after": mean_dice(place / "second", place / "test"),
        "annotated": {name: annotated(place / name) for name in ("first", "second")},
    }


if __name__ == "__main__":
    main()
