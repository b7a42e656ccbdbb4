"""The network over a volume on the working grid: scores by blocks of slices, with their uncertainty where asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from smiler.domain.errors import BadInput
from smiler.domain.geometry import Geometry
from smiler.losses.confidence import WithConfidence
from smiler.networks.base import SegmentationNet
from smiler.networks.device import channels_last, in_precision
from smiler.networks.several import Ensemble
from smiler.prediction.compose import Box
from smiler.prediction.model import Model
from smiler.prediction.sliding import slide
from smiler.sampling.batches import neighbours

Scores = NDArray[np.float32]
Half = NDArray[np.float16]
SHIFTS = ((0, 0), (4, 0), (-4, 0), (0, 4), (0, -4))
"""Test-time augmentation: where the image is moved to (voxels), and the answer back. An abdomen is never mirrored."""


@dataclass(frozen=True)
class Opinions:
    """Whose opinions are gathered: so many Monte-Carlo passes, an ensemble's members, the answers to a moved image.

    `confidence`: the one answer with its learned confidence. `votes`: Monte-Carlo passes, of which only the masks
    count: their mean is the share of passes that find the organ. `pooled`: the image and `passes` moved copies, of
    which only the mean probability is wanted, as the score.
    """

    kind: Literal["dropout", "members", "shifts", "confidence", "votes", "pooled"]
    passes: int = 10


@dataclass(frozen=True)
class Said:
    """Of a block of slices, float32 (n, K, y, x): scores, and mean and spread of the probability, or the confidence.

    Arrays, or tensors on a GPU, where what follows is faster, too; `host` brings them over.
    """

    score: Any
    mean: Any = None
    spread: Any = None
    confidence: Any = None


@dataclass(frozen=True)
class Prediction:
    """What a network says of some organs of a volume on its working grid.

    `channels`: the organs, as channels of the organ set; `score`: float16 (n, z, y, x), above 0 where the organ is
    predicted; `mean`, `spread`: float16 of the same shape, of the probability over opinions; `confidence`: learned.
    """

    channels: tuple[int, ...]
    score: Half
    geometry: Geometry
    made_by: str
    mean: Half | None = None
    spread: Half | None = None
    confidence: Half | None = None

    def within(self, box: Box) -> "Prediction":
        """The same of a box (z, y, x) alone; `geometry` stays the whole volume's."""
        parts = (self.score, self.mean, self.spread, self.confidence)
        score, *others = (None if part is None else part[:, *box] for part in parts)
        return Prediction(self.channels, cast(Half, score), self.geometry, self.made_by, *others)


def slice_scores(
    model: Model, image: Any, first: int, last: int, batch: int, opinions: Opinions | None = None
) -> Iterator[Said]:
    """What the network says of slices [first, last) of an image (z, y, x) in windowed HU, `batch` slices at a time.

    With opinions also their mean and spread, or the confidence; the trunk runs once but for `shifts`. The network's
    precision and PyTorch's inference mode end before a block is handed over: what follows computes as it likes.
    """
    _check(model, opinions)
    if model.members:
        yield from _pooled_scores(model, image, range(first, last), batch, opinions.passes if opinions else 0)
    else:
        yield from _blocks(model, image, range(first, last), batch, partial(_say, opinions=opinions))


def _blocks(model: Model, image: Any, slices: range, batch: int, say: "Say") -> Iterator[Said]:
    """What a network says of some slices of an image, in blocks."""
    model.network.eval()
    if model.facts.window:
        yield from _window_scores(model, model.facts.window, image[slices.start : slices.stop], batch, say)
        return
    for start in slices[::batch]:
        stop = min(start + batch, slices.stop)
        block = np.stack([neighbours(image, z, model.facts.network.context) for z in range(start, stop)])
        yield _block_scores(model, block, say, start)


def _pooled_scores(model: Model, image: Any, slices: range, batch: int, moves: int) -> Iterator[Said]:
    """What an ensemble says, slice by slice: of each member no more than its current block is held."""
    say = partial(_say_logits, moves=moves)
    streams = (_each_slice(_blocks(member, image, slices, batch, say)) for member in model.members)
    for logits in zip(*streams, strict=True):
        yield _pooled(model, torch.stack(logits)[:, None])


def _each_slice(blocks: Iterator[Said]) -> Iterator[Tensor]:
    for block in blocks:
        yield from torch.as_tensor(block.score)


@torch.inference_mode()
def _pooled(model: Model, logits: Tensor) -> Said:
    """Scores of the mean probability of logits (M, B, outputs, *space)."""
    return _Tensors(model.loss.scores(model.loss.pooled(logits))).cropped(*logits.shape[-2:])


@torch.inference_mode()
def _block_scores(model: Model, block: NDArray[np.int16], say: "Say", start: int) -> Said:
    """What the network says of some slices (n, channels, y, x) in windowed HU, the first of them number `start`."""
    grey = model.facts.normalisation
    inputs = (torch.from_numpy(block).to(model.fabric.device).float() - grey.mean) / grey.sd
    inputs = _pad(inputs, model.network.stride, (grey.air - grey.mean) / grey.sd)
    return say(model, inputs, start).cropped(block.shape[2], block.shape[3])


def _window_scores(model: Model, window: tuple[int, int, int], image: Any, batch: int, say: "Say") -> Iterator[Said]:
    """What a 3-D network says of an image (z, y, x), in sliding windows from the feet up."""
    grey, device = model.facts.normalisation, model.fabric.device

    @torch.inference_mode()
    def of_windows(windows: Tensor, number: int) -> dict[str, Tensor]:
        inputs = (windows.to(device).float() - grey.mean) / grey.sd
        return say(model, inputs[:, None], number).given()

    for block in slide(image, window, of_windows, int(grey.air), batch, model.network.stride):
        yield Said(**{name: part.numpy() if part.device.type == "cpu" else part for name, part in block.items()})


@dataclass(frozen=True)
class _Tensors:
    score: Tensor
    mean: Tensor | None = None
    spread: Tensor | None = None
    confidence: Tensor | None = None

    def given(self) -> dict[str, Tensor]:
        """By name, what was asked for."""
        named = {"score": self.score, "mean": self.mean, "spread": self.spread, "confidence": self.confidence}
        return {name: values for name, values in named.items() if values is not None}

    def cropped(self, height: int, width: int) -> Said:
        """Without the padding; on a CPU as arrays, in whole planes of an organ: they are looked at alone."""

        def take(values: Tensor) -> Any:
            inside = values[..., :height, :width]
            return inside.contiguous().numpy() if inside.device.type == "cpu" else inside

        return Said(**{name: take(values) for name, values in self.given().items()})


Say = Callable[[Model, Tensor, int], _Tensors]
"""Of normalised images (B, C, *space), the first of them number so and so."""


def host(block: Any, kind: torch.dtype) -> NDArray[Any]:
    """An array as it is; a tensor on a GPU as an array of this type, by way of page-locked memory."""
    if not isinstance(block, Tensor):
        array: NDArray[Any] = block
        return array
    there = torch.empty(block.shape, dtype=kind, pin_memory=block.device.type == "cuda")
    return there.copy_(block.to(kind)).numpy()


def _check(model: Model, opinions: Opinions | None) -> None:
    kind = opinions.kind if opinions else ""
    if kind not in ("", "pooled") and model.members:
        do = "take the rule score, or one of the runs"
        raise BadInput("of several runs only their mean is known", where="rule", got=kind, do=do)
    if kind == "members" and not isinstance(model.network, Ensemble):
        raise BadInput(
            "the network is no ensemble", where="network.members", got="1", do="train with network.members=3"
        )
    if kind == "confidence" and not isinstance(model.loss, WithConfidence):
        raise BadInput("the network has no confidence", where="loss.confidence", got="false", do="train with it true")


def _say(model: Model, inputs: Tensor, start: int, opinions: Opinions | None) -> _Tensors:
    """Of normalised images (B, C, *space); all float32, whatever the network computes in."""
    if opinions is not None and opinions.kind == "pooled":
        return _Tensors(model.loss.scores(_say_logits(model, inputs, start, opinions.passes).score))
    features, logits = _logits(model, inputs)
    score = model.loss.scores(logits)
    if opinions is None:
        return _Tensors(score)
    if opinions.kind == "confidence" and isinstance(model.loss, WithConfidence):
        return _Tensors(score, confidence=model.loss.confidence(logits))
    each = _each_opinion(model, inputs, features, opinions, start)
    if opinions.kind == "votes":
        return _Tensors(score, moments((model.loss.scores(said) > 0).float() for said in each)[0])
    mean, spread = moments(model.loss.probability(said) for said in each)
    return _Tensors(score, mean, spread)


def _say_logits(model: Model, inputs: Tensor, _start: int, moves: int) -> _Tensors:
    """Logits in place of scores, pooled over the image and so many moved copies: what an ensemble takes the mean of."""
    each = []
    for shift in SHIFTS[: moves + 1]:
        moved = _logits(model, torch.roll(inputs, shift, dims=(-2, -1)))[1]
        each.append(torch.roll(moved, (-shift[0], -shift[1]), dims=(-2, -1)))
    return _Tensors(model.loss.pooled(torch.stack(each)) if moves else each[0])


def _logits(model: Model, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Features, and float32 logits (B, outputs, *space), of normalised images (B, C, *space)."""
    size, fabric = inputs.shape[2:], model.fabric
    with fabric.autocast():
        features = model.trunk(inputs.contiguous(memory_format=channels_last(len(size))))
    return features, in_precision(fabric, lambda: model.network.head(features, size))


def _each_opinion(model: Model, inputs: Tensor, features: Tensor, opinions: Opinions, start: int) -> Iterator[Tensor]:
    """Float32 logits (B, outputs, *space) of one opinion after the other."""
    network, fabric, size = model.network, model.fabric, inputs.shape[2:]
    if opinions.kind == "shifts":
        for shift in SHIFTS:
            yield in_precision(fabric, partial(_moved, network, inputs, shift))
    elif opinions.kind == "members" and isinstance(network, Ensemble):
        yield from in_precision(fabric, lambda: torch.stack([*network.opinions(features, size)]))
    else:
        rng = torch.Generator(device="cpu").manual_seed(start)
        for _ in range(opinions.passes):
            yield in_precision(fabric, partial(network.stochastic, features, size, rng))


def _moved(network: SegmentationNet, inputs: Tensor, shift: tuple[int, int]) -> Tensor:
    """Logits of the image moved by a few voxels, moved back."""
    moved = torch.roll(inputs, shift, dims=(-2, -1)).contiguous(memory_format=channels_last(inputs.ndim - 2))
    return torch.roll(network(moved), (-shift[0], -shift[1]), dims=(-2, -1))


def moments(opinions: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (over all, not all but one) of a stream of tensors; two are kept, not all.

    Welford 1962, doi:10.1080/00401706.1962.10490022.
    """
    mean = squares = torch.zeros(())
    count = 0
    for count, opinion in enumerate(opinions, start=1):
        if count == 1:
            mean, squares = opinion.clone(), torch.zeros_like(opinion)
            continue
        delta = opinion - mean
        mean.add_(delta, alpha=1 / count)
        squares.addcmul_(delta, opinion - mean)
    return mean, (squares / count).clamp(min=0).sqrt()


def _pad(inputs: Tensor, stride: int, value: float) -> Tensor:
    down, right = -inputs.shape[2] % stride, -inputs.shape[3] % stride
    return F.pad(inputs, (0, right, 0, down), value=value) if down or right else inputs


def predict_working(
    model: Model,
    image: Any,
    geometry: Geometry,
    channels: tuple[int, ...],
    batch: int = 8,
    opinions: Opinions | None = None,
) -> Prediction:
    """Scores (and what the opinions add) of some organs over a whole working volume, in half precision."""
    gathered = Gathered(channels, geometry, model.made_by)
    for _ in gathered.passing(slice_scores(model, image, 0, geometry.shape[0], batch, opinions)):
        pass
    return gathered.prediction()


class Gathered:
    """Keeps what passes, in half precision: who restores masks from a stream of scores can rank them afterwards."""

    def __init__(self, channels: tuple[int, ...], geometry: Geometry, made_by: str) -> None:
        self.channels, self.geometry, self.made_by = channels, geometry, made_by
        self.parts: dict[str, Half] = {}

    def passing(self, stream: Iterator[Said]) -> Iterator[Said]:
        """The same blocks of slices, from the feet up."""
        at = 0
        for said in stream:
            here = slice(at, at + len(said.score))
            for name in ("score", "mean", "spread", "confidence"):
                block = getattr(said, name)
                if block is not None:
                    shape = (len(self.channels), *self.geometry.shape)
                    whole = self.parts.setdefault(name, np.empty(shape, dtype=np.float16))
                    whole[:, here] = host(block[:, self.channels].swapaxes(0, 1).clip(-6e4, 6e4), torch.float16)
            at = here.stop
            yield said

    def prediction(self) -> Prediction:
        """All that passed."""
        return Prediction(self.channels, geometry=self.geometry, made_by=self.made_by, **self.parts)
