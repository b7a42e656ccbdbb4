"""Monte-Carlo dropout: seeded, channel by channel, unbiased, and the same in train and eval mode."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from conftest import Make, in_space


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def test_the_seed_decides_the_pass(make: Make) -> None:
    net = make(dropout=0.5).eval()
    with torch.inference_mode():
        size = in_space(net, 32, 32)
        features = net.trunk(torch.randn(2, 1, *size))
        first, again, other = (net.stochastic(features, size, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_pass_uses_neither_the_mode_nor_the_global_generator(make: Make) -> None:
    net = make(dropout=0.5).eval()
    with torch.inference_mode():
        size = in_space(net, 32, 32)
        features = net.trunk(torch.randn(1, 1, *size))
        before = torch.get_rng_state()
        in_eval = net.stochastic(features, size, seeded(1))
        in_train = net.train().stochastic(features, size, seeded(1))
    assert torch.equal(in_eval, in_train)
    assert torch.equal(torch.get_rng_state(), before)


def test_one_generator_gives_a_new_mask_for_every_pass(make: Make) -> None:
    net, generator = make(dropout=0.5), seeded(1)
    size = in_space(net, 2, 2)
    features = torch.ones(1, net.classifier.in_channels, *size)
    assert not torch.equal(*(net.stochastic(features, size, generator) for _ in range(2)))


def test_without_dropout_a_pass_is_the_forward_of_eval_mode(make: Make) -> None:
    net = make(dropout=0).eval()
    size = in_space(net, 32, 32)
    image = torch.randn(1, 1, *size)
    with torch.inference_mode():
        assert torch.equal(net.stochastic(net.trunk(image), size, seeded(1)), net(image))


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_the_mean_of_many_passes_is_the_deterministic_head(make: Make, p: float) -> None:
    net = make(dropout=p).eval()
    passes = 4000
    with torch.inference_mode():
        features = net.trunk(torch.randn(1, 1, *in_space(net, 32, 32)))[..., :2, :2]
        features, size = (features, (4, 4)) if net.axes == 2 else (features[:, :, :2], (4, 4, 4))
        sample = net.stochastic(features.expand(passes, *features.shape[1:]), size, seeded(1))
        exact = net.head(features, size)[0]
    error = (sample.mean(dim=0) - exact).abs()
    assert (error < 5 * sample.std(dim=0) / passes**0.5).all()


def test_a_channel_is_kept_or_dropped_as_a_whole(make: Make) -> None:
    net = make(1, dropout=0.25)
    channels = net.classifier.in_channels
    torch.nn.init.ones_(net.classifier.weight)
    size = in_space(net, 3, 5)
    one_channel_each = torch.eye(channels).view(channels, channels, *[1] * net.axes).expand(-1, -1, *size)
    with torch.no_grad():
        logits = net.stochastic(one_channel_each, size, seeded(3))
    corner = logits.flatten(2)[:, :, :1].view(channels, 1, *[1] * net.axes)
    torch.testing.assert_close(logits, corner.expand_as(logits), rtol=0, atol=0)
    kept = corner > 0
    torch.testing.assert_close(corner[kept], torch.full_like(corner[kept], 1 / 0.75))
    assert 0 < kept.sum() < channels


def test_the_mask_does_not_depend_on_the_precision(make: Make) -> None:
    net = make(dropout=0.5)
    size = in_space(net, 2, 2)
    features = torch.ones(2, net.classifier.in_channels, *size)
    with torch.inference_mode():
        exact = net.stochastic(features, size, seeded(1))
        rough = net.bfloat16().stochastic(features.bfloat16(), size, seeded(1))
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, rtol=0.05, atol=0.05)


def test_training_draws_dropout_and_evaluation_does_not(make: Make) -> None:
    net = make(dropout=0.5)
    features = torch.ones(1, net.classifier.in_channels, *in_space(net, 2, 2))
    assert not torch.equal(net.train().dropout(features), features)
    assert torch.equal(net.eval().dropout(features), features)
