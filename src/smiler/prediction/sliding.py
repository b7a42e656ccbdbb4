"""A 3-D network over a volume: overlapping windows, weighted by a gaussian, streamed from the feet up.

Only the slab that the current windows cover is held, never the volume. Windows stand on a regular grid, so that their
weights are products of one share an axis, and are made to sum to one beforehand: nothing is divided afterwards.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from smiler.sampling.patches import cut

OVERLAP = 0.25
"""Share of a window that the next one covers again, at least."""
SIGMA = 0.125
"""Standard deviation of the gaussian, as a share of the window."""
STRIDE = 16
"""The network's stride, if none is given: where the volume is smaller than a window, the window is shortened to a
multiple of it."""

Say = Callable[[Tensor, int], Mapping[str, Tensor]]
"""(windows (B, z, y, x) in HU, number of the first) -> named maps (B, K, z, y, x)."""


@dataclass(frozen=True)
class Axis:
    """Windows along one axis: where each of them starts, and its share (windows, size) of every voxel it covers.

    A volume smaller than a window lies in the middle of it, `before` voxels from its start.
    """

    length: int
    size: int
    before: int
    starts: tuple[int, ...]
    shares: Tensor

    @classmethod
    def over(cls, length: int, window: int, stride: int = STRIDE) -> "Axis":
        """Windows over so many voxels, of `window` voxels or, over fewer, of a multiple of `stride`."""
        from monai.data.utils import compute_importance_map, dense_patch_slices  # takes 2 s

        size = min(window, -(-length // stride) * stride)
        padded = max(length, size)
        places = dense_patch_slices((padded,), (size,), (max(1, round(size * (1 - OVERLAP))),))
        starts = tuple(int(place[0].start) for place in places)
        bell = compute_importance_map((size,), mode="gaussian", sigma_scale=SIGMA).double()
        total = torch.zeros(padded, dtype=torch.float64)
        for start in starts:
            total[start : start + size] += bell
        shares = torch.stack([bell / total[start : start + size] for start in starts]).float()
        return cls(length, size, (size - length) // 2 if length < size else 0, starts, shares)

    @property
    def inside(self) -> slice:
        """Where the volume lies on the padded axis."""
        return slice(self.before, self.before + self.length)


def slide(
    image: Any, window: tuple[int, int, int], say: Say, air: int, batch: int = 8, stride: int = STRIDE
) -> Iterator[dict[str, Tensor]]:
    """What `say` says of an image (z, y, x) in HU: maps (n, K, y, x) of the next n slices, until all are told."""
    z, y, x = (Axis.over(n, size, stride) for n, size in zip(image.shape, window, strict=True))
    slab: dict[str, Tensor] = {}
    for row, start in enumerate(z.starts):
        block = cut(image, (start - z.before, -y.before, -x.before), (z.size, _padded(y), _padded(x)), air)
        _add_row(slab, torch.from_numpy(block), say, (z.shares[row], y, x), (row, batch))
        ready = (z.starts[row + 1] if row + 1 < len(z.starts) else start + z.size) - start
        known = slice(max(0, z.before - start), min(ready, z.before + z.length - start))
        yield {name: part[:, known, y.inside, x.inside].transpose(0, 1).clone() for name, part in slab.items()}
        for part in slab.values():
            part[:, : z.size - ready] = part[:, ready:].clone()
            part[:, z.size - ready :] = 0


def _padded(axis: Axis) -> int:
    return max(axis.length, axis.size)


def _add_row(
    slab: dict[str, Tensor], block: Tensor, say: Say, axes: tuple[Tensor, Axis, Axis], place: tuple[int, int]
) -> None:
    """Add what is said of all windows of one row, (z, y, x), to the slab's maps (K, z, y, x)."""
    depth, y, x = axes
    row, batch = place
    pairs = list(product(range(len(y.starts)), range(len(x.starts))))
    for number in range(0, len(pairs), batch):
        some = pairs[number : number + batch]
        corners = [(y.starts[i], x.starts[j]) for i, j in some]
        windows = torch.stack([block[:, a : a + y.size, b : b + x.size] for a, b in corners])
        for name, said in say(windows, row * len(pairs) + number).items():
            if name not in slab:
                slab[name] = said.new_zeros((said.shape[1], *block.shape), dtype=torch.float32)
            for part, (i, j), (a, b) in zip(said, some, corners, strict=True):
                share = depth[:, None, None] * y.shares[i][:, None] * x.shares[j]
                slab[name][:, :, a : a + y.size, b : b + x.size].addcmul_(part.float(), share.to(part.device))
