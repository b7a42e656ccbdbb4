"""A 3-D network through the same line as one of slices: train, rounds, relabel, predict, evaluate."""

import json
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from smiler.domain.cells import Status
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.evaluation.truth import Truth
from smiler.networks.checkpoint import read_checkpoint, save_checkpoint
from smiler.networks.unet3d import UNet3d
from smiler.prediction.model import Model
from smiler.recipe.recipe import METHODS, load_recipe
from smiler.training.events import read_events
from smiler.verbs.evaluate import evaluate
from smiler.verbs.predict import PredictRequest, predict
from smiler.verbs.relabel import RelabelRequest, relabel
from smiler.verbs.run import RunFolder, open_model
from smiler.verbs.train import TrainRequest, train

OPTIONS = [
    "network.name=unet3d",
    "network.width=8",
    "sampling.patch_size=32",
    "sampling.patch_depth=16",
    "data.spacing_xy_mm=native",
    "training.device=cpu",
    "training.precision=32",
    "training.tensorboard=false",
]


def trained(cohort: Cohort, run: Path, method: str, *changes: str) -> RunFolder:
    torch.set_num_threads(1)
    return train(TrainRequest(cohort, run, load_recipe(method, None, [*OPTIONS, *changes])))


@pytest.fixture(scope="module")
def run(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A few steps and a round, from a high prior: so something is found."""
    eager = ("training.prior=0.6", "curriculum.rounds=1", "curriculum.gamma_max=1", "curriculum.floor=none")
    return trained(tiny.cohort, tmp_path_factory.mktemp("volumes") / "run", "smiler", "training.steps=10", *eager)


@pytest.fixture(scope="module")
def model(run: RunFolder) -> Model:
    return open_model(run.path, "cpu")[0]


def test_it_is_a_3d_network_that_knows_its_window(run: RunFolder, model: Model) -> None:
    assert isinstance(model.network, UNet3d)
    assert model.facts.window == (16, 32, 32)
    assert run.recipe().sampling.patch_depth == 16


@pytest.mark.parametrize("name", ["bce", "softmax_dice"])
def test_the_loss_falls(tiny: Any, tmp_path: Path, name: str) -> None:
    changes = ("training.steps=60", f"loss.name={name}", "training.prior=0.3", "training.learning_rate=0.01")
    run = trained(tiny.cohort, tmp_path / "run", "smile", *changes)
    losses = [event["loss"] for event in read_events(run.path / "events.jsonl") if event["event"] == "step"]
    assert len(losses) == 6
    assert losses[-1] < 0.85 * losses[0]


def test_the_round_proposed_something(run: RunFolder) -> None:
    told = [e for e in read_events(run.path / "events.jsonl") if e["event"] == "relabelled"]
    assert len(told) == 1
    assert told[0]["cases"] == 3
    assert told[0]["accepted"]


def test_masks_lie_on_the_files_own_grid(tiny: Any, model: Model, tmp_path: Path) -> None:
    image: Any = nib.load(tiny.image)
    nib.save(image.as_reoriented(nib.orientations.axcodes2ornt(("S", "P", "L"))), tmp_path / "turned.nii.gz")
    turned: Any = nib.load(tmp_path / "turned.nii.gz")
    done = predict(model, [tiny.image, tmp_path / "turned.nii.gz"], PredictRequest(tmp_path / "out"))
    assert any(done[0].volumes_ml.values())
    for key in model.organs.keys:
        plain, other = (nib.load(tmp_path / "out" / name / f"{key}.nii.gz") for name in ("case0", "turned"))
        for mask, source in ((plain, image), (other, turned)):
            assert mask.shape == source.shape  # type: ignore[attr-defined]
            np.testing.assert_array_equal(mask.affine, source.affine)  # type: ignore[attr-defined]
        both = [np.asarray(nib.as_closest_canonical(mask).dataobj) for mask in (plain, other)]  # type: ignore[attr-defined]
        np.testing.assert_array_equal(*both)


@pytest.mark.parametrize("rule", ["score", "mc_dropout"])
def test_a_completed_cohort_keeps_what_experts_said(tiny: Any, model: Model, tmp_path: Path, rule: str) -> None:
    completed = relabel(model, tiny.cohort, RelabelRequest(tmp_path / "done", 0.5, rule, passes=3))
    proposals = 0
    for old, new in zip(tiny.cohort, completed, strict=True):
        for key in model.organs.keys:
            assert new.status(key) is old.status(key)
            proposals += new.cell(key).auto and old.status(key) is Status.UNANNOTATED
    assert proposals


def test_it_is_evaluated_as_any_run(tiny: Any, run: RunFolder) -> None:
    scores = evaluate(run.path, Truth.open(tiny.cohort.folder), "cpu")
    assert {score.organ for score in scores} == {"liver", "liver_tumor", "spleen", "stomach"}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_trains_it(tiny: Any, tmp_path: Path, method: str) -> None:
    checkpoint = trained(tiny.cohort, tmp_path / "run", method, "training.steps=6").newest()
    assert checkpoint.finished
    assert all(torch.isfinite(t).all() for t in checkpoint.tensors("model").values() if t.is_floating_point())


def test_a_missing_package_is_said_before_the_data_are_read(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "einops", None)
    recipe = load_recipe("smile", None, ["network.name=swinunetr3d", "training.device=cpu"])
    with pytest.raises(BadInput, match=r"the network needs einops.*pip install 'smiler-seg\[swin\]'"):
        train(TrainRequest(tiny.cohort, tmp_path / "run", recipe, tmp_path / "cache"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("window", [None, [16, 32], [16, 32, 40], [0, 32, 32], [16.0, 32, 32], "abc", [16, 32, 10**9]])
def test_a_checkpoint_without_a_usable_window_is_refused(run: RunFolder, tmp_path: Path, window: object) -> None:
    checkpoint = run.newest()
    facts = {**checkpoint.facts, "window": window}
    path = save_checkpoint(tmp_path, 1, 1, facts, {"model": checkpoint.tensors("model")})
    assert json.loads(path.read_text())["facts"]["window"] == window
    with pytest.raises(BadInput, match="the checkpoint does not describe its network"):
        open_model(read_checkpoint(path).path, "cpu")
