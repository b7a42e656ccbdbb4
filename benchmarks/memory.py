"""Peak memory of the commands that go through many volumes, for 10, 100 and 1,000 of them.

    make bench-memory      # results/bench/memory.json and docs/pictures/memory.png

The smallest phantoms, each referenced many times under another name: what is measured is what grows with their number.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.machine import about
from smiler.domain.cells import Cell
from smiler.domain.cohort import Cohort
from smiler.experiments.phantom_cohort import make_phantom_cohort

ROOT = Path(__file__).parents[1]
RESULT, PICTURE = ROOT / "results" / "bench" / "memory.json", ROOT / "docs" / "pictures" / "memory.png"
COUNTS, DIFFERENT, SHAPE = (10, 100, 1000), 10, (8, 32, 32)
SMILER = [sys.executable, "-m", "smiler"]
PEAK = (
    "import re, sys; from smiler.cli import main\n"
    "try: main()\n"
    "finally: print('peak', re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1], file=sys.stderr)"
)
TINY = ["--steps", "60", "-s", "network.width=8", "-s", "sampling.patch_size=32", "-s", "data.spacing_xy_mm=native"]


def many(few: Cohort, folder: Path, count: int) -> Path:
    """A cohort of so many volumes; one organ in two is unannotated."""
    cases = []
    for n in range(count):
        base = few.cases[n % len(few.cases)]
        cells = {}
        for k, (key, cell) in enumerate(base.cells.items()):
            path = str(few.folder / cell.path) if cell.path else ""
            cells[key] = Cell() if (k + n) % 2 else replace(cell, path=path)
        cases.append(replace(base, id=f"v{n:04d}", patient=f"v{n:04d}", image=str(few.image_path(base)), cells=cells))
    folder.mkdir()
    replace(few, folder=folder, cases=tuple(cases)).save()
    return folder


def peak(*words: object) -> tuple[int, float]:
    """Peak memory (MB) of a command, and its seconds."""
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", PEAK, *map(str, words)], capture_output=True, text=True, check=False)
    if "peak" not in done.stderr or done.returncode not in {0, 1}:
        raise SystemExit(done.stderr)
    return int(done.stderr.rsplit("peak", 1)[1]) // 1000, round(time.monotonic() - begin, 1)


Table = dict[str, dict[str, float]]
"""Command -> number of volumes -> figure."""


def measured(work: Path, counts: Sequence[int]) -> tuple[Table, Table]:
    """MB, and seconds."""
    few = make_phantom_cohort(work / "few", DIFFERENT, SHAPE)
    run = work / "run"
    words = ["train", str(many(few, work / "learn", DIFFERENT)), str(run), *TINY]
    subprocess.run([*SMILER, *words], check=True, capture_output=True)
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    spent: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for count in counts:
        cohort = many(few, work / f"cohort{count}", count)
        commands = {
            "audit": ("audit", cohort, "--json"),
            "predict": ("predict", run, cohort, "--out", work / f"masks{count}"),
            "relabel": ("relabel", run, cohort, work / f"completed{count}"),
            "evaluate": ("evaluate", run, cohort, "--out", work / f"scores{count}"),
        }
        for name, command in commands.items():
            found[name][str(count)], spent[name][str(count)] = peak(*command)
            print(name, count, found[name][str(count)], "MB", spent[name][str(count)], "s", flush=True)
    return dict(found), dict(spent)


def plot(found: Table) -> None:
    """MB against the number of volumes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for name, peaks in found.items():
        axes.plot([int(count) for count in peaks], list(peaks.values()), "o-", label=name)
    axes.set(xscale="log", xlabel="volumes", ylabel="peak memory (MB)", ylim=(0, None), xticks=COUNTS)
    axes.set_xticklabels([f"{count:,}" for count in COUNTS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, ncols=4)
    figure.savefig(PICTURE, dpi=150)


def main() -> None:
    """Measure, draw, write; other numbers of volumes are only told."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="numbers of volumes; only told if given")
    counts = tuple(parser.parse_args().counts)
    head, begin = about("make bench-memory", ("smiler-seg", "torch", "numpy")), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found, spent = measured(Path(folder), counts)
    minutes = round((time.monotonic() - begin) / 60, 1)
    outcome = head | {"shape_zyx": SHAPE, "peak_mb": found, "seconds": spent, "took_minutes": minutes}
    if counts == COUNTS:
        plot(found)
        RESULT.write_text(json.dumps(outcome, indent=1) + "\n")
    print(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main()
