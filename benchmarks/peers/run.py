"""Peers side by side in one run: smiler, MONAI's usual pipeline and nnU-Net around the same network and data.

    make bench-peers                                # results/bench/peers.json, about an hour
    python -m benchmarks.peers.run --size short     # a quarter of an hour: half the slices, one repeat; writes, too
    python -m benchmarks.peers.run --size tiny      # only whether it runs; no result is written
    python -m benchmarks.peers.run --rounds 1       # fewer rounds; --without "plain" leaves out ways of that name

Every measurement is a process of its own. What is compared runs one after the other, and is compared within a round:
the machine may be slower in the next one. The medians of the rounds' ratios are told, and their range.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import about
from benchmarks.peers.child import TASKS
from benchmarks.peers.settings import NETWORKS, SIZES, Settings
from benchmarks.peers.summary import agreements, ratios, table

REPOSITORY = Path(__file__).parents[2]
RESULT = REPOSITORY / "results" / "bench" / "peers.json"
PACKAGES = ("smiler-seg", "torch", "monai", "nnunetv2", "batchgeneratorsv2", "numpy")
Outcome = dict[str, Any]


def measure(task: str, network: str, work: Path, settings: Settings) -> Outcome:
    """One process: what it says, and the seconds from its start to its end."""
    words = [sys.executable, "-m", "benchmarks.peers.child", task, network, str(work)]
    begin = time.perf_counter()
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=surroundings(settings)
    )
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:300] if done.stderr.strip() else "no word"}
    outcome: Outcome = json.loads(done.stdout.strip().splitlines()[-1])
    outcome["process_s"] = time.perf_counter() - begin
    return {key: round(value, 3) for key, value in outcome.items()}


def surroundings(settings: Settings) -> dict[str, str]:
    """The same threads for all."""
    return os.environ | {"OMP_NUM_THREADS": str(settings.threads), "nnUNet_def_n_proc": str(settings.threads)}


def all_rounds(work: Path, settings: Settings, rounds: int, tasks: list[str]) -> dict[str, list[dict[str, Outcome]]]:
    """network -> a round each -> task -> what came out; a task that fails is told and not tried again."""
    runs: dict[str, list[dict[str, Outcome]]] = {network: [] for network in NETWORKS}
    for task in (task for task in tasks if task.endswith("predict disk")):
        for network in NETWORKS:
            measure(task, network, work, settings)  # fills the cache
    for _ in range(rounds):
        for network, seen in runs.items():
            failed = {task: found for one in seen for task, found in one.items() if "error" in found}
            seen.append({})
            for task in tasks:
                seen[-1][task] = failed.get(task) or measure(task, network, work, settings)
                print(network, task, seen[-1][task], flush=True)
    return runs


def middles(rounds: list[dict[str, Outcome]]) -> dict[str, Outcome]:
    """task -> medians over the rounds."""
    return {task: middle([one[task] for one in rounds]) for task in rounds[0]}


def middle(runs: list[Outcome]) -> Outcome:
    """The median of each number; an error as it is."""
    failed = [run for run in runs if "error" in run]
    return failed[0] if failed else {key: round(statistics.median(r[key] for r in runs), 3) for key in runs[0]}


def prepare(work: Path, size: str) -> None:
    """Data and weights, in processes of their own too. If nnU-Net can't prepare its own, its tasks tell why."""
    words = [sys.executable, "-m", "benchmarks.peers.data", str(work), size]
    subprocess.run(words, check=True, cwd=REPOSITORY, env=surroundings(SIZES[size]))
    words = [sys.executable, "-m", "benchmarks.peers.nnunet_data", str(work)]
    subprocess.run(words, check=False, cwd=REPOSITORY, env=surroundings(SIZES[size]), stdout=subprocess.DEVNULL)


def main() -> None:
    """Measure, tell, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full", help="small and tiny only show whether it runs")
    parser.add_argument("--work", type=Path, help="where data are cached; else a temporary folder that is kept")
    parser.add_argument("--rounds", type=int, help="else as many as the size says")
    parser.add_argument("--without", nargs="*", default=[], help="leave out the ways with these words in their names")
    given = parser.parse_args()
    settings = SIZES[given.size]
    rounds = given.rounds or settings.repeats
    tasks = [task for task in TASKS if not any(word in task for word in given.without)]
    work = given.work or Path(tempfile.gettempdir()) / f"smiler-peers-{given.size}"
    work.mkdir(parents=True, exist_ok=True)
    prepare(work.resolve(), given.size)
    runs = all_rounds(work.resolve(), settings, rounds, tasks)
    seen = {network: middles(found) for network, found in runs.items()}
    facts = json.loads((work / "facts.json").read_text())
    outcome = about(_command(given.size, given.rounds, given.without), PACKAGES) | {
        "settings": vars(settings) | {"repeats": rounds, "precision": facts["precision"]},
        "ratios": {network: ratios(found, seen[network]) for network, found in runs.items()},
        "agreement": {network: agreements(work, network) for network in NETWORKS},
        "measured": seen,
        "rounds": runs,
    }
    written = given.size in {"full", "short"}
    if written:
        RESULT.write_text(json.dumps(outcome, indent=1) + "\n")
    print("" if written else json.dumps(outcome, indent=1), table(seen, outcome["ratios"]), sep="\n")


def _command(size: str, rounds: int | None, without: list[str]) -> str:
    """What makes the same run again."""
    words = ["--size", size] if size != "full" else []
    words += ["--rounds", str(rounds)] if rounds else []
    words += ["--without", *without] if without else []
    return f"python -m benchmarks.peers.run {shlex.join(words)}" if words else "make bench-peers"


if __name__ == "__main__":
    main()
