"""The network over a volume on the working grid: scores by blocks of slices, with their spread where asked for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from smiler.domain.geometry import Geometry
from smiler.prediction.model import Model
from smiler.sampling.batches import neighbours

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """What a network says of some organs of a volume on its working grid.

    `channels`: the organs, as channels of the organ set; `score`: float16 (n, z, y, x), above 0 where the organ is
    predicted; `spread`: float16 of the same shape, standard deviation of the probability over stochastic passes.
    """

    channels: tuple[int, ...]
    score: NDArray[np.float16]
    spread: NDArray[np.float16] | None
    geometry: Geometry
    made_by: str


def slice_scores(
    model: Model, image: Any, first: int, last: int, batch: int, passes: int = 0
) -> Iterator[tuple[Scores, Scores | None]]:
    """Scores (n, K, y, x) of slices [first, last) of an image (z, y, x) in windowed HU, `batch` slices at a time.

    With `passes` > 0 also the spread over as many stochastic passes; the trunk runs once.
    """
    network, grey = model.network, model.facts.normalisation
    network.eval()
    for start in range(first, last, batch):
        stop = min(start + batch, last)
        block = np.stack([neighbours(image, z, model.facts.network.context) for z in range(start, stop)])
        with torch.inference_mode(), model.fabric.autocast():
            inputs = (torch.from_numpy(block).to(model.fabric.device).float() - grey.mean) / grey.sd
            inputs = _pad(inputs, network.stride, (grey.air - grey.mean) / grey.sd)
            features = network.trunk(inputs.contiguous(memory_format=torch.channels_last))
            size = (inputs.shape[2], inputs.shape[3])
            crop = (..., slice(block.shape[2]), slice(block.shape[3]))
            score = model.loss.scores(network.head(features, size).float())[crop]
            spread = _spread(model, features, size, passes, start)[crop] if passes else None
        yield score.cpu().numpy(), None if spread is None else spread.cpu().numpy()


def _pad(inputs: Tensor, stride: int, value: float) -> Tensor:
    down, right = -inputs.shape[2] % stride, -inputs.shape[3] % stride
    return F.pad(inputs, (0, right, 0, down), value=value) if down or right else inputs


def _spread(model: Model, features: Tensor, size: tuple[int, int], passes: int, start: int) -> Tensor:
    """Standard deviation of the probability (n, K, y, x) by Welford's running moments: never `passes` volumes."""
    rng = torch.Generator(device="cpu").manual_seed(start)
    mean = squares = torch.zeros((), device=features.device)
    for count in range(1, passes + 1):
        logits = model.network.stochastic(features, size, rng)
        probability = model.loss.scores(logits.float()).sigmoid()
        delta = probability - mean
        mean = mean + delta / count
        squares = squares + delta * (probability - mean)
    return (squares / passes).clamp(min=0).sqrt()


def predict_working(
    model: Model, image: Any, geometry: Geometry, channels: tuple[int, ...], batch: int = 8, passes: int = 0
) -> Prediction:
    """Scores (and spread) of some organs over a whole working volume, in half precision."""
    shape = (len(channels), *geometry.shape)
    score = np.empty(shape, dtype=np.float16)
    spread = np.empty(shape, dtype=np.float16) if passes else None
    at = 0
    for part, part_spread in slice_scores(model, image, 0, geometry.shape[0], batch, passes):
        here = slice(at, at + len(part))
        score[:, here] = part[:, channels].swapaxes(0, 1).clip(-6e4, 6e4)
        if spread is not None and part_spread is not None:
            spread[:, here] = part_spread[:, channels].swapaxes(0, 1)
        at += len(part)
    return Prediction(channels, score, spread, geometry, model.made_by)
