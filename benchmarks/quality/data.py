"""The data of all, made once from the openkbp folder: smiler cohorts, and nnU-Net's raw data sets.

WORK/full, WORK/test        cohorts of train.txt and test.txt with the first five organs; files stay in place
WORK/hidden-S               cohort/ with 70 % hidden by `smiler hide` with seed S, and the sealed truth/
WORK/raw/NAME               a raw data set for nnU-Net, see `raw_data`
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt

from benchmarks.quality.settings import ORGANS, Job
from smiler.domain.cells import Status
from smiler.domain.cohort import Case, Cohort

Labels = npt.NDArray[np.uint8]


def cohorts(source: Path, work: Path, test_cases: int | None = None) -> None:
    """The two cohorts, unless they are there; a few test cases are enough to try things."""
    for name, listed, most in (("full", "train.txt", None), ("test", "test.txt", test_cases)):
        if (work / name / "cases.csv").exists():
            continue
        ids = (source / listed).read_text().split()[:most]
        given = Cohort.open(source)
        _write(work / name, given, [case for case in given if case.id in ids])


def _write(folder: Path, given: Cohort, cases: list[Case]) -> None:
    lines = ["case,patient,image," + ",".join(ORGANS)]
    for case in cases:
        masks = [str(given.mask_path(case, organ).resolve()) for organ in ORGANS]
        lines.append(",".join([case.id, case.patient, str(given.image_path(case).resolve()), *masks]))
    folder.mkdir(parents=True)
    organs = "".join(f'[[organ]]\nkey = "{organ}"\n' for organ in ORGANS)
    (folder / "cohort.toml").write_text(f"format = 1\n{organs}")
    (folder / "cases.csv").write_text("\n".join(lines) + "\n")


def cohort_of(work: Path, job: Job) -> Path:
    """The cohort that a job trains on; hidden ones are made on the way."""
    if not job.alpha:
        return work / "full"
    out = work / f"hidden-{job.seed}"
    if not (out / "cohort" / "cases.csv").exists():
        shutil.rmtree(out, ignore_errors=True)
        given = ["--alpha", str(job.alpha), "--seed", str(job.seed)]
        subprocess.run([sys.executable, "-m", "smiler", "hide", str(work / "full"), str(out), *given], check=True)
    return out / "cohort"


def label_map(masks: list[npt.NDArray[np.bool_] | None], ignore: int | None) -> Labels:
    """Organ k as k + 1 from one mask an organ (None where it isn't annotated), later organs over earlier ones.

    With `ignore`, a voxel where any organ is unknown has that label unless an organ is drawn there.
    """
    shapes = [mask.shape for mask in masks if mask is not None]
    if not shapes:
        raise ValueError("no organ is annotated")
    unknown = any(mask is None for mask in masks)
    labels = np.full(shapes[0], ignore if ignore and unknown else 0, np.uint8)
    for number, mask in enumerate(masks, start=1):
        if mask is not None:
            labels[mask] = number
    return labels


def is_annotated(case: Case, organ: str) -> bool:
    """Whether somebody drew it, or said that it is absent."""
    return case.status(organ) in {Status.ANNOTATED, Status.ABSENT}


def masks_of(cohort: Cohort, case: Case, organs: tuple[str, ...]) -> list[npt.NDArray[np.bool_] | None]:
    """One mask an organ; None where nobody knows."""
    shape = nib.load(cohort.image_path(case)).shape
    masks: list[npt.NDArray[np.bool_] | None] = []
    for organ in organs:
        if case.status(organ) is Status.ABSENT:
            masks.append(np.zeros(shape, bool))
        elif is_annotated(case, organ):
            masks.append(np.asarray(nib.load(cohort.mask_path(case, organ)).dataobj) > 0)
        else:
            masks.append(None)
    return masks


def training_cases(cohort: Cohort, way: str, organs: tuple[str, ...]) -> list[Case]:
    """Those that say something: all for `background`; for others where an organ is annotated at all."""
    return [case for case in cohort if way == "background" or any(is_annotated(case, organ) for organ in organs)]


def raw_data(cohort: Cohort, folder: Path, way: str, organs: tuple[str, ...] = ORGANS) -> None:
    """nnU-Net's raw data set of a cohort, unless it is there, with links to the CT; `way` as in `Method.data`."""
    if (folder / "dataset.json").exists():
        return
    ignore = len(organs) + 1 if way == "ignore" else None
    cases = training_cases(cohort, way, organs)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for case in cases:
        link = folder / "imagesTr" / f"{case.id}_0000.nii.gz"
        link.unlink(missing_ok=True)
        link.symlink_to(cohort.image_path(case).resolve())
        image = nib.load(cohort.image_path(case))
        masks = masks_of(cohort, case, organs)
        known = label_map(masks, ignore) if any(mask is not None for mask in masks) else np.zeros(image.shape, np.uint8)
        nib.save(nib.Nifti1Image(known, image.affine), folder / "labelsTr" / f"{case.id}.nii.gz")
    names = {"background": 0} | {organ: number for number, organ in enumerate(organs, start=1)}
    names |= {"ignore": ignore} if ignore else {}
    about = {"channel_names": {"0": "CT"}, "labels": names, "numTraining": len(cases), "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(about))


def save_masks(out: Path, labels: Labels, affine: npt.NDArray[np.float64], organs: tuple[str, ...] = ORGANS) -> None:
    """One file an organ, as the scorer reads them: OUT/ORGAN.nii.gz from a label map on the CT's own grid."""
    out.mkdir(parents=True, exist_ok=True)
    for number, organ in enumerate(organs, start=1):
        nib.save(nib.Nifti1Image((labels == number).astype(np.uint8), affine), out / f"{organ}.nii.gz")
