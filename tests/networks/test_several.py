"""Networks side by side: separate ones share nothing, members of an ensemble learn alone and speak together."""

import pytest
import torch
from pydantic import ValidationError

from conftest import Make, in_space
from smiler.networks import NetworkOptions, build
from smiler.networks.several import Ensemble, Separate


def test_separate_networks_share_nothing(make: Make) -> None:
    net = make(3, separate=True)
    assert isinstance(net, Separate)
    size = in_space(net, 32, 32)
    logits = net(torch.randn(2, 1, *size))
    assert logits.shape == (2, 3, *size)
    logits[:, 1].square().mean().backward()
    touched = [any(p.grad is not None and p.grad.any() for p in part.parameters()) for part in net.networks]
    assert touched == [False, True, False]


def test_separate_networks_answer_as_each_alone(make: Make) -> None:
    net = make(2, separate=True).eval()
    size = in_space(net, 32, 32)
    image = torch.randn(1, 1, *size)
    with torch.inference_mode():
        alone = torch.cat([part(image) for part in net.networks], dim=1)  # type: ignore[operator]
        assert torch.equal(net(image), alone)
        torch.testing.assert_close(net.head(net.trunk(image), size), alone)


def test_members_speak_one_by_one_in_training_and_together_afterwards(make: Make) -> None:
    net = make(3, members=4)
    size = in_space(net, 32, 32)
    image = torch.randn(2, 1, *size)
    assert isinstance(net, Ensemble)
    assert net(image).shape == (8, 3, *size)
    net.eval()
    with torch.inference_mode():
        features = net.trunk(image)
        opinions = torch.stack(list(net.opinions(features, size)))
        assert opinions.shape == (4, 2, 3, *size)
        assert opinions.std(dim=0).min() > 0  # members begin differently
        torch.testing.assert_close(net(image), opinions.mean(dim=0))
        torch.testing.assert_close(net.head(features, size), opinions.mean(dim=0))


@pytest.mark.parametrize("kind", [{"separate": True}, {"members": 3}])
def test_the_bias_and_monte_carlo_passes_reach_every_network(make: Make, kind: dict[str, object]) -> None:
    net = make(3, dropout=0.5, **kind).eval()
    bias = torch.tensor([1.0, 2.0, 3.0])
    net.start_bias(bias)
    with torch.inference_mode():
        size = in_space(net, 32, 32)
        features = net.trunk(torch.randn(1, 1, *size))
        zero = net.head(0 * features, size).transpose(0, 1).flatten(1).mean(dim=1)
        torch.testing.assert_close(zero, bias)
        passes = [net.stochastic(features, size, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(passes[0], passes[1])
    assert not torch.equal(passes[0], passes[2])


def test_a_network_is_not_both() -> None:
    with pytest.raises(ValidationError, match="separate networks have no members"):
        NetworkOptions(separate=True, members=2)


def test_one_member_is_the_network_itself() -> None:
    assert not isinstance(build(NetworkOptions(width=8), 2), Ensemble)
