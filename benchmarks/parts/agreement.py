"""Masks on disk against a float32 reference on the CT's whole grid, from a trained network: Dice an organ.

The reference is written plainly. The network sees one slice at a time in float32; an organ's scores go from the
working grid to the CT's in one piece, by torch's own interpolation; at each voxel organs that exclude each other are
compared. It shares with prediction the weights, the working image and what a score is; neither boxes, blocks, batches
and half precision nor the resampling of scores.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from smiler.domain.cohort import Cohort
from smiler.domain.organs import OrganSet
from smiler.formats.volumes import CT, read_ct
from smiler.networks.device import make_fabric
from smiler.prediction.model import Model, load_model
from smiler.prediction.volume import to_working
from smiler.recipe.recipe import load_recipe
from smiler.store.options import DataOptions
from smiler.verbs.predict import PredictRequest, predict
from smiler.verbs.run import RunFolder
from smiler.verbs.train import TrainRequest, train

Mask = NDArray[np.bool_]
LEARN = (
    "training.steps=1000",
    "training.precision=bf16",
    "sampling.batch_size=8",
    "sampling.patch_size=128",
    "network.name=deeplab",
    "network.depth=34",
)
"""Enough for the network to find every organ: what it does not find agrees without saying anything."""


@dataclass(frozen=True)
class Agreed:
    """Dice of each organ that the network finds, the reference's voxels of it, and organs that neither finds."""

    dice: dict[str, float]
    voxels: dict[str, int]
    neither: tuple[str, ...]

    @property
    def least(self) -> float:
        """The smallest."""
        return min(self.dice.values())

    def to_json(self) -> dict[str, object]:
        """As it is told."""
        return {"least": self.least, "dice": self.dice, "voxels": self.voxels, "found_by_neither": list(self.neither)}


def agreement(small: Cohort, large: Cohort, folder: Path) -> dict[str, Agreed]:
    """For a CT on its own grid, a CT of 512x512 over 1.5 mm, and the same in bf16.

    `small`: what is learned from, but for the last case, which is predicted; its pixels are about 1.5 mm.
    """
    *known, unseen = small.cases
    recipe = load_recipe("marginal-dice", None, list(LEARN))
    run = train(TrainRequest(replace(small, cases=tuple(known)), folder / "run", recipe))
    usual = _model(run, "32")
    own = replace(usual, facts=replace(usual.facts, data=DataOptions(spacing_xy_mm="native")))
    near, far = small.image_path(unseen), large.image_path(large.cases[0])
    reference = reference_masks(usual, read_ct(far))
    return {
        "native": agreed(reference_masks(own, read_ct(near)), written(own, near, folder / "native")),
        "1.5mm": agreed(reference, written(usual, far, folder / "usual")),
        "bf16": agreed(reference, written(_model(run, "bf16"), far, folder / "bf16")),
    }


def _model(run: RunFolder, precision: str) -> Model:
    return load_model(run.newest(), make_fabric("cpu", precision))


def written(model: Model, path: Path, folder: Path) -> dict[str, Mask]:
    """The masks that `smiler predict` writes, read again, (z, y, x)."""
    (done,) = predict(model, [path], PredictRequest(folder))
    files = {key: folder / done.name / f"{key}.nii.gz" for key in model.organs.keys}
    return {key: np.asarray(nib.load(file).dataobj).T > 0 for key, file in files.items()}  # type: ignore[attr-defined]


def agreed(reference: dict[str, Mask], found: dict[str, Mask]) -> Agreed:
    """Dice an organ; one that is empty in both says nothing."""
    neither = tuple(key for key, mask in reference.items() if not mask.any() and not found[key].any())
    pairs = {key: (mask, found[key]) for key, mask in reference.items() if key not in neither}
    dice = {key: float(2 * (a & b).sum() / (a.sum() + b.sum())) for key, (a, b) in pairs.items()}
    voxels = {key: int(mask.sum()) for key, (mask, _) in pairs.items()}
    return Agreed({key: round(value, 5) for key, value in dice.items()}, voxels, neither)


def reference_masks(model: Model, ct: CT) -> dict[str, Mask]:
    """Masks (z, y, x) on the CT's grid: scores above 0, and at each voxel the best among organs that exclude others."""
    scores = full_scores(model, ct)
    return {key: (scores[k] > 0).numpy() & _best(scores, k, model.organs) for k, key in enumerate(model.organs.keys)}


def _best(scores: Tensor, k: int, organs: OrganSet) -> Mask:
    """Where no organ that excludes this one has a better score."""
    best = torch.ones(scores.shape[1:], dtype=torch.bool)
    for rival in organs.excluders(organs.keys[k]):
        best &= scores[k] >= scores[organs.index(rival)]
    return best.numpy()


def full_scores(model: Model, ct: CT) -> Tensor:
    """Scores float32 (K, z, y, x) on the CT's grid."""
    image = to_working(model.facts.data, ct.hu, ct.geometry).hu
    working = torch.stack(list(_slices(model, image)), dim=1)
    size = ct.geometry.shape
    whole = torch.empty(len(working), *size)
    for k, organ in enumerate(working):
        whole[k] = F.interpolate(organ[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]
    return whole


@torch.inference_mode()
def _slices(model: Model, image: NDArray[np.int16]) -> Iterator[Tensor]:
    """Scores float32 (K, y, x) of one working slice after the other."""
    grey, network = model.facts.normalisation, model.network.eval()
    height, width = image.shape[1:]
    edges = (0, -width % network.stride, 0, -height % network.stride)
    for plane in image:
        hu = F.pad(torch.from_numpy(plane.astype(np.float32)), edges, value=grey.air)
        logits = network(((hu - grey.mean) / grey.sd)[None, None])
        yield model.loss.scores(logits)[0, :, :height, :width]


def told(found: dict[str, Agreed]) -> dict[str, object]:
    """The smallest Dice of each, and Dice an organ beside it."""
    least = {name: one.least for name, one in found.items()}
    return least | {"organs": {name: one.to_json() for name, one in found.items()}}
