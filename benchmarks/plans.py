"""Whether `smiler plan` keeps its word: five cohorts are planned and trained without a change; memory said and used.

    make bench-plans       # results/plan/plans.json; real CT from SMILER_REAL_DATA, else ../shared/data
    python -m benchmarks.plans spleen ircadb        # only some of them

Phantoms with thin and thick slices, MSD's spleen, a 3D-IRCADb patient, 40 head-and-neck CT (openkbp). Ten minutes.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import about
from benchmarks.memory import peak
from benchmarks.real_ct import DATA, smiler
from smiler.domain.files import write_json

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "plan" / "plans.json"
STEPS, ALLOWED = 40, 0.15


def phantom(size: str, work: Path) -> Path:
    """Six phantoms of this size; half of their annotations are missing."""
    smiler("phantom", work / "whole", "--cases", "6", "--size", size)
    smiler("hide", work / "whole", work / "hidden", "--alpha", "0.5")
    return work / "hidden" / "cohort"


def imported(source: Path, work: Path, *words: str) -> Path:
    """A data set of DATA as a cohort."""
    smiler("import", source, work / "cohort", "--absent-means", "unannotated", "--as", "expert", *words)
    return work / "cohort"


def openkbp(work: Path) -> Path:
    """Its first cases, by reference."""
    source, folder = DATA / "openkbp", work / "cohort"
    folder.mkdir()
    shutil.copy(source / "cohort.toml", folder)
    rows = (source / "cases.csv").read_text(encoding="utf-8").splitlines()[:41]
    (folder / "cases.csv").write_text(
        "\n".join([rows[0], *(re.sub(r"(?<=,)(?=(images|labels)/)", f"{source}/", row) for row in rows[1:])]) + "\n",
        encoding="utf-8",
    )
    return folder


COHORTS = {
    "phantom, thick slices": lambda work: phantom("24x128x128", work),
    "phantom, thin slices": lambda work: phantom("96x128x128", work),
    "spleen": lambda work: imported(DATA / "msd_task09_spleen", work),
    "ircadb": lambda work: imported(DATA / "3dircadb1_17", work),
    "openkbp": openkbp,
}


def one(name: str, network: str) -> dict[str, Any]:
    """Plan a cohort, train on it with nothing but the plan and fewer steps."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        cohort = COHORTS[name](work)
        words = ["--set", f"network.name={network}"]
        planned = json.loads(smiler("plan", cohort, "--json", *words)[0])
        used, seconds = peak("train", cohort, work / "run", "--steps", STEPS, *words)
        off = used / 1000 / planned["memory_gb"] - 1
        row = {"cohort": name, "network": network, "choices": planned["choices"]}
        row["said_gb"] = round(planned["memory_gb"], 3)
        return {**row, "used_gb": used / 1000, "off": round(off, 3), "kept": abs(off) <= ALLOWED, "seconds": seconds}


def main() -> int:
    """Run what is asked for and keep the other rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", nargs="*", metavar="COHORT", help=", ".join(COHORTS))
    parser.add_argument("--networks", default="unet,unet3d")
    options = parser.parse_args()
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"] if RESULT.exists() else []
    if unknown := set(options.cohorts) - set(COHORTS):
        parser.error(f"no such cohort: {', '.join(sorted(unknown))}; there are {', '.join(COHORTS)}")
    for name in options.cohorts or COHORTS:
        for network in options.networks.split(","):
            row = one(name, network)
            print(f"{name}, {network}: {row['said_gb']} GB said, {row['used_gb']} used ({row['off']:+.0%})", flush=True)
            rows = [old for old in rows if (old["cohort"], old["network"]) != (name, network)] + [row]
            told = about("python -m benchmarks.plans", ["smiler-seg", "torch", "monai"])
            write_json(RESULT, {**told, "rows": rows})
    return int(not all(row["kept"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
