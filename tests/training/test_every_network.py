"""A few steps of every network: the loss falls, a resumed training is the same one, gradients in bf16 are finite."""

from pathlib import Path

import pytest
import torch
from small_networks import parameters, smallest

from smiler.domain.evidence import Fields, Relations
from smiler.domain.organs import OrganSet
from smiler.losses import build_loss
from smiler.losses.options import LossOptions
from smiler.losses.targets import READINGS
from smiler.networks import NetworkOptions, build
from smiler.networks.checkpoint import read_checkpoint
from smiler.networks.device import make_fabric
from smiler.sampling.augment import Batch
from smiler.training.fit import Objective, Stage, _Trainer
from smiler.training.options import TrainingOptions

ORGANS = OrganSet.of("liver", "spleen")
OBJECTIVE = Objective(build_loss(LossOptions(name="bce"), ORGANS), READINGS["smile"], Relations.of(ORGANS))
STEPS = 6
LARGE = "deeplab"
"""15 million parameters at its smallest; the commands' own tests train and resume."""


def batch(options: NetworkOptions) -> Batch:
    """One that can be learned: organs lie where the image is bright."""
    rng, stride = torch.Generator().manual_seed(1), options.stride
    size = (2, 2 * max(stride, 8), 2 * max(stride, 8)) if options.axes == 2 else (2, stride, 2 * stride, 2 * stride)
    drawn = torch.randint(0, 4, size, generator=rng, dtype=torch.int32)
    return Batch(drawn.float().unsqueeze(1) - 1.5, Fields(drawn, drawn * 0 + 3, drawn * 0))


def trainer(folder: Path, options: NetworkOptions, precision: str = "32") -> _Trainer:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    training = TrainingOptions.model_validate({"device": "cpu", "learning_rate": 0.002})
    stage = Stage(folder, folder, 0, STEPS, training)
    made = _Trainer(make_fabric("cpu", precision, options.axes), build(options, 2), stage)
    made.network.train()
    return made


@pytest.mark.parametrize("name", [each for each in parameters() if LARGE not in each.values])
def test_the_loss_falls_and_a_resumed_training_is_the_same(name: str, tmp_path: Path) -> None:
    options = smallest(name, dropout=0.1)
    whole, some = trainer(tmp_path / "whole", options), batch(options)
    (tmp_path / "whole").mkdir()
    losses = []
    for step in range(STEPS):
        whole.step(step, some, OBJECTIVE)
        if whole.losses:
            losses.append(float(whole.losses[-1]))
        if step == 2:
            saved = whole.save(step + 1)
    assert losses[-1] < losses[0]
    again = trainer(tmp_path / "again", options)
    (tmp_path / "again").mkdir()
    start = again.restore(read_checkpoint(saved.path))
    for step in range(start, STEPS):
        again.step(step, some, OBJECTIVE)
    for key, value in whole.plain.state_dict().items():
        assert torch.equal(value, again.plain.state_dict()[key]), key


@pytest.mark.parametrize("name", parameters())
def test_gradients_in_bf16_are_finite(name: str, tmp_path: Path) -> None:
    options = smallest(name)
    made = trainer(tmp_path, options, "bf16")
    made.step(0, batch(options), OBJECTIVE)
    for key, parameter in made.plain.named_parameters():
        assert parameter.dtype == torch.float32, key
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
