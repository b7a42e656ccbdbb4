"""Peak memory of the commands that go through many volumes, for 10, 100 and 1,000 of them.

    make bench-memory      # results/bench/memory.json and docs/pictures/memory.png

Small phantoms, each referenced many times under another name: what is measured is what grows with their number.
"""

import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from smiler.domain.cells import Cell
from smiler.domain.cohort import Cohort
from smiler.experiments.phantom_cohort import make_phantom_cohort

ROOT = Path(__file__).parents[1]
RESULT, PICTURE = ROOT / "results" / "bench" / "memory.json", ROOT / "docs" / "pictures" / "memory.png"
COUNTS, DIFFERENT = (10, 100, 1000), 10
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


def peak(*words: object) -> int:
    """Peak memory (MB) of a command."""
    done = subprocess.run([sys.executable, "-c", PEAK, *map(str, words)], capture_output=True, text=True, check=False)
    if "peak" not in done.stderr or done.returncode not in {0, 1}:
        raise SystemExit(done.stderr)
    return int(done.stderr.rsplit("peak", 1)[1]) // 1000


def measured(work: Path) -> dict[str, dict[str, int]]:
    """Command -> number of volumes -> MB."""
    few = make_phantom_cohort(work / "few", DIFFERENT, (16, 48, 48))
    cohorts = {count: many(few, work / f"cohort{count}", count) for count in COUNTS}
    run = work / "run"
    subprocess.run([*SMILER, "train", str(cohorts[10]), str(run), *TINY], check=True, capture_output=True)
    found: dict[str, dict[str, int]] = {}
    for count, cohort in cohorts.items():
        commands = {
            "audit": ("audit", cohort, "--json"),
            "predict": ("predict", run, cohort, "--out", work / f"masks{count}"),
            "relabel": ("relabel", run, cohort, work / f"completed{count}"),
            "evaluate": ("evaluate", run, cohort, "--out", work / f"scores{count}"),
        }
        for name, words in commands.items():
            found.setdefault(name, {})[str(count)] = peak(*words)
            print(name, count, found[name][str(count)], "MB", flush=True)
    return found


def plot(found: dict[str, dict[str, int]]) -> None:
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
    """Measure, draw, write."""
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder))
    plot(found)
    outcome = {
        "command": "make bench-memory",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "versions": {name: version(name) for name in ("smiler-seg", "torch", "numpy")},
        "peak_mb": found,
    }
    RESULT.write_text(json.dumps(outcome, indent=1) + "\n")
    print(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main()
