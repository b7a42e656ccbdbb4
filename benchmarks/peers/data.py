"""The data of the comparison, made once: a partly annotated cohort, a volume to predict, and weights for all peers.

WORK/hidden/cohort    what smiler trains on: NIfTI, a mask an organ, half of the annotations gone
WORK/flat             the same annotations as label maps, which is what the peers read
WORK/volume.nii.gz    what is predicted
WORK/runs/NETWORK     a short training, so that all predict organs with the same weights
WORK/facts.json       working grid, grey values and precision, the same for all
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from benchmarks.peers.settings import COARSE_MM, NETWORKS, ORGANS, SIZES, Settings

from smiler.domain.cells import Status
from smiler.domain.cohort import Case, Cohort
from smiler.domain.geometry import Geometry
from smiler.domain.progress import Silent
from smiler.experiments.hide import hide
from smiler.experiments.phantom_cohort import make_phantom_cohort
from smiler.formats.nifti import write_ct, write_labels
from smiler.formats.volumes import read_header, read_labels
from smiler.networks.checkpoint import save_checkpoint
from smiler.networks.device import settled
from smiler.phantom import PhantomOptions, generate
from smiler.recipe.recipe import Recipe, load_recipe
from smiler.store.options import DataOptions
from smiler.store.store import Store
from smiler.verbs.run import RunFolder
from smiler.verbs.train import TrainRequest, open_store, select_organs, train


def make(work: Path, settings: Settings) -> None:
    """Everything that is not there yet."""
    if (work / "settings.json").exists() and Settings.load(work) != settings:
        raise SystemExit(f"{work} holds the data of another size: take another folder")
    settings.save(work)
    if not (work / "flat" / "done").exists():
        for part in ("full", "hidden"):
            shutil.rmtree(work / part, ignore_errors=True)
        full = make_phantom_cohort(work / "full", settings.cases, settings.cohort_zyx, settings.seed)
        flatten(hide(full, work / "hidden", settings.alpha), work / "flat")
        (work / "flat" / "done").touch()
    if not (work / "facts.json").exists():
        spacing = make_volume(work, settings)
        facts = {"spacing_mm": spacing, "precision": settled("auto")}
        (work / "facts.json").write_text(json.dumps(facts) + "\n")
    for network in NETWORKS:
        if not (work / "runs" / network / "done").exists():
            learn(work, network)


def make_volume(work: Path, settings: Settings) -> float:
    """The CT that is predicted; its in-plane spacing in mm."""
    phantom = generate(settings.seed + 1_000_003, PhantomOptions(shape=settings.volume_zyx))
    write_ct(work / "volume.nii.gz", phantom.hu, Geometry.canonical(phantom.hu.shape, phantom.spacing))
    return float(phantom.spacing[1])


def flatten(cohort: Cohort, folder: Path) -> None:
    """A label map a case with the annotated organs; what nobody annotated reads as background, as peers have it."""
    for case in cohort:
        grid = read_header(cohort.image_path(case))
        flat = np.zeros(grid.geometry.shape, dtype=np.uint8)
        for number, organ in enumerate(ORGANS, start=1):
            if case.status(organ) is Status.ANNOTATED:
                flat[_mask(cohort, case, organ) > 0] = number
        write_labels(folder / f"{case.id}.nii.gz", flat, grid)


def _mask(cohort: Cohort, case: Case, organ: str) -> np.ndarray:
    drawn = read_labels(cohort.mask_path(case, organ), geometry=read_header(cohort.image_path(case)).geometry)
    return drawn.mask(case.cell(organ).labels)


def recipe(work: Path, network: str, steps: int) -> Recipe:
    """One softmax over organs and background, as the peers have it, on the common grid, patch and batch."""
    settings, facts = Settings.load(work), facts_of(work)
    organs = ",".join(f'"{organ}"' for organ in ORGANS)
    changes = [
        *NETWORKS[network],
        f"organs=[{organs}]",
        f"data.spacing_xy_mm={facts['spacing_mm']}",
        f"sampling.patch_size={settings.patch}",
        f"sampling.batch_size={settings.batch}",
        f"training.steps={steps}",
        f"training.precision={facts['precision']}",
    ]
    return load_recipe("marginal-dice", None, changes)


def facts_of(work: Path) -> dict[str, float | str]:
    """What is the same for all peers."""
    found: dict[str, float | str] = json.loads((work / "facts.json").read_text())
    return found


def cohort_of(work: Path) -> Cohort:
    """The partly annotated cohort."""
    return Cohort.open(work / "hidden" / "cohort")


def store_of(work: Path, network: str) -> Store:
    """It on the working grid."""
    wanted = recipe(work, network, 1)
    return open_store(select_organs(cohort_of(work), wanted), wanted, None, Silent())


def learn(work: Path, network: str) -> None:
    """A short training: what it learns does not matter, only that organs are found and that all share the weights."""
    run = work / "runs" / network
    train(TrainRequest(cohort_of(work), run, recipe(work, network, Settings.load(work).learn), resume=run.exists()))
    store = store_of(work, network)
    facts = facts_of(work) | dict(zip(("mean", "sd"), store.normalisation, strict=True))
    (work / "facts.json").write_text(json.dumps(facts) + "\n")
    (run / "done").touch()


def on_coarse_grid(work: Path, network: str) -> Path:
    """A run folder with the common weights and the coarse grid."""
    source, run = work / "runs" / network, work / "runs" / f"{network}-coarse"
    if not run.exists():
        changed = recipe(work, network, Settings.load(work).learn).model_copy(
            update={"data": DataOptions(spacing_xy_mm=COARSE_MM)}
        )
        shutil.copytree(source, run)
        RunFolder(run).recipe_path.write_text(changed.to_toml())
        learned = RunFolder(run).newest()
        facts = {**learned.facts, "data": changed.data.model_dump(mode="json")}
        parts = {"model": learned.tensors("model")}
        save_checkpoint(learned.path.parent, learned.step, learned.steps, facts, parts)
    return run


if __name__ == "__main__":
    make(Path(sys.argv[1]), SIZES[sys.argv[2]])
