"""A DeepLab whose features cost what they cost and whose answer is painted: organs of real size without training.

An untrained network predicts nothing, or noise everywhere; both make what follows it look too fast or too slow.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from smiler.domain.cohort import Cohort
from smiler.domain.organs import OrganSet
from smiler.formats.labels import LabelOptions, read_case_labels
from smiler.formats.volumes import CT, read_ct
from smiler.losses import LossOptions
from smiler.networks import NetworkOptions, build
from smiler.networks.base import SegmentationNet
from smiler.networks.device import make_fabric
from smiler.prediction.model import Model, ModelFacts, as_model
from smiler.prediction.volume import to_working
from smiler.sampling.augment import Normalisation
from smiler.store.options import DataOptions

ORGANS = 8


class Painted(SegmentationNet):
    """The inner network, and logits of given masks (z, K, h, w) instead of its own, one slice after the other."""

    def __init__(self, inner: SegmentationNet, masks: NDArray[np.bool_]) -> None:
        nn.Module.__init__(self)
        self.inner, self.stride, self.axes, self.at = inner, inner.stride, 2, 0
        self.register_buffer("masks", torch.from_numpy(masks).float(), persistent=False)

    def extract(self, image: Tensor) -> Tensor:
        return self.inner.extract(image)

    def head(self, features: Tensor, size: tuple[int, ...]) -> Tensor:
        said = self.inner.classifier(features)
        here = self.masks.roll(-self.at, 0)[: len(said)]
        self.at += len(said)
        paint = F.interpolate(here, size=said.shape[2:], mode="area") * 16 - 8
        return F.interpolate(said * 0 + paint, size=size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Subject:
    """A CT with its file's grid, and a model that finds its organs."""

    cohort: Cohort
    ct: CT
    model: Model

    @property
    def image(self) -> NDArray[np.int16]:
        """Windowed HU on the working grid (z, y, x)."""
        return to_working(self.model.facts.data, self.ct.hu, self.ct.geometry).hu


def subject(cohort: Cohort, spacing_mm: float | str, depth: int = 34, precision: str = "32") -> Subject:
    """The cohort's first CT and a painted DeepLab of this backbone on this working grid."""
    case = cohort.cases[0]
    ct = read_ct(cohort.image_path(case))
    labels = read_case_labels(cohort, case, ct.geometry, LabelOptions())
    masks = np.stack([labels.drawn[:, ::8, ::8] >> k & 1 for k in range(ORGANS)], axis=1)
    network = NetworkOptions(name="deeplab", depth=depth)  # type: ignore[arg-type]
    torch.manual_seed(0)
    painted = Painted(build(network, ORGANS), masks).to(memory_format=torch.channels_last).eval()
    organs = OrganSet.of(*cohort.organs.keys[:ORGANS])
    grey, data = Normalisation(0.0, 100.0, -160.0), DataOptions(spacing_xy_mm=spacing_mm)  # type: ignore[arg-type]
    facts = ModelFacts(organs, network, LossOptions(name="bce"), data, grey)
    return Subject(cohort, ct, as_model(facts, painted, make_fabric(precision=precision), "benchmark"))
