"""A network that is used: the order in which its tensors lie."""

import pytest
import torch

from smiler.domain.organs import Organ, OrganSet
from smiler.losses.options import LossOptions
from smiler.networks import build
from smiler.networks.device import channels_last, make_fabric
from smiler.networks.options import NetworkOptions
from smiler.prediction.model import Model, ModelFacts, as_model
from smiler.sampling.augment import Normalisation
from smiler.store.options import DataOptions


def used(name: str) -> Model:
    """A network as a model."""
    organs, options = OrganSet((Organ("liver"), Organ("spleen"))), NetworkOptions(name=name, width=8)
    facts = ModelFacts(organs, options, LossOptions(), DataOptions(), Normalisation(0.0, 1.0, -1.0))
    return as_model(facts, build(options, 2).eval(), make_fabric("cpu", "32"), "test")


@pytest.mark.parametrize("name", ["unet", "deeplab", "unet3d"])
def test_weights_lie_channels_last_as_in_training(name: str) -> None:
    network = used(name).network
    weights = [weight for weight in network.parameters() if weight.ndim == network.axes + 2]
    assert weights
    assert all(weight.is_contiguous(memory_format=channels_last(network.axes)) for weight in weights)


def test_an_image_of_one_channel_becomes_features_channels_last() -> None:
    """It lies in both orders, so that the weights decide; in the other order a CPU takes twice as long for a U-Net."""
    with torch.inference_mode():
        features = used("unet").trunk(torch.zeros(1, 1, 32, 48))
    assert features.is_contiguous(memory_format=torch.channels_last)
    assert not features.is_contiguous()
