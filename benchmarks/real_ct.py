"""Checks on real CT, each through the real command line; the outcome goes to results/real/.

    make real        # SMILER_REAL_DATA, else ../shared/data beside the repository
    python -m benchmarks.real_ct import_both overfit     # only some of the checks; the others' outcomes are kept

Import two data sets of different layout into one cohort, audit, train on one volume until it is known, predict,
relabel; predict a 512x512x300 volume within 4 GB. Needs about ten minutes on two cores.
"""

import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from benchmarks.machine import about

REPOSITORY = Path(__file__).parents[1]
DATA = Path(os.environ.get("SMILER_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
SMILER = [sys.executable, "-c", "from smiler.cli import main; main()"]
ABDOMINAL = (
    "spleen,kidney_right,kidney_left,gallbladder,liver,stomach,pancreas,adrenal_right,adrenal_left,aorta,"
    "inferior_vena_cava,portal_vein_and_splenic_vein"
)
ORGANS = "liver,spleen,stomach,pancreas,kidney_right,kidney_left,aorta,gallbladder"
MEANS = ["--absent-means", "unannotated", "--as", "expert"]
MINUTES = 3.0
SMALL = ["-s", "data.spacing_xy_mm=3", "-s", "network.width=16", "-s", "sampling.patch_size=128"]


def smiler(*words: object) -> tuple[str, float]:
    """Run a command: its standard output and seconds."""
    begin = time.monotonic()
    done = subprocess.run([*SMILER, *map(str, words)], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begin
    print(f"$ smiler {' '.join(map(str, words))}\n{done.stdout}{done.stderr}", flush=True)
    if done.returncode:
        raise SystemExit(f"failed with exit code {done.returncode}")
    return done.stdout, seconds


def import_both(work: Path) -> dict[str, Any]:
    """Two data sets with different layouts and organs into one cohort."""
    example = DATA / "totalsegmentator_example"
    cohort = work / "cohort"
    image, labels = "example_ct_3mm.nii.gz", "example_ct_3mm_seg_v2fast_117classes.nii.gz"
    options = ["--format", "folder", "--image", image, "--labelmap", labels, "--labels", "totalsegmentator-v2"]
    smiler("import", example, cohort, *options, *MEANS, "--organs", ORGANS)
    smiler("import", DATA / "msd_task09_spleen", cohort)
    found = json.loads(smiler("audit", cohort, "--json")[0])
    smiler("audit", cohort)
    first, second = (dict(zip(found["organs"], row, strict=True)) for row in found["coverage"])
    assert first["spleen"] == second["spleen"] == "annotated"
    assert first["liver"] == "annotated"
    assert second["liver"] == "unannotated"
    return {"coverage": [first, second], "notes": found["notes"]}


def overfit(work: Path) -> dict[str, Any]:
    """Train on the one completely annotated volume and predict it: no wrong axis, flip or window can pass this."""
    cohort = work / "one"
    example = DATA / "totalsegmentator_example"
    image, labels = "example_ct_3mm.nii.gz", "example_ct_3mm_seg_v2fast_117classes.nii.gz"
    options = ["--format", "folder", "--image", image, "--labelmap", labels, "--labels", "totalsegmentator-v2"]
    smiler(
        "import",
        example,
        cohort,
        *options,
        "--absent-means",
        "unannotated",
        "--as",
        "expert",
        "--organs",
        "liver,spleen",
    )
    train = ["--method", "smile", "--time-budget", MINUTES, *SMALL]
    _, seconds = smiler("train", cohort, work / "one-run", *train)
    scores = json.loads(smiler("evaluate", work / "one-run", cohort, "--json")[0])["learned"]["yes"]
    dice = {organ: round(value["mean"], 4) for organ, value in scores["dice"].items() if value["n"]}
    assert seconds < 300, f"{seconds:.0f} s"
    assert dice["liver"] >= 0.95, dice
    assert dice["spleen"] >= 0.85, dice
    return {"dice": dice, "train_seconds": round(seconds, 1)}


def train_relabel_predict(work: Path) -> dict[str, Any]:
    """Train on both volumes, fill the second one's empty cells, predict both CT on their own grids."""
    cohort, run = work / "cohort", work / "run"
    smiler("train", cohort, run, "--method", "smile", "--steps", 500, *SMALL)
    smiler("relabel", run, cohort, work / "completed")
    found = json.loads(smiler("audit", work / "completed", "--json")[0])
    filled = [organ for organ, state in zip(found["organs"], found["coverage"][1], strict=True) if state == "auto"]
    assert filled, found["coverage"]  # which organs: the second volume is stored mirrored, and training is short
    images = [
        DATA / "totalsegmentator_example" / "example_ct_3mm.nii.gz",
        DATA / "msd_task09_spleen" / "imagesTr" / "spleen_8.nii.gz",
    ]
    _, seconds = smiler("predict", run, *images, "--out", work / "masks")
    for image in images:
        ct: Any = nib.load(image)
        name = image.name.removesuffix(".nii.gz")
        for mask_path in sorted((work / "masks" / name).glob("*.nii.gz")):
            mask: Any = nib.load(mask_path)
            assert mask.shape == ct.shape
            assert np.array_equal(mask.affine, ct.affine)
    volumes = (work / "masks" / "volumes.csv").read_text()
    return {"filled": filled, "predict_seconds": round(seconds, 1), "volumes": volumes.splitlines()}


def large_volume(work: Path) -> dict[str, Any]:
    """Predict a 512x512x300 CT: seconds and peak memory of the whole command."""
    source: Any = nib.load(DATA / "msd_task09_spleen" / "imagesTr" / "spleen_8.nii.gz")
    voxels = np.repeat(np.asarray(source.dataobj).astype(np.int16), 10, axis=2)[:, :, :300]
    affine = source.affine @ np.diag([1, 1, 0.1, 1])
    path = work / "large.nii.gz"
    nib.save(nib.Nifti1Image(voxels, affine), path)
    code = (
        "import re, sys; from smiler.cli import main; sys.argv[0] = 'smiler'\n"
        "try: main()\n"
        "finally:\n"
        "    status = open('/proc/self/status').read()\n"
        "    print('peak', re.search('VmHWM:\\\\s+(\\\\d+)', status)[1], file=sys.stderr)"
    )
    begin = time.monotonic()
    words = [sys.executable, "-c", code, "predict", str(work / "run"), str(path), "--out", str(work / "large")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    seconds = time.monotonic() - begin
    peak = int(done.stderr.rsplit("peak", 1)[1]) / 1e6
    print(f"512x512x300: {seconds:.1f} s, peak {peak:.2f} GB\n{done.stdout}")
    assert peak < 4
    return {"seconds": round(seconds, 1), "peak_gb": round(peak, 3), "shape": list(voxels.shape)}


def four_sources(work: Path) -> dict[str, Any]:
    """Zipped DICOM, JPEG 2000 DICOM with a label map, NIfTI with a label map and MSD: one command each, then all."""
    cohort, example, run = work / "four", DATA / "totalsegmentator_example", work / "four-run"
    smiler("import", DATA / "3dircadb1_17", cohort)
    smiler("import", DATA / "msd_task09_spleen", cohort)
    for image, labels, table in (
        ("example_ct_3mm.nii.gz", "example_ct_3mm_seg_v1_104classes.nii.gz", "totalsegmentator-v1"),
        ("dicom", "dicom_seg_v2_117classes.nii.gz", "totalsegmentator-v2"),
    ):
        options = ["--format", "folder", "--image", image, "--labelmap", labels, "--labels", table]
        smiler(
            "import",
            example,
            cohort,
            *options,
            "--absent-means",
            "unannotated",
            "--as",
            "expert",
            "--organs",
            ABDOMINAL,
        )
    smiler("audit", cohort, "--out", work / "audit")
    shutil.copy(work / "audit" / "coverage.png", REPOSITORY / "docs" / "pictures" / "audit.png")
    found = json.loads((work / "audit" / "audit.json").read_text())
    assert not found["faults"]
    _, trained = smiler("train", cohort, run, "--organs", "liver,spleen,stomach,pancreas", "--steps", 300, *SMALL)
    smiler("relabel", run, cohort, work / "four-completed")
    series = [example / "dicom", DATA / "3dircadb1_17" / "PATIENT_DICOM.zip"]
    _, seconds = smiler("predict", run, *series, "--out", work / "four-masks", "--write", "nifti,dicom-seg,rtstruct")
    from smiler.formats.volumes import read_header, read_labels

    voxels = {}
    for name, path in zip(("dicom", "PATIENT_DICOM"), series, strict=True):
        geometry = read_header(path).geometry
        for kind in ("organs_seg.dcm", "organs_rtstruct.dcm"):
            drawn = read_labels(work / "four-masks" / name / kind, geometry=geometry)
            for number, organ in enumerate(("liver", "spleen", "stomach", "pancreas"), start=1):
                mask = read_labels(work / "four-masks" / name / f"{organ}.nii.gz").codes
                voxels[f"{name} {organ}"] = int(mask.sum())
                assert np.array_equal(drawn.mask([number]), mask), (name, kind, organ)
    return {
        "coverage": dict(zip(found["cases"], found["coverage"], strict=True)),
        "organs": found["organs"],
        "notes": found["notes"],
        "train_seconds": round(trained, 1),
        "predict_seconds": round(seconds, 1),
        "voxels_equal_in_nifti_seg_and_rtstruct": voxels,
    }


CHECKS = {check.__name__: check for check in (import_both, overfit, train_relabel_predict, large_volume, four_sources)}
TARGET = REPOSITORY / "results" / "real" / "latest.json"


def main(names: list[str]) -> None:
    """All checks, or those named; a failure ends it. What is done is written after each."""
    if not DATA.is_dir():
        raise SystemExit(f"no real CT at {DATA}: set SMILER_REAL_DATA")
    work = Path(tempfile.mkdtemp(prefix="smiler-real-"))
    outcome: dict[str, Any] = json.loads(TARGET.read_text()) if names and TARGET.exists() else {}
    outcome |= about("make real", ("smiler-seg", "torch", "monai", "numpy"))
    try:
        for name in names or CHECKS:
            date = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
            outcome[name] = {"date": date} | CHECKS[name](work)
            TARGET.parent.mkdir(parents=True, exist_ok=True)
            TARGET.write_text(json.dumps(outcome, indent=1).replace(f"{DATA}/", "") + "\n")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
