"""Sliding windows: whatever does not look around says the same through windows as all at once."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from smiler.domain.geometry import Geometry
from smiler.domain.organs import OrganSet
from smiler.losses.options import LossOptions
from smiler.networks import NetworkOptions, build
from smiler.networks.device import make_fabric
from smiler.prediction.model import Model, ModelFacts, as_model
from smiler.prediction.scores import Opinions, Prediction, predict_working
from smiler.prediction.sliding import Axis, slide
from smiler.sampling.augment import Normalisation
from smiler.store.options import DataOptions

torch.set_num_threads(1)

LAW = settings(max_examples=40, deadline=None, derandomize=True)
SIDES = st.tuples(st.integers(1, 70), st.integers(1, 90), st.integers(1, 60))
WINDOW = (16, 32, 32)
AIR = -160
ORGANS = OrganSet.of("liver", "spleen")


def volume(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(AIR, 240, shape).astype(np.int16)


def joined(blocks: Iterator[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Maps (z, K, y, x) of all slices."""
    parts = list(blocks)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@LAW
@given(length=st.integers(1, 400), window=st.integers(1, 8).map(lambda n: 16 * n))
def test_shares_of_all_windows_sum_to_one_at_every_voxel(length: int, window: int) -> None:
    axis = Axis.over(length, window)
    total = torch.zeros(max(length, axis.size))
    for start, share in zip(axis.starts, axis.shares, strict=True):
        assert (share > 0).all()
        total[start : start + axis.size] += share
    torch.testing.assert_close(total, torch.ones_like(total))
    assert axis.size % 16 == 0
    assert axis.size <= window
    assert len(range(len(total))[axis.inside]) == length


@LAW
@given(shape=SIDES, batch=st.integers(1, 9))
def test_a_function_of_each_voxel_says_the_same_as_without_windows(shape: tuple[int, int, int], batch: int) -> None:
    image = volume(shape)

    def say(windows: Tensor, number: int) -> dict[str, Tensor]:
        assert windows.shape[0] <= batch
        return {"score": torch.stack([windows.float(), 2 - windows.float()], dim=1), "mean": windows[:, None].sign()}

    said = joined(slide(image, WINDOW, say, AIR, batch))
    exact = torch.from_numpy(image).float()
    torch.testing.assert_close(said["score"], torch.stack([exact, 2 - exact], dim=1), atol=1e-3, rtol=0)
    torch.testing.assert_close(said["mean"], exact.sign()[:, None], atol=1e-5, rtol=0)


@LAW
@given(shape=SIDES)
def test_slices_come_in_order_and_only_a_slab_of_them_at_a_time(shape: tuple[int, int, int]) -> None:
    image = np.broadcast_to(np.arange(shape[0], dtype=np.int16)[:, None, None], shape)
    told = 0
    for block in slide(image, WINDOW, lambda windows, _: {"score": windows[:, None].float()}, AIR):
        part = block["score"]
        assert len(part) <= WINDOW[0]
        assert part.shape[1:] == (1, *shape[1:])
        torch.testing.assert_close(part[:, 0, 0, 0], torch.arange(told, told + len(part)).float(), atol=1e-3, rtol=0)
        told += len(part)
    assert told == shape[0]


def test_around_a_small_volume_lies_air() -> None:
    seen = []

    def say(windows: Tensor, number: int) -> dict[str, Tensor]:
        seen.append(windows)
        return {"score": windows[:, None].float()}

    image = volume((5, 20, 60))
    joined(slide(image, WINDOW, say, AIR))
    (windows,) = seen
    assert windows.shape[1:] == (16, 32, 32)
    middle = windows[0, 5:10, 6:26]
    np.testing.assert_array_equal(middle.numpy(), image[:, :, :32])
    around = windows.clone()
    around[:, 5:10, 6:26] = AIR
    assert (around == AIR).all()


def test_every_group_of_windows_has_a_number_of_its_own() -> None:
    numbers = []

    def say(windows: Tensor, number: int) -> dict[str, Tensor]:
        numbers.append(range(number, number + len(windows)))
        return {"score": windows[:, None].float()}

    joined(slide(volume((40, 70, 70)), WINDOW, say, AIR, 2))
    every = [n for group in numbers for n in group]
    assert every == list(range(len(every)))


# --- a real network


def model(**options: object) -> Model:
    torch.manual_seed(3)
    network = build(NetworkOptions.model_validate({"name": "unet3d", "width": 8, **options}), 2)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm3d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)  # type: ignore[arg-type]  # it has one
    loss = LossOptions(name="bce")
    grey = Normalisation(40.0, 60.0, float(AIR))
    facts = ModelFacts(ORGANS, NetworkOptions(name="unet3d", width=8), loss, DataOptions(), grey, WINDOW)
    return as_model(facts, network, make_fabric("cpu", "32"), "test")


def predicted(of: Model, image: NDArray[np.int16], **more: Any) -> Prediction:
    return predict_working(of, image, Geometry.canonical(image.shape, (1.0, 1.0, 1.0)), (0, 1), **more)


def test_a_volume_of_one_window_is_what_the_network_says_of_it() -> None:
    mine, image = model(), volume(WINDOW)
    inputs = (torch.from_numpy(image).float()[None, None] - 40) / 60
    with torch.inference_mode():
        exact = mine.network.eval()(inputs)[0]
    np.testing.assert_allclose(predicted(mine, image).score, exact.numpy(), atol=2e-3)


def test_inside_one_window_alone_it_is_that_windows_answer_and_between_two_it_lies_between() -> None:
    mine, image = model(), volume((16, 32, 56))
    with torch.inference_mode():
        left, right = (
            mine.network.eval()((torch.from_numpy(image[None, None, :, :, part]).float() - 40) / 60)[0].numpy()
            for part in (slice(0, 32), slice(24, 56))
        )
    score = predicted(mine, image).score.astype(np.float32)
    np.testing.assert_allclose(score[..., :24], left[..., :24], atol=2e-3)
    np.testing.assert_allclose(score[..., 32:], right[..., 8:], atol=2e-3)
    both = np.stack([left[..., 24:], right[..., :8]])
    assert (score[..., 24:32] >= both.min(axis=0) - 2e-3).all()
    assert (score[..., 24:32] <= both.max(axis=0) + 2e-3).all()


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_batch_size_changes_speed_and_not_scores(batch: int) -> None:
    mine, image = model(), volume((20, 40, 70))
    np.testing.assert_allclose(predicted(mine, image, batch=batch).score, predicted(mine, image).score, atol=2e-3)


@pytest.mark.parametrize(
    ("opinions", "options"),
    [
        (Opinions("dropout", 4), {"dropout": 0.5}),
        (Opinions("members"), {"members": 3}),
        (Opinions("shifts"), {}),
    ],
    ids=["dropout", "members", "shifts"],
)
def test_every_kind_of_opinion_has_a_mean_and_a_spread(opinions: Opinions, options: dict[str, object]) -> None:
    mine, image = model(**options), volume((20, 40, 40))
    said, again = (predicted(mine, image, opinions=opinions) for _ in range(2))
    assert said.mean is not None
    assert said.spread is not None
    assert said.mean.shape == said.spread.shape == (2, 20, 40, 40)
    assert ((said.mean >= 0) & (said.mean <= 1)).all()
    assert (said.spread >= 0).all()
    assert said.spread.max() > 0
    np.testing.assert_array_equal(said.spread, again.spread)
    np.testing.assert_allclose(said.score, predicted(mine, image).score, atol=2e-3)
