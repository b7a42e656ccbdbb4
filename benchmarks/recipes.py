"""One change of a recipe at a time, by cross-validation inside openkbp's train.txt: Dice of what a fold leaves out.

    python -m benchmarks.recipes                     # every trial of TRIALS that has no row yet, one after the other
    python -m benchmarks.recipes wide --seeds 0,1    # only this one

Rows go to results/recipes/rows.jsonl and are never made twice. test.txt is not read. Real CT: SMILER_REAL_DATA, else
the usual place of real_ct.py. A trial takes five to ten minutes of one core a seed.
"""

import argparse
import csv
import json
import random
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.machine import about
from benchmarks.real_ct import DATA
from smiler.domain.cohort import Cohort
from smiler.evaluation.truth import Truth
from smiler.verbs.evaluate import evaluate
from smiler.verbs.plan import planned_recipe
from smiler.verbs.train import TrainRequest, train

ROWS = Path(__file__).parents[1] / "results" / "recipes" / "rows.jsonl"
ORGANS = ("brainstem", "spinal_cord", "mandible", "parotid_left", "parotid_right")
FOLDS, METHOD, STEPS = 4, "marginal-dice", 2500
TRIALS: dict[str, tuple[str, ...]] = {
    "planned": (),
    "context 1": ("network.context=1",),
    "wide": ("network.width=32",),
    "narrow": ("network.width=16",),
    "patch 96": ("sampling.patch_size=96", "sampling.batch_size=6"),
    "slow": ("training.learning_rate=2e-3",),
    "fast": ("training.learning_rate=8e-3",),
    "much turned": ("sampling.augment.rotate_deg=20", "sampling.augment.scale=.25"),
    "dynunet": ("network.name=dynunet", "network.levels=5"),
    "segresnet": ("network.name=segresnet",),
}
"""Name -> what it changes of the planned recipe."""


def fold(number: int, work: Path) -> tuple[Cohort, Cohort]:
    """(to train on, left out) of a fold, by reference to openkbp's files."""
    source = DATA / "openkbp"
    ids = sorted((source / "train.txt").read_text(encoding="utf-8").split())
    random.Random(0).shuffle(ids)
    left_out = set(ids[number::FOLDS])
    with (source / "cases.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["case"] in ids]
    parts = {
        "train": [r for r in rows if r["case"] not in left_out],
        "left": [r for r in rows if r["case"] in left_out],
    }
    for name, cases in parts.items():
        (work / name).mkdir(parents=True)
        organs = "".join(f'[[organ]]\nkey = "{organ}"\n' for organ in ORGANS)
        (work / name / "cohort.toml").write_text(f"format = 1\n{organs}", encoding="utf-8")
        with (work / name / "cases.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["case", "patient", "image", *ORGANS])
            for row in cases:
                files = [f"{source}/{row[key]}" for key in ("image", *ORGANS)]
                table.writerow([row["case"], row["patient"], *files])
    return Cohort.open(work / "train"), Cohort.open(work / "left")


def trial(name: str, number: int, seed: int) -> dict[str, Any]:
    """Train by the planned recipe with the trial's changes; Dice of the cases that the fold leaves out."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        learn, left_out = fold(number, work)
        changes = (*TRIALS[name], f"training.steps={STEPS}", f"training.seed={seed}")
        recipe = planned_recipe(learn, METHOD, changes)
        begin = time.process_time()
        run = train(TrainRequest(learn, work / "run", recipe))
        cpu = time.process_time() - begin
        scores = evaluate(run.path, Truth(left_out))
    dice = {organ: [s.metrics["dice"] for s in scores if s.organ == organ] for organ in ORGANS}
    organs = {organ: round(100 * fmean(float(v) for v in values if v is not None), 2) for organ, values in dice.items()}
    row = {"trial": name, "changes": TRIALS[name], "fold": number, "seed": seed, "steps": STEPS, "cpu_s": round(cpu)}
    told = about("python -m benchmarks.recipes", ["smiler-seg", "torch", "monai"])
    return {**row, "dice": round(fmean(organs.values()), 2), "organs": organs, **told}


def main() -> None:
    """Run the trials that are asked for and have no row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", nargs="*", default=list(TRIALS), metavar="TRIAL")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--folds", default="0")
    options = parser.parse_args()
    there = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()] if ROWS.exists() else []
    known = {(row["trial"], row["fold"], row["seed"]) for row in there}
    for name in options.trials:
        for number in map(int, options.folds.split(",")):
            for seed in map(int, options.seeds.split(",")):
                if (name, number, seed) not in known:
                    row = trial(name, number, seed)
                    print(f"{name}, fold {number}, seed {seed}: Dice {row['dice']} in {row['cpu_s']} s", flush=True)
                    with ROWS.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
