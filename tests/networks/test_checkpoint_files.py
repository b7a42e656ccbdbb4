"""Checkpoints on disk: an exact round trip, and anything else refused without running a thing from the file."""

import json
import os
import pickle
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from smiler.domain.errors import BadInput, SmilerError
from smiler.domain.files import sha256
from smiler.domain.organs import Organ, OrganSet
from smiler.losses.options import LossOptions
from smiler.networks import NetworkOptions
from smiler.networks.checkpoint import (
    Checkpoint,
    find_checkpoint,
    load_weights,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    save_checkpoint,
)
from smiler.prediction.model import ModelFacts
from smiler.sampling.augment import Normalisation
from smiler.store.options import DataOptions

FACTS = {"organs": [], "note": "ä"}


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3))


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in net.state_dict().items()}


@pytest.fixture
def saved(tmp_path: Path) -> Checkpoint:
    """A finished checkpoint of some other weights than a fresh network has."""
    net = network()
    with torch.no_grad():
        for value in net.parameters():
            value.uniform_(1, 2)
    return read_checkpoint(save_checkpoint(tmp_path / "checkpoints", 7, 7, FACTS, {"model": net.state_dict()}))


def model_file(checkpoint: Checkpoint) -> Path:
    return checkpoint.path.parent / checkpoint.files["model"][0]


def with_tensors(checkpoint: Checkpoint, change: Callable[[dict[str, Tensor]], object]) -> Checkpoint:
    """The checkpoint with other tensors and a hash that fits them, as a careful forger would make it."""
    path = model_file(checkpoint)
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    return with_hash_of(checkpoint, path)


def with_hash_of(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    return with_json(checkpoint, lambda table: table["files"].update(model=[path.name, sha256(path)]))


def with_json(checkpoint: Checkpoint, change: Callable[[dict[str, Any]], object]) -> Checkpoint:
    table = json.loads(checkpoint.path.read_text(encoding="utf-8"))
    change(table)
    checkpoint.path.write_text(json.dumps(table), encoding="utf-8")
    return read_checkpoint(checkpoint.path)


def refuses_and_changes_nothing(checkpoint: Checkpoint, text: str) -> None:
    net = network()
    before = weights_of(net)
    with pytest.raises(BadInput, match=text) as caught:
        load_weights(net, checkpoint)
    assert str(checkpoint.path.parent) in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


# --- round trips


def test_weights_come_back_exactly(saved: Checkpoint) -> None:
    net = network()
    load_weights(net, saved)
    tensors = load_file(model_file(saved))
    assert set(tensors) == set(net.state_dict())
    assert all(torch.equal(value, tensors[key]) for key, value in net.state_dict().items())
    assert (saved.step, saved.steps, saved.finished, saved.facts) == (7, 7, True, FACTS)
    assert saved.model_hash == sha256(model_file(saved))


def test_the_same_weights_have_the_same_hash(tmp_path: Path) -> None:
    net = network()
    hashes = {
        read_checkpoint(save_checkpoint(tmp_path / str(i), i, 9, FACTS, {"model": net.state_dict()})).model_hash
        for i in range(3)
    }
    assert len(hashes) == 1


def test_only_the_newest_checkpoint_stays_and_is_found(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path) is None
    net = network()
    optimizer = torch.optim.AdamW(net.parameters())
    for step in (5, 10, 1000):
        parts = {"model": net.state_dict(), "optimizer": optimizer_tensors(optimizer)}
        save_checkpoint(tmp_path, step, 2000, {}, parts)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-0001000.json",
        "step-0001000.model.safetensors",
        "step-0001000.optimizer.safetensors",
    ]
    found = find_checkpoint(tmp_path)
    assert found is not None
    assert (found.step, found.finished) == (1000, False)


def steps(net: nn.Module, optimizer: torch.optim.Optimizer, count: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    for _ in range(count):
        optimizer.zero_grad()
        net(torch.randn(2, 1, 8, 8, generator=rng)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_an_optimiser_that_is_restored_takes_the_same_steps(tmp_path: Path, order: torch.memory_format) -> None:
    net = network().to(memory_format=order)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, fused=True)
    steps(net, optimizer, 3, seed=1)
    parts = {"model": net.state_dict(), "optimizer": optimizer_tensors(optimizer)}
    found = read_checkpoint(save_checkpoint(tmp_path, 3, 6, {}, parts))

    other = network().to(memory_format=order)  # type: ignore[call-overload]
    resumed = torch.optim.AdamW(other.parameters(), lr=0.01, fused=True)
    load_weights(other, found)
    restore_optimizer(resumed, found.tensors("optimizer"))
    old, new = optimizer.state_dict(), resumed.state_dict()
    assert old["param_groups"] == new["param_groups"]
    assert old["state"].keys() == new["state"].keys()
    for number, values in old["state"].items():
        assert values.keys() == new["state"][number].keys()
        assert all(torch.equal(torch.as_tensor(v), new["state"][number][name]) for name, v in values.items())

    steps(net, optimizer, 3, seed=2)
    steps(other, resumed, 3, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))


def test_half_a_training_without_its_optimiser_is_refused(saved: Checkpoint) -> None:
    with pytest.raises(BadInput, match=r"step-0000007\.json: the checkpoint has no optimizer"):
        saved.tensors("optimizer")


@pytest.mark.parametrize("key", ["exp_avg", "x.exp_avg", "99.exp_avg", "0.exp_avg"])
def test_the_state_of_another_optimiser_is_refused(key: str) -> None:
    optimizer = torch.optim.AdamW(network().parameters())
    with pytest.raises(BadInput, match="optimiser's state belongs to another network"):
        restore_optimizer(optimizer, {key: torch.zeros(3)})


# --- malice


class Malicious:
    """Makes a directory, the canary, when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin", ".pkl", ".PT"])
@pytest.mark.parametrize("archive", [True, False])
def test_a_pickled_checkpoint_is_refused_and_never_run(tmp_path: Path, suffix: str, archive: bool) -> None:
    canary, path = tmp_path / "canary", tmp_path / f"model{suffix}"
    if archive:
        torch.save({"a": Malicious(canary)}, path)
    else:
        path.write_bytes(pickle.dumps(Malicious(canary)))
    with pytest.raises(BadInput, match=r"pickled checkpoint is never loaded.*give the run folder"):
        read_checkpoint(path)
    assert not canary.exists()
    with suppress(FileExistsError):
        torch.load(path, weights_only=False) if archive else pickle.loads(path.read_bytes())  # noqa: S301  # our own
    assert canary.is_dir(), "the payload would have worked"


@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_under_the_name_of_the_tensors_is_refused_and_never_run(saved: Checkpoint, archive: bool) -> None:
    path, canary = model_file(saved), saved.path.parent / "canary"
    if archive:
        torch.save({"0.weight": Malicious(canary)}, path)
    else:
        path.write_bytes(pickle.dumps(Malicious(canary)))
    refuses_and_changes_nothing(saved, "wrong hash")
    refuses_and_changes_nothing(with_hash_of(saved, path), "not a safetensors file")
    assert not canary.exists()


def test_a_pickle_in_place_of_the_json_is_refused_and_never_run(saved: Checkpoint) -> None:
    canary = saved.path.parent / "canary"
    saved.path.write_bytes(pickle.dumps(Malicious(canary)))
    with pytest.raises(BadInput, match="not readable JSON"):
        read_checkpoint(saved.path)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "a/../../outside.safetensors"])
def test_tensors_are_never_read_from_outside_the_checkpoints_folder(saved: Checkpoint, name: str) -> None:
    outside = saved.path.parent.parent / "outside.safetensors"
    model_file(saved).rename(outside)
    forged = with_json(saved, lambda table: table["files"].update(model=[name, sha256(outside)]))
    refuses_and_changes_nothing(forged, "the checkpoint's tensors are missing")


# --- damage


def test_a_changed_byte_is_a_wrong_hash(saved: Checkpoint) -> None:
    whole = bytearray(model_file(saved).read_bytes())
    whole[-1] ^= 1
    model_file(saved).write_bytes(whole)
    refuses_and_changes_nothing(saved, "not those that were saved.*wrong hash.*copy the run folder again")


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_truncated_tensors_are_refused_even_with_a_fitting_hash(saved: Checkpoint, length: int) -> None:
    path = model_file(saved)
    path.write_bytes(path.read_bytes()[:length])
    refuses_and_changes_nothing(saved, "wrong hash")
    refuses_and_changes_nothing(with_hash_of(saved, path), "not a safetensors file")


def test_missing_tensors_are_named(saved: Checkpoint) -> None:
    model_file(saved).unlink()
    refuses_and_changes_nothing(saved, r"step-0000007\.model\.safetensors: the checkpoint's tensors are missing")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda tensors: tensors.pop("2.bias"), r"another network \(keys differ\); got 2\.bias"),
        (lambda tensors: tensors.update(more=torch.zeros(1)), r"\(keys differ\); got more"),
        (
            lambda tensors: tensors.update({"2.bias": torch.zeros(5)}),
            r"2\.bias: .*\(shapes differ\); got \(5,\) instead of \(2,\)",
        ),
        (
            lambda tensors: tensors["0.weight"].view(-1)[3:4].fill_(float("nan")),
            r"0\.weight: the weights are not finite",
        ),
        (lambda tensors: tensors["1.running_var"].fill_(float("inf")), r"1\.running_var: the weights are not finite"),
    ],
)
def test_weights_of_another_network_or_without_sense_are_refused(
    saved: Checkpoint, change: Callable[[dict[str, Tensor]], object], text: str
) -> None:
    refuses_and_changes_nothing(with_tensors(saved, change), text)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.pop("files"),
        lambda table: table.pop("facts"),
        lambda table: table.pop("step"),
        lambda table: table.update(format=2),
        lambda table: table.update(step="many"),
        lambda table: table.update(step=float("inf")),
        lambda table: table.update(steps=None),
        lambda table: table.update(facts=[]),
        lambda table: table.update(files=[]),
        lambda table: table.update(files={}),
        lambda table: table.update(files={"model": "a.safetensors"}),
        lambda table: table.update(files={"model": [1, 2]}),
        lambda table: table.update(files={"optimizer": ["a", "b"]}),
    ],
)
def test_json_that_describes_no_checkpoint_is_refused(saved: Checkpoint, change: Callable[[Any], object]) -> None:
    with pytest.raises(BadInput, match=r"step-0000007\.json: not a checkpoint of smiler"):
        with_json(saved, change)


@pytest.mark.parametrize("content", [b"[]", b"null", b'"text"', b"5"])
def test_json_of_another_kind_is_refused(saved: Checkpoint, content: bytes) -> None:
    saved.path.write_bytes(content)
    with pytest.raises(BadInput, match="not a checkpoint of smiler"):
        read_checkpoint(saved.path)


def test_truncated_json_is_refused_at_every_length(saved: Checkpoint) -> None:
    whole = saved.path.read_bytes()
    for length in range(0, len(whole.strip()), 7):
        saved.path.write_bytes(whole[:length])
        with pytest.raises(BadInput, match="not readable JSON"):
            read_checkpoint(saved.path)


# --- the facts about a model


ORGANS = OrganSet((Organ("liver", "Liver", "10200004", "#aa0000"), Organ("tumour", part_of="liver"), Organ("vein")))


def facts() -> dict[str, Any]:
    made = ModelFacts(ORGANS, NetworkOptions(), LossOptions(), DataOptions(), Normalisation(40.0, 20.0, -160.0))
    return json.loads(json.dumps(made.to_json()))


def test_the_facts_of_a_model_come_back() -> None:
    again = ModelFacts.from_json(facts(), Path("x.json"))
    assert again.organs == ORGANS
    assert again.to_json() == facts()


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.pop("organs"),
        lambda table: table.pop("normalisation"),
        lambda table: table["organs"][0].pop("overlaps"),
        lambda table: table["organs"][0].update(key="../evil"),
        lambda table: table["organs"][1].update(part_of="heart"),
        lambda table: table["organs"][0].update(more=1),
        lambda table: table.update(organs=[]),
        lambda table: table.update(organs=5),
        lambda table: table["network"].update(width=10**9),
        lambda table: table["network"].update(more=1),
        lambda table: table["loss"].update(name="mse"),
        lambda table: table["normalisation"].update(sd="wide"),
        lambda table: table["normalisation"].pop("air"),
        lambda table: table["normalisation"].update(sd=float("nan")),
        lambda table: table["normalisation"].update(sd=0.0),
        lambda table: table["normalisation"].update(mean=float("inf")),
        lambda table: table["network"].update(name="unet3d"),  # without a window
    ],
)
def test_facts_that_describe_no_model_are_refused(change: Callable[[Any], object]) -> None:
    table = facts()
    change(table)
    with pytest.raises(BadInput) as caught:
        ModelFacts.from_json(table, Path("step-7.json"))
    assert "step-7.json" in str(caught.value)


def test_spoilt_bytes_give_a_checkpoint_or_our_errors(saved: Checkpoint) -> None:
    net, draw = network(), random.Random(15)
    originals = {path: path.read_bytes() for path in (saved.path, model_file(saved))}
    for number in range(300):
        path = (saved.path, model_file(saved))[number % 2]
        spoilt = bytearray(originals[path])
        for at in draw.sample(range(min(len(spoilt), 400)), 3):
            spoilt[at] = draw.randrange(256)
        path.write_bytes(spoilt)
        with suppress(SmilerError):
            found = read_checkpoint(saved.path)
            load_weights(net, found if number % 4 < 2 else with_hash_of(found, model_file(saved)))
        for original, content in originals.items():
            original.write_bytes(content)
