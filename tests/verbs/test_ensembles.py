"""Several runs as one model: the mean of their probabilities, block by block; what does not fit is refused by name."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_runs import TINY

from smiler.domain.errors import BadInput
from smiler.domain.files import read_json, write_json
from smiler.evaluation.scores import Learned
from smiler.prediction.options import PredictionOptions
from smiler.prediction.scores import predict_working, slice_scores
from smiler.prediction.volume import to_working, working_bits
from smiler.recipe.recipe import load_recipe
from smiler.verbs.ensembles import find_models, joint_record
from smiler.verbs.predict import PredictRequest, predict
from smiler.verbs.relabel import RelabelRequest
from smiler.verbs.requests import relabel_request
from smiler.verbs.run import RunFolder, TrainingRecord
from smiler.verbs.train import TrainRequest, train

KEYS = ("liver", "liver_tumor", "spleen", "stomach")


def trained(tiny: Any, run: Path, *changes: str, method: str = "smile") -> Path:
    """One step, and a bias with which organs are found."""
    options = [*TINY, "training.steps=1", "loss.name=bce_dice", "training.prior=0.4", *changes]
    return train(TrainRequest(tiny.cohort, run, load_recipe(method, None, options))).path


@pytest.fixture(scope="module")
def runs(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The tiny run, the same network with other weights, and a network of volumes."""
    base = tmp_path_factory.mktemp("runs")
    volumes = ("network.name=unet3d", "sampling.patch_depth=16")
    return [tiny.run, trained(tiny, base / "two", "training.seed=5"), trained(tiny, base / "three", *volumes)]


def probabilities(run: list[Path] | Path, image: Path, channels: tuple[int, ...]) -> tuple[NDArray[Any], Any]:
    from smiler.formats.nifti import read_ct

    model = find_models(run if isinstance(run, list) else [run], "cpu").open()
    ct = read_ct(image)
    working = to_working(model.facts.data, ct.hu, ct.geometry)
    found = predict_working(model, working.hu, working.geometry, channels, batch=3).score.astype(np.float32)
    return 1 / (1 + np.exp(-found)), working_bits(model, working, ct.geometry, PredictionOptions(batch_size=5))


def test_an_ensembles_probability_is_the_mean_of_its_runs(tiny: Any, runs: list[Path]) -> None:
    channels = tuple(range(len(KEYS)))
    each = [probabilities(run, tiny.image, channels)[0] for run in runs]
    both, bits = probabilities(runs, tiny.image, channels)
    np.testing.assert_allclose(both, np.mean(each, axis=0), atol=2e-3)  # scores are kept in half precision
    assert np.ptp([part.mean() for part in each]) > 0.01
    spleen = both[KEYS.index("spleen")] > 0.5
    assert not (bits >> KEYS.index("spleen") & 1).astype(bool)[~spleen].any()


def test_no_member_runs_ahead_of_the_others(tiny: Any, runs: list[Path]) -> None:
    """Memory stays flat: of each run only the current block is held, never the volume."""
    model = find_models(runs[:2], "cpu").open()
    count = [0, 0]
    hooks = []
    for number, member in enumerate(model.members):

        def counted(*_: Any, number: int = number) -> None:
            count[number] += 1

        hooks.append(member.network.classifier.register_forward_hook(counted))
    image = np.zeros((8, 32, 32), np.int16)
    seen = [tuple(count) for said in slice_scores(model, image, 0, 8, 2) for _ in said.score]
    for hook in hooks:
        hook.remove()
    assert seen == [(1, 1), (1, 1), (2, 2), (2, 2), (3, 3), (3, 3), (4, 4), (4, 4)]


def test_provenance_names_every_run(tiny: Any, runs: list[Path], tmp_path: Path) -> None:
    model = find_models(runs[:2], "cpu")
    predict(model, [tiny.image], PredictRequest(tmp_path))
    parents = read_json(tmp_path / "case0" / "provenance.json")["parents"]
    hashes = [RunFolder(run).newest().model_hash for run in runs[:2]]
    assert [parents["model 1"], parents["model 2"]] == hashes
    assert parents["model"] not in hashes
    mask = tmp_path / "case0" / "liver.nii.gz"
    before = mask.stat().st_mtime_ns
    predict(model, [tiny.image], PredictRequest(tmp_path))
    assert mask.stat().st_mtime_ns == before
    predict(find_models(runs[:1], "cpu"), [tiny.image], PredictRequest(tmp_path))
    assert mask.stat().st_mtime_ns != before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("organs=['liver', 'spleen']",), "organs: liver, liver_tumor, spleen, stomach in"),
        (("data.spacing_xy_mm=3",), "data.spacing_xy_mm: "),
        (("data.window_hu=[-100, 200]",), "data.window_hu: "),
        (("loss.name=softmax",), "organs compete: not at all in"),
        (("prediction.threshold=0.3",), "prediction.threshold: 0.5 in"),
    ],
)
def test_runs_that_do_not_fit_are_refused_by_what_differs(
    tiny: Any, tmp_path: Path, changes: tuple[str, ...], words: str
) -> None:
    other = trained(tiny, tmp_path / "other", *changes)
    with pytest.raises(BadInput, match="the runs don't fit each other") as caught:
        find_models([tiny.run, other], "cpu")
    assert words in caught.value.got


def test_the_same_model_twice_is_refused(tiny: Any, tmp_path: Path) -> None:
    shutil.copytree(tiny.run, tmp_path / "copy")
    with pytest.raises(BadInput, match="the same model is given twice"):
        find_models([tiny.run, tmp_path / "copy"], "cpu")


def folds_of(folder: Path, *runs: Path) -> Path:
    """A training in folds, as it lies on disk when it is done."""
    for number, run in enumerate(runs):
        shutil.copytree(run, folder / f"fold_{number}")
    record = {"format": 1, "folds": len(runs), "cohort": "c", "recipe": {}}
    write_json(folder / "folds.json", record)
    return folder


def test_a_training_in_folds_stands_for_its_runs(tiny: Any, runs: list[Path], tmp_path: Path) -> None:
    folder = folds_of(tmp_path / "folds", *runs[:2])
    assert find_models([folder], "cpu").made_by == find_models(runs[:2], "cpu").made_by
    model, request = relabel_request(folder, RelabelRequest(tmp_path / "out"), "cpu")
    assert len(model.members) == 2
    assert request.learned
    for wrong in (RelabelRequest(tmp_path / "out", review=True), RelabelRequest(tmp_path / "out", rule="mc_dropout")):
        with pytest.raises(BadInput, match="of several runs only their mean is known"):
            relabel_request(folder, wrong, "cpu")


def test_folds_that_are_not_finished_are_named(tiny: Any, runs: list[Path], tmp_path: Path) -> None:
    folder = folds_of(tmp_path / "folds", *runs[:2])
    shutil.rmtree(folder / "fold_1" / "checkpoints")
    with pytest.raises(BadInput, match="folds are not trained to their end; got fold_1;") as caught:
        find_models([folder], "cpu")
    assert "--resume" in caught.value.do


@pytest.mark.parametrize("record", [[], {"format": 2}, {"folds": 0}, {"folds": 10**9}, {"recipe": 1}, {"cohort": None}])
def test_an_odd_mark_of_folds_is_refused_by_its_name(record: Any, tiny: Any, tmp_path: Path) -> None:
    folder = folds_of(tmp_path / "folds", tiny.run)
    good = read_json(folder / "folds.json")
    write_json(folder / "folds.json", {**good, **record} if isinstance(record, dict) else record)
    with pytest.raises(BadInput, match=r"folds\.json"):
        find_models([folder], "cpu")


def test_an_ensemble_learned_what_one_of_its_runs_did() -> None:
    one = TrainingRecord({"a": frozenset({"liver"})}, {"a": "1"})
    two = TrainingRecord({"b": frozenset({"liver"}), "a": frozenset()}, {"b": "2", "a": "3"})
    both = replace(one, others=(two,))
    assert both.learned("a", "liver", "1") is Learned.YES
    assert both.learned("b", "liver", "2") is Learned.YES
    assert both.learned("c", "liver", "4") is Learned.NO
    assert both.learned("a", "spleen", "9") is Learned.UNKNOWN
    assert joint_record([Path("no run")]) is None
