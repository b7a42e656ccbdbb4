"""The cohort as nnU-Net has it: raw data set, its own fingerprint, plans and preprocessing.

Plans are edited as its documentation describes: patch, batch, spacing and grey values are those of all peers, and a
second configuration takes whole slices for prediction, as its planner would for slices of this size.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers import data
from benchmarks.peers.settings import ORGANS, WINDOW_HU, Settings

NAME, PLANS = "Dataset001_Peers", "nnUNetPlans"
TRAINING, WHOLE_SLICES = "2d", "2d_whole"


def point_to(work: Path) -> None:
    """nnU-Net finds its folders by the environment."""
    for part in ("raw", "preprocessed", "results"):
        folder = work / "nnunet" / part
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{part}"] = str(folder)


def make(work: Path) -> None:
    """Write, plan, preprocess."""
    point_to(work)
    write_raw(work, work / "nnunet" / "raw" / NAME)
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    api.extract_fingerprints([1], num_processes=2, check_dataset_integrity=True, verbose=False)
    api.plan_experiments([1])
    path = plans_path(work)
    path.write_text(json.dumps(edited(json.loads(path.read_text()), work), indent=1))
    api.preprocess([1], PLANS, (TRAINING,), (2,))
    (work / "nnunet" / "done").touch()


def write_raw(work: Path, folder: Path) -> None:
    """Links to images and label maps, and the file that describes them."""
    cohort = data.cohort_of(work)
    for case in cohort:
        link(cohort.image_path(case), folder / "imagesTr" / f"{case.id}_0000.nii.gz")
        link(work / "flat" / f"{case.id}.nii.gz", folder / "labelsTr" / f"{case.id}.nii.gz")
    labels = {"background": 0} | {organ: number for number, organ in enumerate(ORGANS, start=1)}
    about = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": len(cohort), "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(about))


def link(source: Path, target: Path) -> None:
    """A link, unless it is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.symlink_to(source.resolve())


def plans_path(work: Path) -> Path:
    """Where nnU-Net keeps its plans."""
    return work / "nnunet" / "preprocessed" / NAME / f"{PLANS}.json"


def edited(plans: dict[str, Any], work: Path) -> dict[str, Any]:
    """Its plans with the sizes, the grid and the grey values of all."""
    settings, facts = Settings.load(work), data.facts_of(work)
    plans["configurations"][TRAINING] |= {
        "patch_size": [settings.patch] * 2,
        "batch_size": settings.batch,
        "spacing": [facts["spacing_mm"]] * 2,
    }
    whole = {"inherits_from": TRAINING, "patch_size": list(settings.volume_zyx[1:])}
    plans["configurations"][WHOLE_SLICES] = whole
    low, high = WINDOW_HU
    grey = {"percentile_00_5": low, "percentile_99_5": high, "mean": facts["mean"], "std": facts["sd"]}
    plans["foreground_intensity_properties_per_channel"]["0"] |= grey
    return plans


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if not (place / "nnunet" / "done").exists():
        make(place)
