"""Masks on the CT's own grid made on a GPU: whole planes of all organs, where a CPU looks into boxes (`volume`)."""

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smiler.domain.evidence import Relations
from smiler.store.resample import Resampler

BLOCK = 8
"""Slices of the CT's grid at a time: K float planes of each are held."""


def restored_blocks(
    stream: Iterator[Tensor], resampler: Resampler, relations: Relations
) -> Iterator[tuple[int, int, NDArray[np.int32]]]:
    """(first slice, last, bit field (n, y, x)) on the target grid, a few slices at a time from the feet up.

    `stream`: scores (K, y, x) of one source slice after the other, all on one device.
    """
    first_scores = next(stream)
    stream, device = chain([first_scores], stream), first_scores.device
    depth, rows, columns = (_on(device, weights) for weights in (resampler.depth, resampler.rows, resampler.columns))
    ready: list[Tensor] = []
    offset = 0
    for start in range(0, resampler.target[0], BLOCK):
        stop = min(start + BLOCK, resampler.target[0])
        first, last = resampler.needed(start, stop)
        while offset + len(ready) < last:
            ready.append(next(stream))
        ready, offset = ready[first - offset :], first
        scores = torch.stack(ready[: last - first], dim=1).float()
        if depth is not None:
            scores = torch.einsum("oi,kiyx->koyx", depth[start:stop, first:last], scores)
        if rows is not None:
            scores = rows @ scores
        if columns is not None:
            scores = scores @ columns.T
        yield start, stop, compose_planes(scores, relations).cpu().numpy()


def _on(device: torch.device, weights: NDArray[np.float32] | None) -> Tensor | None:
    return None if weights is None else torch.from_numpy(weights).to(device)


def compose_planes(scores: Tensor, relations: Relations) -> Tensor:
    """Bit field int32 (*space) of scores (K, *space); as `compose.compose`: first wins ties among exclusive organs."""
    bits = torch.zeros(scores.shape[1:], dtype=torch.int32, device=scores.device)
    for k, own in enumerate(scores):
        mask = own > 0
        for earlier, rivals in ((True, range(k)), (False, range(k + 1, len(scores)))):
            best = _best(scores, [j for j in rivals if relations.excluders[k] >> j & 1])
            if best is not None:
                mask &= own > best if earlier else own >= best
        bits |= mask.int() << k
    return bits


def _best(scores: Tensor, channels: Sequence[int]) -> Tensor | None:
    if not channels:
        return None
    best = scores[channels[0]]
    for j in channels[1:]:
        best = torch.maximum(best, scores[j])
    return best
