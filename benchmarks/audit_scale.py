"""Audit of 1,000 volumes of 128x128x64: seconds and peak memory of the whole command, to results/bench/audit.json.

    make bench-audit

Twenty phantoms are made and written fifty times each, with one voxel of every CT changed, so that no two are the same.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.machine import about
from smiler.domain.cells import Cell
from smiler.domain.cohort import Case, Cohort
from smiler.experiments.phantom_cohort import make_phantom_cohort
from smiler.formats.nifti import read_ct, write_ct

VOLUMES, DIFFERENT, SHAPE = 1000, 20, (64, 128, 128)
RESULT = Path(__file__).parents[1] / "results" / "bench" / "audit.json"
PEAK = (
    "import re, sys; from smiler.cli import main\n"
    "try: main()\n"
    "finally: print('peak', re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1], file=sys.stderr)"
)


def thousand(folder: Path) -> Cohort:
    """The cohort."""
    few = make_phantom_cohort(folder, DIFFERENT, SHAPE)
    cts = {case.id: read_ct(few.image_path(case)) for case in few}
    cases = []
    for n in range(VOLUMES):
        base = few.cases[n % DIFFERENT]
        hu = cts[base.id].hu.copy()
        hu[0, 0, 0] = n - 1000
        image = f"images/v{n:04d}.nii.gz"
        write_ct(folder / image, hu, cts[base.id].geometry)
        cases.append(Case(f"v{n:04d}", f"v{n:04d}", image, _own(folder, base, n)))
    made = replace(few, cases=tuple(cases))
    made.save()
    return made


def _own(folder: Path, base: Case, number: int) -> dict[str, Cell]:
    """The case's cells with a copy of its label map."""
    copies = {}
    for cell in base.cells.values():
        if cell.path and cell.path not in copies:
            copies[cell.path] = f"labels/v{number:04d}.nii.gz"
            (folder / copies[cell.path]).write_bytes((folder / cell.path).read_bytes())
    return {key: replace(cell, path=copies[cell.path]) if cell.path else cell for key, cell in base.cells.items()}


def main() -> None:
    """Make the cohort, audit it with and without --deep, write the outcome."""
    outcome = about("make bench-audit", ("smiler-seg", "numpy")) | {"volumes": VOLUMES, "shape_zyx": SHAPE}
    with tempfile.TemporaryDirectory() as folder:
        thousand(Path(folder))
        for name, more in (("audit", []), ("audit_deep", ["--deep"])):
            begin = time.monotonic()
            words = [sys.executable, "-c", PEAK, "audit", folder, "--json", *more]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            seconds = time.monotonic() - begin
            peak = int(done.stderr.rsplit("peak", 1)[1]) / 1e3
            found = json.loads(done.stdout)
            outcome[name] = {"seconds": round(seconds, 1), "peak_mb": round(peak), "faults": len(found["faults"])}
    RESULT.write_text(json.dumps(outcome, indent=1) + "\n")
    print(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main()
