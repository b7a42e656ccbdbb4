"""Every engine says what the plain network says, for whole batches and parts of one."""

import importlib.util
import shutil
from itertools import product

import pytest
import torch

from smiler.domain.errors import BadInput
from smiler.networks import NetworkOptions, build
from smiler.networks.base import SegmentationNet
from smiler.networks.device import make_fabric
from smiler.prediction.engines import ENGINES, RECURS

NETWORKS = {
    "unet": NetworkOptions(name="unet", width=8, context=1),
    "deeplab": NetworkOptions(name="deeplab"),
}


# the compiler takes most of the time, and what is ours of it knows no network
@pytest.mark.parametrize(
    ("engine", "network"),
    [pair for pair in product(sorted(ENGINES), sorted(NETWORKS)) if pair != ("compile", "deeplab")],
)
def test_an_engine_agrees_with_the_plain_network(engine: str, network: str) -> None:
    if engine == "onnx" and not (importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime")):
        pytest.skip("onnx and onnxruntime are not installed")
    if engine == "compile" and not shutil.which("g++"):
        pytest.skip("there is no C++ compiler")
    torch.manual_seed(0)
    made = build(NETWORKS[network], 3).to(memory_format=torch.channels_last)
    for _ in range(2):
        made(torch.randn(4, NETWORKS[network].in_channels, 64, 64))  # statistics that are not 0 and 1
    made.eval()
    trunk = ENGINES[engine](made, make_fabric("cpu", "32"))
    for shape in ((2, 64, 64), (1, 32, 48)):
        image = torch.randn(shape[0], NETWORKS[network].in_channels, *shape[1:])
        with torch.inference_mode():
            expected, found = made.trunk(image), trunk(image.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    made = build(NETWORKS["unet"], 1)
    with pytest.raises(BadInput, match=r"(?s)the engine needs ONNX Runtime.*smiler-seg\[onnx\]"):
        ENGINES["onnx"](made, make_fabric("cpu", "32"))


class Small(SegmentationNet):
    """One layer, so that the compiler is soon done; it counts the batches that Python takes through it."""

    def __init__(self) -> None:
        super().__init__(features=4, outputs=1, stride=1, dropout=0.0)
        self.layer = torch.nn.Conv2d(1, 4, 3, padding=1)
        self.uncompiled: list[int] = []

    def extract(self, image: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_compiling():
            self.uncompiled.append(len(image))
        return self.layer(image).relu()


@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler")
def test_every_size_of_a_whole_batch_is_compiled_and_no_last_batch() -> None:
    torch._dynamo.reset()
    small = Small()
    trunk = ENGINES["compile"](small, make_fabric("cpu", "32"))
    sizes = range(16, 25)  # more than torch compiles of its own accord
    with torch.inference_mode():
        for size in sizes:
            for batch in (2, 2, 1):
                trunk(torch.zeros(batch, 1, size, 16))
        assert small.uncompiled == [1] * len(sizes)
        for _ in range(40):  # as the last window of each row of a volume
            trunk(torch.zeros(1, 1, 16, 16))
    assert small.uncompiled == [1] * (len(sizes) + RECURS - 2)


class OneSize(SegmentationNet):
    """It reckons with its size in Python, as windows of attention do: the exporter sees numbers."""

    def __init__(self) -> None:
        super().__init__(features=4, outputs=1, stride=4, dropout=0.0)
        self.layer = torch.nn.Conv2d(1, 4, 3, padding=1)

    def extract(self, image: torch.Tensor) -> torch.Tensor:
        half = int(image.shape[2]) // 2
        return torch.cat([self.layer(image)[:, :, half:], self.layer(image)[:, :, :half]], dim=2)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_network_that_onnx_has_for_one_size_alone_is_refused() -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    trunk = ENGINES["onnx"](OneSize().eval(), make_fabric("cpu", "32"))
    with pytest.raises(BadInput, match=r"can't be exported for images of any size.*take the engine eager or compile"):
        trunk(torch.zeros(1, 1, 8, 8))
