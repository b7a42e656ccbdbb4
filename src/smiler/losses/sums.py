"""What losses sum over voxels, in one pass and with their own gradient.

Written with PyTorch's operations alone, these sums go some twenty times through K float volumes, forth and back. Here
an image at a time stays in a CPU's cache, and one volume is kept for the gradient: probabilities.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from smiler.losses.targets import Targets, unpacked

_LEAST = 1e-30
"""A voxel's cross-entropy is counted up to -log of this, 69."""


@dataclass(frozen=True)
class Sums:
    """Sums over the voxels that are told, each (B, K, 2): of those where the organ is not, and where it is.

    `count`: voxels; `cost`: their cross-entropy; `claim`: the probability that the network gives to the organ there.
    """

    count: Tensor
    cost: Tensor
    claim: Tensor


def sigmoid_sums(logits: Tensor, targets: Targets) -> Sums:
    """Sums over the voxels of logits (B, K, *space); they can be differentiated once."""
    count, cost, claim = _SigmoidSums.apply(logits.float(), *_words(targets))  # type: ignore[no-untyped-call]
    return Sums(count, cost, claim)


def softmax_sums(
    logits: Tensor, targets: Targets, allowed: Tensor, members: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy (B, *space) of the `allowed` classes; counts and claims as above. Can be differentiated once.

    Logits (B, K + 1, *space); `allowed`: bit fields (B, *space) of classes. `members` (K, K + 1): of which classes an
    organ is made, if not of its own alone. Where the organ is, its claim is the probability of all that is allowed;
    elsewhere that of its members that are not allowed.
    """
    cost, count, claim = _SoftmaxSums.apply(logits.float(), allowed, *_words(targets), members)  # type: ignore[no-untyped-call]
    return cost, count, claim


def _words(targets: Targets) -> tuple[Tensor, Tensor]:
    """Bit fields (B, *space) of the organs that are told to be there, and told not to be."""
    return targets.said & targets.looked, ~targets.said & targets.looked


class _SigmoidSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, yes: Tensor, no: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        right = torch.empty_like(logits, memory_format=torch.contiguous_format).flatten(2)
        found = []
        for part in _parts(logits):
            told = _told(yes[part], no[part], logits.shape[1])
            of = logits.new_empty(len(told), 3, *right.shape[1:])
            torch.mul((told[:, 1] - told[:, 0]).view_as(logits[part]), logits[part], out=of[:, 2].view_as(logits[part]))
            torch.sigmoid(of[:, 2], out=of[:, 1])
            torch.sub(of.new_ones(()), of[:, 1], out=of[:, 0])
            torch.log(of[:, 1].clamp(min=_LEAST), out=of[:, 2])
            right[part] = of[:, 1]
            found.append(torch.cat([told.sum(dim=3).mT[..., None], _products(told, of)], dim=3))
        count, wrong, true, log = torch.cat(found).unbind(3)
        ctx.save_for_backward(right, yes, no)
        ctx.mark_non_differentiable(count)
        return count, -log, torch.stack([wrong[..., 0], true[..., 1]], dim=2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Any, cost: Tensor, claim: Tensor) -> tuple[Tensor, None, None]:
        """With r the probability of the right word: (1 - r) times d cost, with its sign, and r times d claim."""
        right, yes, no = ctx.saved_tensors
        slope = torch.empty_like(right)
        signed = torch.stack([cost[..., 0], -cost[..., 1]], dim=2)
        for part in _parts(right):
            told, r = _told(yes[part], no[part], right.shape[1]), right[part]
            of_cost, of_claim = (_mixed(told, each[part]) for each in (signed, claim))
            of_cost.addcmul_(of_claim, r)
            torch.addcmul(of_cost, of_cost, r, value=-1, out=slope[part])
        return slope.view(*slope.shape[:2], *yes.shape[1:]), None, None


class _SoftmaxSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, allowed: Tensor, yes: Tensor, no: Tensor, members: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        share = torch.empty_like(logits, memory_format=torch.contiguous_format).flatten(2)
        right, counts, claims = torch.empty_like(share[:, 0]), [], []
        for part in _parts(logits):
            torch.softmax(logits[part].contiguous().flatten(2), dim=1, out=share[part])
            told = _told(yes[part], no[part], logits.shape[1] - 1)
            agreeing = share[part] * unpacked(allowed[part], logits.shape[1]).flatten(2)
            torch.sum(agreeing, dim=1, out=right[part])
            wrong = _of_organs(torch.sub(share[part], agreeing, out=agreeing), members)
            counts.append(told.sum(dim=3).mT)
            outside = (told[:, 0] * wrong).sum(dim=2)
            claims.append(torch.stack([outside, (told[:, 1] @ right[part, :, None])[..., 0]], dim=2))
        count = torch.cat(counts)
        ctx.save_for_backward(share, right, allowed, yes, no, members)
        ctx.mark_non_differentiable(count)
        return -right.clamp(_LEAST, 1).log().view_as(allowed), count, torch.cat(claims)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cost: Tensor, _: Any, claim: Tensor) -> tuple[Tensor, None, None, None, None]:
        """A softmax's gradient: with q what a class's share costs, share times (q - the shares' mean of q)."""
        share, right, allowed, yes, no, members = ctx.saved_tensors
        slope = torch.empty_like(share)
        for part in _parts(share):
            told, agree = _told(yes[part], no[part], share.shape[1] - 1), unpacked(allowed[part], share.shape[1])
            r, each = right[part], cost[part].flatten(1)
            of_right = (claim[part, None, :, 1] @ told[:, 1])[:, 0]
            q = _of_classes(told[:, 0] * claim[part, :, :1], members)
            q.addcmul_(q, agree.flatten(2), value=-1)
            mean = (q * share[part]).sum(dim=1) + of_right * r
            q.addcmul_(agree.flatten(2), (of_right - each / r.clamp(min=_LEAST))[:, None])
            torch.mul(q.add_((each - mean)[:, None]), share[part], out=slope[part])
        return slope.view(*slope.shape[:2], *yes.shape[1:]), None, None, None, None


def _of_organs(classes: Tensor, members: Tensor | None) -> Tensor:
    """(B, K, voxels): sums over the classes (B, K + 1, voxels) that an organ is made of."""
    return classes[:, 1:] if members is None else members @ classes


def _of_classes(organs: Tensor, members: Tensor | None) -> Tensor:
    """(B, K + 1, voxels): sums over the organs (B, K, voxels) that a class is part of."""
    return torch.cat([torch.zeros_like(organs[:, :1]), organs], dim=1) if members is None else members.mT @ organs


def _parts(logits: Tensor) -> list[slice]:
    """On a CPU an image at a time, elsewhere all of them."""
    step = 1 if logits.device.type == "cpu" else len(logits)
    return [slice(first, first + step) for first in range(0, len(logits), step)]


def _told(yes: Tensor, no: Tensor, organs: int) -> Tensor:
    """Float32 (B, 2, K, voxels) of zeros and ones: where an organ is told not to be, and where to be."""
    both = torch.stack([no, yes], dim=1)
    return unpacked(both.flatten(0, 1), organs).view(len(yes), 2, organs, -1)


def _products(told: Tensor, of: Tensor) -> Tensor:
    """(B, K, 2, 3): sums over voxels of told (B, 2, K, voxels) times each of (B, 3, K, voxels)."""
    if told.device.type == "cpu":
        return told.transpose(1, 2) @ of.permute(0, 2, 3, 1)
    # a GPU shares out such narrow matrices badly: 2 of 14 ms of a DeepLab's step
    each = [torch.stack([(told[:, j] * of[:, i]).sum(dim=2) for j in range(2)], dim=2) for i in range(3)]
    return torch.stack(each, dim=3)


def _mixed(told: Tensor, weights: Tensor) -> Tensor:
    """(B, K, voxels): the weight (B, K, 2) of what is told at each voxel."""
    return (told[:, 0] * weights[:, :, :1]).addcmul_(told[:, 1], weights[:, :, 1:])
