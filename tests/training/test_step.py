"""One optimiser step: gradients are clipped as PyTorch clips them, and what is not finite ends the training at once."""

from pathlib import Path

import pytest
import torch
from torch import nn

from smiler.domain.errors import CheckFailed
from smiler.domain.evidence import Fields, Relations
from smiler.domain.organs import OrganSet
from smiler.losses import build_loss
from smiler.losses.options import LossOptions
from smiler.losses.targets import READINGS
from smiler.networks import NetworkOptions, build
from smiler.networks.device import make_fabric
from smiler.sampling.augment import Batch
from smiler.training.fit import Objective, Stage, _Trainer
from smiler.training.options import TrainingOptions

ORGANS = OrganSet.of("liver", "spleen")
OBJECTIVE = Objective(build_loss(LossOptions(name="bce"), ORGANS), READINGS["smile"], Relations.of(ORGANS))


def batch() -> Batch:
    rng = torch.Generator().manual_seed(1)
    drawn = torch.randint(0, 4, (2, 32, 32), generator=rng, dtype=torch.int32)
    return Batch(torch.randn(2, 1, 32, 32, generator=rng), Fields(drawn, drawn * 0 + 3, drawn * 0))


def trainer(folder: Path, **options: float) -> _Trainer:
    torch.manual_seed(0)
    network = build(NetworkOptions(name="unet", width=8), 2)
    stage = Stage(folder, folder, 0, 10, TrainingOptions.model_validate({"device": "cpu", **options}))
    made = _Trainer(make_fabric("cpu", "32"), network, stage)
    made.network.train()
    return made


@pytest.mark.parametrize("most", [1e-3, 0.1, 1e3])
def test_gradients_are_scaled_down_to_the_norm(tmp_path: Path, most: float) -> None:
    clipped = trainer(tmp_path, clip_norm=most)
    clipped.step(0, batch(), OBJECTIVE)
    free = trainer(tmp_path, clip_norm=1e6)
    free.step(0, batch(), OBJECTIVE)
    nn.utils.clip_grad_norm_(free.plain.parameters(), most)
    for one, other in zip(clipped.plain.parameters(), free.plain.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad)


def test_a_gradient_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    made, wild = trainer(tmp_path), batch()
    wild.image[0, 0, 0, 0] = torch.inf
    with pytest.raises(CheckFailed, match=r"the gradient is not finite at step 8; try a smaller training\.learning_"):
        made.step(7, wild, OBJECTIVE)
    assert all(torch.isfinite(each).all() for each in made.plain.parameters())
