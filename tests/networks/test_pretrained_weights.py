"""Pretrained weights from a local file: round trips, refusals, and no code run from the file."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from smiler.domain.errors import BadInput
from smiler.networks import NetworkOptions, build
from smiler.networks.deeplab import DeepLab
from smiler.networks.resnet import ResNet
from smiler.networks.weights import adapt_channels, load_backbone, read_tensors

State = dict[str, Tensor]


def imagenet_like() -> State:
    """A state as an ImageNet checkpoint holds it: three colours, `fc`, and statistics that are not the first ones."""
    state = ResNet(18, 3, 16).state_dict()
    state = {name: torch.rand_like(t) if t.is_floating_point() else t + 7 for name, t in state.items()}
    return state | {"fc.weight": torch.rand(1000, 512), "fc.bias": torch.rand(1000)}


def save(state: State, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
@pytest.mark.parametrize("context", [0, 1])
def test_the_backbone_holds_what_the_file_held(tmp_path: Path, suffix: str, context: int) -> None:
    state = imagenet_like()
    path = save(state, tmp_path / f"resnet18{suffix}")
    net = DeepLab(NetworkOptions(name="deeplab", depth=18, context=context, weights=path), 3)
    loaded = net.backbone.state_dict()
    for name in loaded.keys() - {"conv1.weight"}:
        assert torch.equal(loaded[name], state[name]), name
    torch.testing.assert_close(loaded["conv1.weight"].sum(dim=1), state["conv1.weight"].sum(dim=1))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_equal_slices_get_the_response_of_a_grey_colour_image(channels: int) -> None:
    weight, grey = torch.randn(8, 3, 7, 7), torch.randn(2, 1, 16, 16)
    colour = torch.nn.functional.conv2d(grey.expand(-1, 3, -1, -1), weight)
    slices = torch.nn.functional.conv2d(grey.expand(-1, channels, -1, -1), adapt_channels(weight, channels))
    torch.testing.assert_close(slices, colour, rtol=1e-4, atol=1e-4)


def test_a_backbone_loads_its_own_grey_state(tmp_path: Path) -> None:
    first, second = ResNet(18, 1, 16), ResNet(18, 1, 8)
    load_backbone(second, save(first.state_dict(), tmp_path / "own.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_old_checkpoints_without_step_counters_load(tmp_path: Path) -> None:
    state = {name: t for name, t in imagenet_like().items() if not name.endswith("num_batches_tracked")}
    backbone = ResNet(18, 3, 16)
    load_backbone(backbone, save(state, tmp_path / "old.pth"))
    assert torch.equal(backbone.bn1.weight, state["bn1.weight"])


def rename(state: State) -> State:
    return {f"module.{name}": tensor for name, tensor in state.items()}


def without_bn1(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith("bn1.")}


def narrow(state: State) -> State:
    return state | {"layer2.0.conv1.weight": torch.zeros(128, 32, 3, 3), "conv1.weight": torch.zeros(64, 3, 3, 3)}


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (rename, r"100 missing: conv1\.weight, .*; 122 unexpected: module\."),
        (without_bn1, r"4 missing: bn1\.weight, bn1\.bias, bn1\.running_mean"),
        (
            narrow,
            r"conv1\.weight \(64, 1, 3, 3\) instead of \(64, 1, 7, 7\), layer2\.0\.conv1\.weight \(128, 32, 3, 3\)",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused_with_names(
    tmp_path: Path, spoil: Callable[[State], State], text: str
) -> None:
    path = save(spoil(imagenet_like()), tmp_path / "spoilt.safetensors")
    backbone = ResNet(18, 1, 16)
    before = backbone.conv1.weight.clone()
    with pytest.raises(BadInput, match=text) as caught:
        load_backbone(backbone, path)
    assert caught.value.where == str(path)
    assert torch.equal(backbone.conv1.weight, before)


def test_another_depth_is_refused(tmp_path: Path) -> None:
    path = save(imagenet_like(), tmp_path / "resnet18.pth")
    with pytest.raises(BadInput, match=r"layer1\.2\.conv1\.weight.*same depth"):
        build(NetworkOptions(name="deeplab", depth=34, weights=path), 2)


class Malicious:
    """Makes a directory, the canary, when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
@pytest.mark.parametrize("torch_archive", [True, False])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_malicious_pickle_is_refused_and_never_run(tmp_path: Path, suffix: str, torch_archive: bool) -> None:
    canary, path = tmp_path / "canary", tmp_path / f"resnet18{suffix}"
    payload = {"conv1.weight": Malicious(canary)}
    if torch_archive:
        torch.save(payload, path)
    else:
        path.write_bytes(pickle.dumps(payload))
    with pytest.raises(BadInput, match="cannot be read as named tensors") as caught:
        build(NetworkOptions(name="deeplab", weights=path), 2)
    assert caught.value.where == str(path)
    assert len(str(caught.value).splitlines()) == 1
    assert not canary.exists()
    if torch_archive:
        torch.load(io.BytesIO(path.read_bytes()), weights_only=False)
    else:
        pickle.loads(path.read_bytes())  # noqa: S301  # our own file
    assert canary.is_dir(), "the payload would have worked"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_damaged_files_are_refused(tmp_path: Path, suffix: str) -> None:
    whole = save({"conv1.weight": torch.rand(4, 3, 2, 2)}, tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"damaged{suffix}"
    for length in range(0, len(whole) - 1, 1 + len(whole) // 40):
        path.write_bytes(whole[:length])
        with pytest.raises(BadInput, match="cannot be read"):
            read_tensors(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(("suffix", "zipped"), [(".safetensors", False), (".pth", True), (".pth", False)])
def test_spoilt_bytes_give_tensors_or_the_one_error(tmp_path: Path, suffix: str, zipped: bool) -> None:
    path = tmp_path / f"spoilt{suffix}"
    state = {"conv1.weight": torch.rand(2, 3, 2, 2)}
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
    whole, draw = path.read_bytes(), random.Random(7)
    for _ in range(200):
        spoilt = bytearray(whole)
        for at in draw.sample(range(min(len(whole), 400)), 4):
            spoilt[at] = draw.randrange(256)
        path.write_bytes(spoilt)
        with contextlib.suppress(BadInput):
            assert all(isinstance(tensor, Tensor) for tensor in read_tensors(path).values())


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"state_dict": {"conv1.weight": torch.zeros(1)}}, "text"])
def test_anything_but_a_dict_of_tensors_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(BadInput, match="not a dict of tensors alone"):
        read_tensors(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"absent\.pth.*FileNotFoundError"):
        read_tensors(tmp_path / "absent.pth")


def test_other_suffixes_are_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"files only; got \.bin"):
        read_tensors(tmp_path / "resnet18.bin")
