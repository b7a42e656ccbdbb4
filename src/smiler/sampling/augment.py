"""Random changes of a batch: sampled first, applied then, so that each can be replayed and tested alone.

One map from patch to slice does crop, rotation, scale and shift together; image voxels are interpolated, bit fields
take the nearest. What lies outside the slice is invented: its evidence is UNKNOWN for every organ.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from smiler.domain.evidence import Fields
from smiler.sampling.options import AugmentOptions


@dataclass(frozen=True)
class Slices:
    """Raw slices of a batch, padded to one size: image int16 (B, C, Y, X) in HU, with air, bit fields int32 (B, Y, X).

    In 3-D a patch's slices are the channels, (B, D, Y, X), and the bit fields have them, too. A bit field that is the
    same all over a slice may be (B, 1, 1); `pseudo` and `cleared` may be left out where nothing is proposed.

    `extent`: (B, 2), the size (y, x) of each slice before padding; `centre`: (B, 2), where its patch is centred.
    """

    image: NDArray[np.int16]
    drawn: NDArray[np.int32]
    pseudo: NDArray[np.int32] | None
    known: NDArray[np.int32]
    extent: NDArray[np.int64]
    centre: NDArray[np.float64]
    cleared: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class Changes:
    """One draw of all changes: `matrix` (B, 2, 3) from patch offset (y, x, 1) to slice position, the others (B,)."""

    matrix: NDArray[np.float32]
    contrast: NDArray[np.float32]
    brightness: NDArray[np.float32]
    noise: NDArray[np.float32]
    noise_seed: NDArray[np.int64]

    def part(self, images: slice) -> "Changes":
        """Those of some of the images."""
        return Changes(*(getattr(self, field.name)[images] for field in fields(self)))


@dataclass(frozen=True)
class Batch:
    """What a network is trained on: image float32 (B, C, *space), normalised, and bit fields int32 (B, *space)."""

    image: Tensor
    fields: Fields

    @property
    def tensors(self) -> list[Tensor]:
        """All that it is made of, always in the same order."""
        bits = (self.fields.drawn, self.fields.known, self.fields.pseudo, self.fields.cleared)
        return [self.image, *(each for each in bits if each is not None)]


def sample(rng: np.random.Generator, centre: NDArray[np.float64], patch: int, options: AugmentOptions) -> Changes:
    """Draw the changes of a batch whose patches are centred at `centre` (B, 2)."""
    count = len(centre)

    def spread(strength: float) -> NDArray[np.float32]:
        return rng.uniform(-strength, strength, count).astype(np.float32)

    angle = np.deg2rad(spread(options.rotate_deg))
    size = np.exp(spread(float(np.log1p(options.scale))))
    shift = np.stack([spread(options.shift), spread(options.shift)], axis=1) * patch
    cos, sin = np.cos(angle) / size, np.sin(angle) / size
    matrix = np.zeros((count, 2, 3), dtype=np.float32)
    matrix[:, 0, 0], matrix[:, 0, 1] = cos, -sin
    matrix[:, 1, 0], matrix[:, 1, 1] = sin, cos
    matrix[:, :, 2] = centre + shift
    contrast, brightness = 1 + spread(options.contrast), spread(options.brightness)
    return Changes(matrix, contrast, brightness, np.abs(spread(options.noise)), rng.integers(2**62, size=count))


def unchanged(centre: NDArray[np.float64]) -> Changes:
    """No change but the crop."""
    count = len(centre)
    matrix = np.zeros((count, 2, 3), dtype=np.float32)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1
    matrix[:, :, 2] = centre
    zero = np.zeros(count, dtype=np.float32)
    return Changes(matrix, zero + 1, zero, zero, np.zeros(count, dtype=np.int64))


@dataclass(frozen=True)
class Normalisation:
    """Grey values to network input: (HU - mean) / sd; outside the slice stands `air`, the window's lowest HU."""

    mean: float
    sd: float
    air: float


def apply(slices: Slices, changes: Changes, patch: int, normalisation: Normalisation, device: torch.device) -> Batch:
    """Cut and change a batch of slices into patches of `patch` x `patch`, on the device."""
    y, x = _positions(on(device, changes.matrix), patch)
    height, width = on(device, slices.extent.astype(np.float32))[:, :, None, None].unbind(1)
    row, column = ((each + 0.5).floor() for each in (y, x))
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index = (row.long() * slices.image.shape[3] + column.long()) * inside
    drawn, known = (_gather(bits, index, inside) for bits in (slices.drawn, slices.known))
    pseudo = torch.zeros_like(drawn) if slices.pseudo is None else _gather(slices.pseudo, index, inside)
    cleared = None if slices.cleared is None else _gather(slices.cleared, index, inside)
    image = on(device, slices.image).float() - normalisation.air
    image = (_interpolate(image, y, x) + (normalisation.air - normalisation.mean)) / normalisation.sd
    return Batch(_grey(image, changes), Fields(drawn, known, pseudo, cleared))


def on(device: torch.device, array: NDArray[Any]) -> Tensor:
    """An array on the device. From page-locked memory a GPU takes it while the CPU goes on."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(device, non_blocking=True)


def _positions(matrix: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """(B, patch, patch) each: the y and the x at which each patch voxel lies in its slice."""
    steps = torch.arange(patch, dtype=torch.float32, device=matrix.device) - (patch - 1) / 2
    down, right, start = matrix[..., None, None].unbind(2)
    place = (down * steps[:, None] + start) + right * steps
    return place[:, 0], place[:, 1]


def _interpolate(image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    height, width = image.shape[2:]
    unit = torch.stack([x * (2 / width) + (1 / width - 1), y * (2 / height) + (1 / height - 1)], dim=3)
    return F.grid_sample(image, unit, mode="bilinear", padding_mode="zeros", align_corners=False)


def _gather(bits: NDArray[np.int32], index: Tensor, inside: Tensor) -> Tensor:
    """(B, [D,] Y, X) -> (B, [D,] patch, patch): each slice at the same places, 0 outside."""
    if bits.shape[-2:] == (1, 1):
        return on(index.device, bits) * inside
    flat = on(index.device, bits).flatten(-2)
    if flat.ndim == 3:
        index, inside = (part[:, None].expand(-1, flat.shape[1], -1, -1) for part in (index, inside))
    return flat.gather(-1, index.flatten(-2)).view_as(index) * inside


def _grey(image: Tensor, changes: Changes) -> Tensor:
    def column(values: NDArray[np.float32]) -> Tensor:
        return on(image.device, values)[:, None, None, None]

    changed = image * column(changes.contrast) + column(changes.brightness)
    if not changes.noise.any():
        return changed
    rng = torch.Generator(device=image.device)
    for one, seed, strength in zip(changed, changes.noise_seed, changes.noise, strict=True):
        if strength:
            grain = torch.randn(one.shape, generator=rng.manual_seed(int(seed)), device=image.device)
            one.add_(grain, alpha=float(strength))
    return changed
