"""What runs a network's trunk in prediction: PyTorch as it is, compiled, or ONNX Runtime. The head stays PyTorch's.

An engine is built once, for a model in memory; nothing is written. All agree with `eager` up to the order of sums.
"""

from __future__ import annotations

import io
import math
import warnings
from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from smiler.domain.errors import BadInput
from smiler.networks.base import SegmentationNet

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SIZES = 32
"""So many sizes of a batch are compiled; of its own accord torch leaves all after the eighth to the plain network."""

RECURS = 20
"""A batch that is smaller than others of its images is compiled when it has come so often."""

Trunk = Callable[[Tensor], Tensor]
"""Features (B, F, *space) of images (B, C, *space)."""


def eager(network: SegmentationNet, _fabric: Fabric) -> Trunk:
    """The network as it is."""
    return network.trunk


def compiled(network: SegmentationNet, _fabric: Fabric) -> Trunk:
    """torch.compile with weights frozen; the first batch of a size waits for the compiler, for half a minute or so.

    A volume's last batch, if it is smaller than the others, is not worth the wait: the network as it is takes it, until
    it has come often. One program for all sizes can't be had: torch 2.13 fails when frozen weights meet an open size.
    """
    from torch._dynamo import config as limits
    from torch._inductor import config  # the option that folds weights has no public door

    run = torch.compile(network.eval().extract, dynamic=False)
    most: Counter[torch.Size] = Counter()
    came: Counter[torch.Size] = Counter()

    def trunk(image: Tensor) -> Tensor:
        size = image.shape[1:]
        most[size] = max(len(image), most[size])
        came[image.shape] += 1
        if len(image) < most[size] and came[image.shape] < RECURS:
            return network.trunk(image)
        try:
            with config.patch(freezing=True), limits.patch(recompile_limit=SIZES):
                return run(image)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            raise _missing("a C++ compiler", "compile", "install g++ or clang") from error

    return trunk


def onnx(network: SegmentationNet, fabric: Fabric) -> Trunk:
    """ONNX Runtime on the CPU, in float32."""
    if fabric.device.type != "cpu":
        raise BadInput("the engine runs on the CPU alone", where="engine", got=f"onnx on {fabric.device}", do="eager")
    try:
        import onnx as _  # noqa: F401  the exporter needs it
        import onnxruntime
    except ImportError as error:
        raise _missing("ONNX Runtime", "onnx", "pip install 'smiler-seg[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what fails is raised

    @cache
    def session(channels: int) -> Any:
        try:
            whole = _exported(network, channels)
            made = onnxruntime.InferenceSession(whole, options, providers=["CPUExecutionProvider"])
            _check_other_size(made, network, channels)
        except Exception as error:  # the exporter and ONNX Runtime raise anything
            raise BadInput(
                "the network can't be exported for images of any size",
                where="engine",
                got=f"onnx: {str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__}",
                do="take the engine eager or compile",
            ) from error
        return made

    return lambda image: _run(session(image.shape[1]), image)


def _run(session: Any, image: Tensor) -> Tensor:
    (features,) = session.run(None, {"image": image.float().contiguous().numpy()})
    return torch.from_numpy(features)


def _check_other_size(session: Any, network: SegmentationNet, channels: int) -> None:
    """ValueError unless it agrees on an image that is not of the size that was exported.

    A network that reckons with sizes in Python (windows of attention) is exported for one size alone, without a word.
    """
    sides = (3 * network.stride, *[network.stride] * (network.axes - 1))
    image = torch.linspace(-1, 1, math.prod(sides)).repeat(channels).view(1, channels, *sides)
    with torch.autocast("cpu", enabled=False):
        expected, told = network.extract(image), _run(session, image)
    if told.shape != expected.shape or not torch.allclose(
        told, expected, rtol=1e-2, atol=1e-3 * float(expected.abs().max())
    ):
        raise ValueError("it says something else of an image of another size")


class _Extract(nn.Module):
    """The trunk as a module of its own, for the exporter."""

    def __init__(self, network: SegmentationNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network.extract(image)


def _exported(network: SegmentationNet, channels: int) -> bytes:
    """The trunk as ONNX in float32, for any number and size of images of so many channels.

    ONNX Runtime has no convolution in bf16, which the network around it may be computed in.
    """
    image = torch.zeros(2, channels, *[2 * network.stride] * network.axes)
    free = {axis: f"n{axis}" for axis in (0, *range(2, image.ndim))}
    stream = io.BytesIO()
    with warnings.catch_warnings(), torch.autocast("cpu", enabled=False):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Extract(network).eval(),
            (image,),
            stream,  # type: ignore[arg-type]  # a stream is taken with dynamo=False
            input_names=["image"],
            output_names=["features"],
            dynamic_axes={"image": free, "features": free},
            dynamo=False,
        )
    return stream.getvalue()


def check_engine(name: str) -> None:
    """BadInput for an engine that there is not, or whose package is not installed."""
    if name not in ENGINES:
        raise BadInput("no such engine", where="engine", got=repr(name), do=f"choose among {', '.join(ENGINES)}")
    if name == "onnx" and not all(map(find_spec, ("onnx", "onnxruntime"))):
        raise _missing("ONNX Runtime", "onnx", "pip install 'smiler-seg[onnx]'")


def _missing(what: str, engine: str, do: str) -> BadInput:
    return BadInput(f"the engine needs {what}", where="engine", got=engine, do=f"{do}, or take the engine eager")


ENGINES: dict[str, Callable[[SegmentationNet, Any], Trunk]] = {"eager": eager, "compile": compiled, "onnx": onnx}
