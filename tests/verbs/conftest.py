"""One small cohort of phantoms and one small trained network, shared by all tests of the verbs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from smiler.domain.cells import ABSENT, Cell, SliceRange, annotated, proposed
from smiler.domain.cohort import Case, Cohort
from smiler.domain.geometry import Geometry
from smiler.domain.organs import Organ, OrganSet
from smiler.formats.nifti import grid_of, read_ct, write_ct, write_labels
from smiler.networks.checkpoint import read_checkpoint, save_checkpoint
from smiler.networks.device import make_fabric
from smiler.phantom import PhantomOptions, generate
from smiler.prediction.model import Model, load_model
from smiler.prediction.scores import predict_working
from smiler.recipe.recipe import load_recipe
from smiler.verbs.run import RunFolder
from smiler.verbs.train import TrainRequest, train

KEYS = ("liver", "liver_tumor", "spleen", "stomach")
ORGANS = OrganSet((Organ("liver"), Organ("liver_tumor", part_of="liver"), Organ("spleen"), Organ("stomach")))
SHAPE = (8, 32, 32)
TINY = [
    "data.spacing_xy_mm=native",
    "network.width=8",
    "sampling.patch_size=32",
    "sampling.batch_size=2",
    "training.steps=4",
    "training.device=cpu",
    "training.precision=32",
]


@dataclass(frozen=True)
class Tiny:
    """A cohort in which much is missing, the whole truth about it, and a run that was trained on it."""

    cohort: Cohort
    truth: Mapping[str, Mapping[str, NDArray[np.bool_]]]
    run: Path
    model: Model

    @property
    def image(self) -> Path:
        """The first case's CT."""
        return self.cohort.image_path(self.cohort.cases[0])


def cells_of(number: int, masks: Mapping[str, NDArray[np.bool_]], path: str) -> dict[str, Cell]:
    """Case 0 is complete, 1 knows its stomach and part of its spleen, 2 its tumour and a proposal, 3 nothing."""
    whole = {"liver": (1, 2), "liver_tumor": (2,), "spleen": (3,), "stomach": (4,)}
    drawn = {key: annotated(path, labels) if masks[key].any() else ABSENT for key, labels in whole.items()}
    if number == 1:
        slices = np.flatnonzero(masks["spleen"].any(axis=(1, 2)))
        part = (SliceRange(int(slices[0]), int(slices[0]) + 2),)
        return {"stomach": drawn["stomach"], "spleen": annotated(path, (3,), part)}
    if number == 2:
        return {"liver_tumor": drawn["liver_tumor"], "spleen": proposed("masks/case2_old.nii.gz")}
    return drawn if number == 0 else {}


def make_cohort(folder: Path) -> tuple[Cohort, dict[str, dict[str, NDArray[np.bool_]]]]:
    cases, truth = [], {}
    for number, seed in enumerate((3, 4, 5, 6)):
        phantom = generate(seed, PhantomOptions(shape=SHAPE))
        name, geometry = f"case{number}", Geometry.canonical(SHAPE, phantom.spacing)
        labels = np.zeros(SHAPE, np.uint8)
        for value, key in enumerate(KEYS, start=1):
            labels[phantom.masks[key]] = value
        truth[name] = {key: phantom.masks[key] for key in KEYS}
        write_ct(folder / "images" / f"{name}.nii.gz", phantom.hu, geometry)
        write_labels(folder / "labels" / f"{name}.nii.gz", labels, grid_of(geometry))
        write_labels(
            folder / "masks" / f"{name}_old.nii.gz", phantom.masks["spleen"].astype(np.uint8), grid_of(geometry)
        )
        cells = cells_of(number, phantom.masks, f"labels/{name}.nii.gz")
        cases.append(Case(name, f"patient{number // 2}", f"images/{name}.nii.gz", cells))
    cohort = Cohort(folder, ORGANS, tuple(cases), "tiny")
    cohort.save()
    return cohort, truth


def predict_half(run: Path, image: Path) -> Model:
    """Set the classifier's bias so that each organ is predicted in about half of the image's voxels."""
    checkpoint = RunFolder(run).newest()
    fabric = make_fabric("cpu", "32")
    model, ct = load_model(checkpoint, fabric), read_ct(image)
    channels = tuple(range(len(model.organs)))
    scores = predict_working(model, ct.hu.clip(-160, 240), ct.geometry, channels).score
    tensors = checkpoint.tensors("model")
    middle = np.median(scores.reshape(len(scores), -1).astype(np.float32), axis=1)
    tensors["classifier.bias"] = tensors["classifier.bias"] - torch.from_numpy(middle)
    folder, facts = checkpoint.path.parent, checkpoint.facts
    path = save_checkpoint(folder, checkpoint.step, checkpoint.steps, facts, {"model": tensors})
    return load_model(read_checkpoint(path), fabric)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Made once; tests leave it as it is."""
    torch.set_num_threads(1)
    cohort, truth = make_cohort(tmp_path_factory.mktemp("tiny") / "cohort")
    recipe = load_recipe("smiler", None, [*TINY, "loss.name=bce_dice", "curriculum.rounds=1"])
    run = train(TrainRequest(cohort, cohort.folder.parent / "run", recipe)).path
    return Tiny(cohort, truth, run, predict_half(run, cohort.image_path(cohort.cases[0])))
