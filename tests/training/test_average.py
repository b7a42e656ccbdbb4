"""Averaged weights: the recursion by hand, exact resume, and runs from before there was an average."""

from pathlib import Path

import numpy as np
import pytest
import torch
from shared_phantoms import Phantoms
from tiny_runs import TINY
from torch import nn

from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.networks.checkpoint import find_checkpoint, read_checkpoint, save_checkpoint
from smiler.recipe.recipe import load_recipe
from smiler.training.average import LAST, WeightAverage
from smiler.verbs.run import RunFolder
from smiler.verbs.train import TrainRequest, train


@pytest.fixture(scope="module")
def cohort(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    torch.set_num_threads(1)
    return phantoms(tmp_path_factory.mktemp("average") / "all", 3)


def layers() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_it_is_the_recursion_and_counts_are_those_of_the_last_step() -> None:
    network = layers()
    average = WeightAverage(network, 0.25, 40)
    expected = network[0].weight.detach().numpy().astype(np.float64)
    rng = np.random.default_rng(0)
    for step in range(1, 101):
        new = rng.normal(size=(2, 3))
        with torch.no_grad():
            network[0].weight.copy_(torch.from_numpy(new))
            network[1].num_batches_tracked.fill_(step)
        decay = min(1 - 1 / 10, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * new
        average.update(step)
    np.testing.assert_allclose(average.weights["0.weight"].numpy(), expected, rtol=1e-5)
    assert int(average.weights["1.num_batches_tracked"]) == 100
    assert not torch.allclose(average.weights["0.weight"], network[0].weight)


def test_a_share_of_zero_is_the_last_weights_bit_for_bit() -> None:
    network = layers()
    average = WeightAverage(network, 0, 40)
    for step in range(1, 4):
        with torch.no_grad():
            network[0].weight.normal_()
        average.update(step)
    assert torch.equal(average.weights["0.weight"], network[0].weight)


def test_a_checkpoint_gives_back_the_average_and_the_weights_behind_it(tmp_path: Path) -> None:
    average = WeightAverage(layers(), 0.5, 100)
    average.update(1)
    with torch.no_grad():
        average.network[0].weight.normal_()
    average.update(2)
    path = save_checkpoint(tmp_path, 2, 9, {}, average.parts(unfinished=True))
    back = WeightAverage(layers(), 0.5, 100)
    back.restore(read_checkpoint(path))
    assert all(torch.equal(value, average.weights[name]) for name, value in back.weights.items())
    assert all(torch.equal(v, average.network.state_dict()[k]) for k, v in back.network.state_dict().items())
    assert set(average.parts(unfinished=False)) == {"model"}


def test_rounds_go_on_from_the_weights_behind_the_average(cohort: Cohort, tmp_path: Path) -> None:
    """The relabelling network is the average; what is trained is not (else rounds would change the loss alone)."""
    run = train(TrainRequest(cohort, tmp_path / "run", load_recipe("smiler", None, [*TINY, "training.steps=80"])))
    first = find_checkpoint(run.stage_folder(0))
    assert first is not None
    model, last = first.tensors("model"), first.tensors(LAST)
    assert any(not torch.equal(model[key], last[key]) for key in model)
    assert LAST not in run.newest().files


def test_a_run_from_before_goes_on_as_it_began(cohort: Cohort, tmp_path: Path) -> None:
    recipe = load_recipe("marginal-dice", None, [*TINY, "training.steps=12", "training.average=0"])
    run = train(TrainRequest(cohort, tmp_path / "run", recipe))
    text = run.recipe_path.read_text(encoding="utf-8")
    assert "average = 0" in text
    run.recipe_path.write_text("".join(s for s in text.splitlines(True) if not s.startswith("average")))
    assert RunFolder(run.path).recipe() == run.recipe()
    assert run.recipe().training.average == 0
    assert load_recipe("marginal-dice").training.average > 0


def test_a_last_part_of_another_network_is_refused(tmp_path: Path) -> None:
    small = nn.Linear(3, 2)
    path = save_checkpoint(tmp_path, 1, 9, {}, {"model": layers().state_dict(), LAST: small.state_dict()})
    with pytest.raises(BadInput, match="the weights belong to another network"):
        WeightAverage(layers(), 0.5, 100).restore(read_checkpoint(path))
