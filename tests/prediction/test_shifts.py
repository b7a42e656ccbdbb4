"""Moved copies of an image: moved back exactly, and averaged as probabilities."""

import numpy as np
import pytest
import torch
from torch import Tensor

from smiler.domain.geometry import Geometry
from smiler.domain.organs import OrganSet
from smiler.losses import build_loss
from smiler.losses.options import LossOptions
from smiler.networks.base import SegmentationNet
from smiler.networks.device import make_fabric
from smiler.networks.options import NetworkOptions
from smiler.prediction.model import Model, ModelFacts
from smiler.prediction.options import PredictionOptions
from smiler.prediction.scores import SHIFTS, Opinions, slice_scores
from smiler.prediction.volume import WorkingImage, working_bits
from smiler.sampling.augment import Normalisation
from smiler.store.options import DataOptions

IMAGE = np.random.default_rng(0).integers(-160, 240, (5, 20, 24)).astype(np.int16)


class Net(SegmentationNet):
    """Looks at one pixel, or also at where it stands."""

    def __init__(self, *, local: bool) -> None:
        super().__init__(features=1, outputs=2, stride=4, dropout=0.0)
        self.local = local
        torch.nn.init.constant_(self.classifier.weight, 1.0)

    def extract(self, image: Tensor) -> Tensor:
        """(B, 1, H, W), the middle slice as it is."""
        middle = image[:, image.shape[1] // 2][:, None]
        return middle if self.local else middle + torch.arange(image.shape[-1]) / 4


def model(*, local: bool, loss: str = "bce") -> Model:
    organs, options = OrganSet.of("liver", "spleen"), LossOptions(name=loss)
    facts = ModelFacts(organs, NetworkOptions(), options, DataOptions(), Normalisation(0.0, 100.0, -1.0))
    return Model(facts, Net(local=local).eval(), build_loss(options, organs), make_fabric("cpu", "32"), "test")


def scores(of: Model, opinions: Opinions | None) -> torch.Tensor:
    return torch.cat([torch.as_tensor(said.score) for said in slice_scores(of, IMAGE, 0, len(IMAGE), 2, opinions)])


@pytest.mark.parametrize("shifts", range(1, 5))
def test_a_network_that_looks_at_one_pixel_says_the_same(shifts: int) -> None:
    local = model(local=True)
    torch.testing.assert_close(scores(local, Opinions("pooled", shifts)), scores(local, None))
    working = WorkingImage(IMAGE, Geometry.canonical(IMAGE.shape, (3.0, 2.0, 2.0)))
    one, other = (
        working_bits(local, working, working.geometry, PredictionOptions(shifts=number, batch_size=2))
        for number in (0, shifts)
    )
    assert one.any()
    assert (one == other).all()


def test_another_network_says_the_mean_of_its_probabilities() -> None:
    far = model(local=False)
    whole = torch.from_numpy(IMAGE).float() / 100
    each = []
    for down, right in SHIFTS:
        moved = torch.roll(whole, (down, right), dims=(-2, -1)) + torch.arange(IMAGE.shape[-1]) / 4
        each.append(torch.roll(moved, (-down, -right), dims=(-2, -1)).sigmoid())
    found = scores(far, Opinions("pooled", 4))[:, 0].sigmoid()
    torch.testing.assert_close(found, torch.stack(each).mean(dim=0), atol=1e-5, rtol=1e-4)
    assert float((found - each[0]).abs().max()) > 0.01


def test_an_ensemble_moves_every_member() -> None:
    one, two = model(local=True), model(local=False)
    both = Model(one.facts, one.network, one.loss, one.fabric, "both", members=(one, two))
    pooled = Opinions("pooled", 4)
    mean = (scores(one, pooled).sigmoid() + scores(two, pooled).sigmoid()) / 2
    torch.testing.assert_close(scores(both, pooled).sigmoid(), mean, atol=1e-5, rtol=1e-4)


def test_options_without_shifts_are_written_as_before_there_were_any() -> None:
    """Masks and runs of earlier versions are found by the hash of their options."""
    assert "shifts" not in PredictionOptions().model_dump(mode="json")
    assert PredictionOptions(**PredictionOptions(shifts=2).model_dump()).shifts == 2
