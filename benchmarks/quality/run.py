"""Dice after minutes of one core, on real CT: smiler, nnU-Net and MONAI, each by its own recipe.

    make bench-quality                                           # all missing rows; days; goes on after a kill
    python -m benchmarks.quality.run --list                        # the rows, and which are there
    python -m benchmarks.quality.run --budgets 10 --only unet      # some of them, by a pattern in the name
    python -m benchmarks.quality.run --budgets 1 --rows TRY --test-cases 2 --work W    # whether it runs

A row that is there is not made again; delete it to have it made. A job that fails is told and the next one goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.quality.curves import write
from benchmarks.quality.data import cohort_of, cohorts
from benchmarks.quality.settings import BUDGETS, Job, jobs

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "results" / "quality"
DATA = REPOSITORY.parent / "shared" / "data" / "openkbp"


def main() -> int:
    """Make what is missing, tell, draw. 1 where a job failed."""
    given = _arguments()
    chosen = [job for job in jobs(tuple(given.budgets)) if not given.only or re.search(given.only, job.name)]
    missing = [job for job in chosen if not (given.rows / f"{job.name}.json").exists()]
    if given.list:
        for job in chosen:
            print(job.name, "missing" if job in missing else "there")
        return 0
    prepare(given.data, given.work, given.test_cases)
    for job in missing:
        cohort_of(given.work, job)  # here: two jobs at once must not both make one
    failed = work_through(missing, given.work, given.rows, given.side_by_side)
    if given.rows == RESULTS / "rows":
        write(RESULTS)
    for job in failed:
        print(f"failed: {job.name}, see {given.work / 'jobs' / job.name / 'log.txt'}")
    return 1 if failed else 0


def prepare(source: Path, work: Path, test_cases: int | None) -> None:
    """Cohorts, and the precision that suits this machine, the same for all."""
    if not (source / "cases.csv").exists():
        raise SystemExit(f"no data in {source}: give the openkbp folder by --data")
    work.mkdir(parents=True, exist_ok=True)
    cohorts(source, work, test_cases)
    if not (work / "facts.json").exists():
        from smiler.networks.device import settled

        (work / "facts.json").write_text(json.dumps({"precision": settled("auto")}))


def work_through(missing: list[Job], work: Path, rows: Path, side_by_side: int) -> list[Job]:
    """One job a core, `side_by_side` at once; those that failed."""
    cores = sorted(os.sched_getaffinity(0))[:side_by_side]
    waiting, failed = list(missing), []
    running: dict[int, tuple[Job, subprocess.Popen[bytes]]] = {}
    done, began = 0, time.time()
    while waiting or running:
        for core in [core for core in cores if core not in running and waiting]:
            job = waiting.pop(0)
            running[core] = job, _start(job, core, work, rows)
            print(f"{time.strftime('%H:%M')} begins {job.name} on core {core}", flush=True)
        time.sleep(1)
        for core, (job, process) in list(running.items()):
            if process.poll() is None:
                continue
            del running[core]
            done += 1
            failed += [job] if process.returncode else []
            left = sum(other.budget for other, _ in running.values()) + sum(other.budget for other in waiting)
            pace = (time.time() - began) / 60 / max(sum(other.budget for other in _ended(missing, waiting, running)), 1)
            word = "failed" if process.returncode else _told(rows / f"{job.name}.json")
            print(f"{job.name}: {word}; {done} of {len(missing)}, about {pace * left / 60:.1f} h left", flush=True)
    return failed


def _ended(
    missing: list[Job], waiting: list[Job], running: dict[int, tuple[Job, subprocess.Popen[bytes]]]
) -> list[Job]:
    going = [job for job, _ in running.values()]
    return [job for job in missing if job not in waiting and job not in going]


def _start(job: Job, core: int, work: Path, rows: Path) -> subprocess.Popen[bytes]:
    folder = work / "jobs" / job.name
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "benchmarks.quality.child", job.name, str(work), str(rows)]
    surroundings = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, cwd=REPOSITORY, env=surroundings)
    os.sched_setaffinity(process.pid, {core})
    return process


def _told(path: Path) -> str:
    row = json.loads(path.read_text())
    return f"Dice {row['scores']['mean']['dice']}, NSD {row['scores']['mean']['nsd']}, {row['facts']['steps']} steps"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="the openkbp folder")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "smiler-quality", help="kept")
    parser.add_argument("--rows", type=Path, default=RESULTS / "rows", help="where rows are written")
    parser.add_argument("--budgets", type=float, nargs="+", default=list(BUDGETS), help="minutes of one core")
    parser.add_argument("--only", help="a regular expression that a job's name holds")
    parser.add_argument("--list", action="store_true", help="only tell which rows there are")
    parser.add_argument("--side-by-side", type=int, default=1, help="jobs at once, each on a core of its own")
    parser.add_argument("--test-cases", type=int, help="only so many cases are scored, to try things")
    given = parser.parse_args()
    given.work, given.rows, given.data = (path.resolve() for path in (given.work, given.rows, given.data))
    return given


if __name__ == "__main__":
    sys.exit(main())
