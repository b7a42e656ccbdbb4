"""One job in a process of its own: train within the budget, predict, score, write its row.

python -m benchmarks.quality.child smiler-unet-hidden0-10min-seed0 WORK ROWS
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import about
from benchmarks.quality.clock import Budget, cpu_seconds
from benchmarks.quality.data import cohort_of
from benchmarks.quality.score import scored
from benchmarks.quality.settings import METHODS, Job

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("smiler-seg", "torch", "monai", "nnunetv2", "batchgeneratorsv2", "numpy")


def calibrated() -> float:
    """CPU milliseconds of a fixed piece of work, a convolution there and back: slow where a sibling core is busy."""
    import torch

    torch.set_num_threads(1)
    layer, image = torch.nn.Conv2d(32, 32, 3, padding=1), torch.ones(4, 32, 64, 64)
    times = []
    for _ in range(15):
        begin = time.process_time()
        layer(image).sum().backward()
        times.append(1000 * (time.process_time() - begin))
    return round(sorted(times)[len(times) // 2], 3)


def run(job: Job, work: Path) -> dict[str, Any]:
    """The row."""
    folder, tool = work / "jobs" / job.name, METHODS[job.method].tool
    folder.mkdir(parents=True, exist_ok=True)
    cohort, module = cohort_of(work, job), importlib.import_module(f"benchmarks.quality.{tool}")
    speed, load, wall = [calibrated()], [os.getloadavg()[0]], time.time()
    budget = Budget(job.budget)
    facts = module.train(work, folder, cohort, job, budget)
    trained = time.time() - wall
    spent = budget.spent
    speed.append(calibrated())
    load.append(os.getloadavg()[0])
    masks, begin = folder / "masks", cpu_seconds()
    shutil.rmtree(masks, ignore_errors=True)
    given = () if tool == "ours" else (job, json.loads((work / "facts.json").read_text())["precision"])
    facts |= module.predict(folder, work / "test", masks, *given)
    return {
        "job": vars(job),
        "spent_s": {name: round(seconds, 1) for name, seconds in budget.parts.items()} | {"all": round(spent, 1)},
        "predicting_s": round(cpu_seconds() - begin, 1),
        "training_wall_s": round(trained, 1),
        "calibration_ms": speed,
        "load": [round(value, 2) for value in load],
        "facts": facts,
        "scores": scored(masks, work / "test"),
    }


def commit() -> str:
    """smiler's, with a + where files differ from it."""
    words = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    told = subprocess.run(words, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    return told.stdout.strip() or "unknown"


def main(name: str, work: Path, rows: Path) -> None:
    """Run and write, whole or not at all."""
    import torch

    torch.set_num_threads(1)
    job = Job.of(name)
    head = about(f"python -m benchmarks.quality.run --only {name}", PACKAGES) | {"commit": commit()}
    row = head | run(job, work)
    rows.mkdir(parents=True, exist_ok=True)
    unfinished = rows / f".{name}.part"
    unfinished.write_text(json.dumps(row) + "\n")
    unfinished.replace(rows / f"{name}.json")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
