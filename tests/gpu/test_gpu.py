"""What a GPU makes is what the CPU makes; a step that is recorded is the step. Skipped where there is no GPU."""

import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from smiler.curriculum.rounds import Plan, fresh_network, make_objective
from smiler.domain.cohort import Cohort
from smiler.experiments.hide import hide
from smiler.experiments.phantom_cohort import make_phantom_cohort
from smiler.formats.volumes import read_ct
from smiler.networks.device import make_fabric
from smiler.prediction.model import ModelFacts, as_model
from smiler.prediction.options import PredictionOptions
from smiler.prediction.volume import predict_bits
from smiler.recipe.recipe import load_recipe
from smiler.sampling.batches import Batches
from smiler.store.store import Store, StoreOptions, build_store
from smiler.training.fit import Stage, _Trainer
from smiler.verbs.relabel import RelabelRequest, relabel
from smiler.verbs.train import plan_of, select_organs

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use: make test-gpu")

needs_einops = pytest.mark.skipif(not find_spec("einops"), reason="einops is not installed")
STEPS = 12
SIZE = ["sampling.batch_size=4", "sampling.patch_size=64", f"training.steps={STEPS}"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return make_phantom_cohort(tmp_path_factory.mktemp("phantoms") / "all", 4, (16, 96, 96))


@pytest.fixture(scope="module")
def store(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("store")
    chosen = select_organs(cohort, load_recipe("smile", None, []))
    return build_store(hide(chosen, folder / "hidden", 0.5), folder / "cache", StoreOptions())


def losses(plan: Plan, store: Store, folder: Path, precision: str) -> tuple[list[float], _Trainer]:
    """Of STEPS steps on the GPU."""
    fabric = make_fabric("cuda", precision, plan.network.axes)
    objective = make_objective(plan, store)
    batches = Batches(store, plan.sampling, plan.network.context, 0, axes=plan.network.axes)
    trainer = _Trainer(fabric, fresh_network(plan, store), Stage(folder, folder, 0, 1000, plan.training))
    trainer.network.train()
    told = []
    for number, batch in enumerate(batches.steps(0, STEPS, fabric.device)):
        trainer.step(number, batch, objective)
        if trainer.losses:
            told.append(float(trainer.losses[-1]))
    return told, trainer


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("smile", ["network.name=unet"]),
        ("smile", ["network.name=deeplab", "network.depth=18"]),
        ("smiler", ["network.name=unet"]),
        ("smile", ["network.name=unet", "loss.name=bce_dice", "loss.confidence=true"]),
        ("smile", ["network.name=unet", "loss.name=softmax_dice"]),
        ("smile", ["network.name=unet", "network.members=2"]),
        ("smile", ["network.name=unet3d", "network.width=8", "sampling.patch_depth=16"]),
        ("smile", ["network.name=segresnet"]),
        ("smile", ["network.name=dynunet3d", "network.width=8", "sampling.patch_depth=16"]),
        ("smile", ["network.name=mednext"]),
        pytest.param("smile", ["network.name=swinunetr"], marks=needs_einops),
    ],
    ids=[
        "unet",
        "deeplab",
        "smiler",
        "confidence",
        "softmax",
        "members",
        "unet3d",
        "segresnet",
        "dynunet3d",
        "mednext",
        "swinunetr",
    ],
)
def test_a_recorded_step_is_the_step(
    store: Store, tmp_path: Path, method: str, options: list[str], precision: str
) -> None:
    plain, trainer = losses(
        plan_of(load_recipe(method, None, [*SIZE, *options, "training.graph=false"])), store, tmp_path, precision
    )
    assert trainer.recorded is None
    told, trainer = losses(plan_of(load_recipe(method, None, [*SIZE, *options])), store, tmp_path, precision)
    assert trainer.recorded is not None
    assert trainer.recorded.why == ""
    assert trainer.recorded.recording is not None
    assert all(map(math.isfinite, told))
    np.testing.assert_allclose(told, plain, rtol=0.02 if precision == "32" else 0.06)


def test_batches_are_those_of_the_cpu(store: Store) -> None:
    plan = plan_of(load_recipe("smile", None, [*SIZE, "sampling.augment.noise=0"]))
    batches = Batches(store, plan.sampling, 1, 3)
    pairs = zip(batches.steps(0, 9, torch.device("cpu")), batches.steps(0, 9, torch.device("cuda")), strict=True)
    for cpu, gpu in pairs:
        torch.testing.assert_close(gpu.image.cpu(), cpu.image, atol=2e-3, rtol=0)
        for one, other in zip(cpu.tensors[1:], gpu.tensors[1:], strict=True):
            assert (one != other.cpu()).float().mean() < 1e-3  # a nearest neighbour halfway between two


@pytest.mark.parametrize("spacing", ["native", "3.0"])
@pytest.mark.parametrize("network", ["unet", "deeplab", "unet3d"])
def test_masks_and_proposals_are_those_of_the_cpu(
    cohort: Cohort, store: Store, tmp_path: Path, network: str, spacing: str
) -> None:
    more = ["sampling.patch_depth=16", "network.width=8"] if network == "unet3d" else []
    recipe = load_recipe("smile", None, [*SIZE, f"network.name={network}", f"data.spacing_xy_mm={spacing}", *more])
    plan = plan_of(recipe)
    _, trainer = losses(plan, store, tmp_path, "32")
    grey = Batches(store, plan.sampling, 0, 0).normalisation()
    window = plan.sampling.box if network == "unet3d" else None
    facts = ModelFacts(store.organs, plan.network, plan.loss, recipe.data, grey, window)
    trainer.plain.classifier.bias.data += 5  # type: ignore[union-attr]  # so that a network of a few steps finds something
    ct = read_ct(cohort.image_path(cohort.cases[0]))
    found, rounds = {}, {}
    for device in ("cpu", "cuda"):
        model = as_model(facts, trainer.plain, make_fabric(device, "32", plan.network.axes), "made")
        found[device] = predict_bits(model, ct.hu, ct.geometry, PredictionOptions())
        for name, request in {
            "all": RelabelRequest(tmp_path / device / "all"),
            "half": RelabelRequest(tmp_path / device / "half", 0.5),
            "review": RelabelRequest(tmp_path / device / "review", review=True),
        }.items():
            hidden = hide(cohort, tmp_path / device / f"{name}-hidden", 0.5)
            made = relabel(model, hidden, request)
            rounds[device, name] = sum(cell.auto for case in made for cell in case.cells.values())
    assert found["cpu"].any()
    assert (found["cpu"] != found["cuda"]).mean() < 1e-3
    for name in ("all", "half", "review"):
        assert rounds["cpu", name] == rounds["cuda", name] > 0
