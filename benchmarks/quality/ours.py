"""smiler by its own commands: `smiler train --time-budget` and `smiler predict`, with default recipes.

The store is filled by a first command that trains one step; its CPU time is preparation and counts. The second has
what is left, less its own start, which a third (not counted) measures. Commands run by this module read the clock of
their own CPU time where they time steps, so that a busy machine changes no budget.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.quality.clock import Budget, cpu_seconds
from benchmarks.quality.settings import METHODS, Job

WITH_ROUNDS, WITHOUT_ROUNDS = "smiler", "marginal-dice"
"""With nothing hidden, rounds of relabelling have nothing to relabel: the same training without them."""


def command(*words: str) -> str:
    """Run `smiler WORDS` as this module does it; its standard error. A failure says what the command said."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.quality.ours", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"smiler {' '.join(words)}: {done.stderr.strip()[-600:]}")
    return done.stdout + done.stderr


def train(_: Path, folder: Path, cohort: Path, job: Job, budget: Budget) -> dict[str, Any]:
    """Train until the budget ends; facts for the row."""
    for name in ("first", "again", "run", "store"):
        shutil.rmtree(folder / name, ignore_errors=True)
    given = ["--set", f"network.name={METHODS[job.method].network}", "--set", f"training.seed={job.seed}"]
    given += ["--cache", str(folder / "store")]
    short = ["--method", WITHOUT_ROUNDS, "--steps", "1", *given]
    command("train", str(cohort), str(folder / "first"), *short)
    budget.part("preparation")
    begin = cpu_seconds()
    command("train", str(cohort), str(folder / "again"), *short)
    start = cpu_seconds() - begin
    budget.pause(start)
    minutes = max((budget.left - start) / 60, 0.01)
    method = WITH_ROUNDS if job.alpha else WITHOUT_ROUNDS
    words = ["--method", method, "--time-budget", f"{minutes:.3f}"]
    text = command("train", str(cohort), str(folder / "run"), *words, *given)
    budget.part("training")
    return {
        "method": method,
        "steps": steps_done(folder / "run", text),
        "recipe": (folder / "run" / "recipe.toml").read_text(),
    }


def steps_done(run: Path, text: str) -> int:
    """As the run's newest checkpoint says, else as the command did."""
    for newest in sorted((run / "checkpoints").glob("*.json"), key=os.path.getmtime, reverse=True):
        steps = json.loads(newest.read_text()).get("step")
        if isinstance(steps, int):
            return steps
    said = re.search(r"([\d,]+) steps", text)
    return int(said[1].replace(",", "")) if said else 0


def predict(folder: Path, test: Path, out: Path) -> dict[str, Any]:
    """Masks of the test cohort."""
    command("predict", str(folder / "run"), str(test), "--out", str(out))
    return {"test_time": "smiler predict as it is"}


def main() -> None:
    """The command, whose perf_counter is its CPU time."""
    time.perf_counter = time.process_time
    from smiler.cli import main as run

    run()


if __name__ == "__main__":
    main()
