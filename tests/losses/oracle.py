"""Losses once more, in float64 and voxel by voxel, and random evidence to hold them against."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smiler.domain.evidence import Code, Fields, Planes, Relations, derive
from smiler.domain.organs import Organ, OrganSet
from smiler.losses import LossOptions
from smiler.losses.targets import READINGS, Loss, Targets

Array = NDArray[np.float64]

ORGAN_SETS = {
    "one": OrganSet.of("liver"),
    "flat": OrganSet.of("liver", "stomach", "pancreas"),
    "nested": OrganSet(
        (
            Organ("core", part_of="tumour"),
            Organ("liver"),
            Organ("tumour", part_of="liver"),
            Organ("cyst", part_of="liver"),
            Organ("stomach"),
        )
    ),
    "overlapping": OrganSet(
        (
            Organ("liver"),
            Organ("vessel", part_of="liver", overlaps=frozenset({"tumour"})),
            Organ("tumour", part_of="liver"),
            Organ("fat", overlaps=frozenset({"liver"})),
        )
    ),
}


def any_codes(organs: OrganSet, seed: int, images: int = 2, size: tuple[int, int] = (3, 4)) -> Tensor:
    """u8 (B, K, H, W): any code anywhere, consistent or not."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, len(Code), (images, len(organs), *size), dtype=np.uint8))


def codes_of_volumes(
    organs: OrganSet, seed: int, images: int = 2, size: tuple[int, int] = (3, 4), *, full: bool = False
) -> Tensor:
    """u8 (B, K, H, W): every voxel belongs to one organ (and its wholes) or to none; each image has its experts.

    `full`: everybody drew everything; else some organs are proposed and the last column is padding.
    """
    rng = np.random.default_rng(seed)
    fields = {name: np.zeros((images, *size), dtype=np.int64) for name in ("drawn", "known", "pseudo")}
    for i in range(images):
        known = (1 << len(organs)) - 1 if full else int(rng.integers(1 << len(organs)))
        for at in np.ndindex(size):
            key = rng.choice([*organs.keys, ""])
            fields["drawn"][(i, *at)] = organs.bits([key, *organs.wholes(key)]) if key else 0
        fields["known"][i] = known
        if not full:
            fields["pseudo"][i] = np.where(rng.random(size) < 0.3, rng.integers(1 << len(organs), size=size), 0)
    if not full:
        for bits in fields.values():
            bits[..., -1] = 0
    tensors = Fields(*(torch.from_numpy(bits) for bits in fields.values()))
    codes: Tensor = derive(tensors, Relations.of(organs), torch)
    return codes.transpose(0, 1).contiguous()


CODES: dict[str, Callable[..., Tensor]] = {"any": any_codes, "volumes": codes_of_volumes}


def planes_of(codes: Tensor) -> Planes:
    """Codes u8 (B, K, *space) as bit fields."""
    organs = codes.shape[1]
    shift = torch.arange(organs, dtype=torch.int32).view(1, organs, *([1] * (codes.ndim - 2)))
    told = [code for code in Code if code is not Code.UNKNOWN]
    fields = {code: ((codes == int(code)).to(torch.int32) << shift).sum(dim=1, dtype=torch.int32) for code in told}
    return Planes(fields, organs)


def targets_of(reading: str, codes: Tensor) -> Targets:
    """What a reading makes of codes u8 (B, K, *space)."""
    return READINGS[reading].targets(planes_of(codes))


def packed(value: Tensor, weight: Tensor, complete: Tensor) -> Targets:
    """Targets of zeros and ones (B, K, *space)."""
    shift = torch.arange(value.shape[1]).view(1, -1, *([1] * (value.ndim - 2)))
    said, looked = ((bits.int() << shift).sum(dim=1).int() for bits in (value, weight))
    return Targets(said, looked, complete)


def evaluate(loss: Loss, logits: Tensor, targets: Targets) -> Tensor:
    """The loss, all voxels at once."""
    return loss.total(loss.terms(logits, targets))


def _where(weight: Array, *others: Array) -> list[tuple[float, ...]]:
    """The voxels where the weight is 1, each as (value of every other array)."""
    return [tuple(float(a[at]) for a in others) for at in np.ndindex(weight.shape) if weight[at] == 1]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def _cross_entropy(logit: float, value: float) -> float:
    wrong_way = -logit if value == 1 else logit
    return math.log1p(math.exp(-abs(wrong_way))) + max(wrong_way, 0.0)


def bce(logits: Array, targets: Targets, options: LossOptions) -> float:
    """Per organ a mean over the batch's known voxels (or one over positives, one over negatives), then over organs."""
    value, weight = targets.value.double().numpy(), targets.weight.double().numpy()
    terms = []
    for k in range(value.shape[1]):
        costs = [(_cross_entropy(x, y), y) for x, y in _where(weight[:, k], logits[:, k], value[:, k])]
        if not costs:
            continue
        if options.positive_share is None:
            terms.append(_mean([cost for cost, _ in costs]))
        else:
            positive, negative = (_mean([cost for cost, y in costs if y == wanted]) for wanted in (1, 0))
            terms.append(options.positive_share * positive + (1 - options.positive_share) * negative)
    return _mean(terms)


def dice(logits: Array, targets: Targets, options: LossOptions) -> float:
    """1 - (2 overlap + 1) / (sizes + 1) per organ, over the known voxels of images whose background is known.

    Only organs that are drawn in one of those images.
    """
    value, weight = targets.value.double().numpy(), targets.weight.double().numpy()
    terms = []
    for k in range(value.shape[1]):
        voxels = []
        for i in range(len(value)):
            if targets.complete[i, k] == 1:
                voxels += _where(weight[i, k], logits[i, k], value[i, k])
        if any(y == 1 for _, y in voxels):
            chances = [(1 / (1 + math.exp(-x)), y) for x, y in voxels]
            overlap, sizes = math.fsum(p * y for p, y in chances), math.fsum(p + y for p, y in chances)
            terms.append(1 - (2 * overlap + 1) / (sizes + 1))
    return _mean(terms)


def bce_dice(logits: Array, targets: Targets, options: LossOptions) -> float:
    return bce(logits, targets, options) + options.dice_weight * dice(logits, targets, options)


def right_classes(positive: set[str], unknown: set[str], organs: OrganSet) -> set[str]:
    """Classes that agree with what is told of a voxel; "" is the background."""
    if not positive:
        return {"", *unknown}
    leaves = {key for key in positive if not positive & organs.parts(key)}
    return leaves | {key for key in unknown if positive & organs.wholes(key)}


def softmax(logits: Array, targets: Targets, options: LossOptions, organs: OrganSet) -> float:
    """-log of the summed probability of the right classes, mean over voxels about which anything is told."""
    classes = ["", *organs.keys]
    costs: list[float] = []
    of_organ: dict[str, list[float]] = {key: [] for key in organs.keys}
    of_rest: list[float] = []
    for i, y, x in np.ndindex(logits.shape[0], *logits.shape[2:]):
        one = [(float(targets.weight[i, k, y, x]), float(targets.value[i, k, y, x])) for k in range(len(organs))]
        positive = {key for key, pair in zip(organs.keys, one, strict=True) if pair == (1, 1)}
        unknown = {key for key, pair in zip(organs.keys, one, strict=True) if pair[0] == 0}
        right = right_classes(positive, unknown, organs)
        if right == set(classes):
            continue
        top = logits[i, :, y, x].max()
        mass = np.exp(logits[i, :, y, x] - top)
        agreeing = math.fsum(m for m, name in zip(mass, classes, strict=True) if name in right)
        costs.append(math.log(math.fsum(mass)) - math.log(agreeing))
        for key in {key for key in positive if not positive & organs.parts(key)}:
            of_organ[key].append(costs[-1])
        if not positive:
            of_rest.append(costs[-1])
    if options.positive_share is None:
        return _mean(costs)
    organ_terms = [_mean(values) for values in of_organ.values() if values]
    return options.positive_share * _mean(organ_terms) + (1 - options.positive_share) * _mean(of_rest)


def softmax_dice(logits: Array, targets: Targets, options: LossOptions, organs: OrganSet) -> float:
    """The marginal loss, and 1 - (2 overlap + 1) / (sizes + 1) of what the classes that are wrong claim."""
    classes = ["", *organs.keys]
    value, weight = targets.value.double().numpy(), targets.weight.double().numpy()
    terms = []
    for k, organ in enumerate(organs.keys):
        found: list[tuple[float, float]] = []
        for i, y, x in np.ndindex(logits.shape[0], *logits.shape[2:]):
            if targets.complete[i, k] != 1 or weight[i, k, y, x] != 1:
                continue
            told = {key: (weight[i, j, y, x], value[i, j, y, x]) for j, key in enumerate(organs.keys)}
            positive = {key for key, pair in told.items() if pair == (1, 1)}
            right = right_classes(positive, {key for key, pair in told.items() if pair[0] == 0}, organs)
            mass = np.exp(logits[i, :, y, x] - logits[i, :, y, x].max())
            counted = right if organ in positive else {organ, *organs.parts(organ)} - right
            claimed = math.fsum(m for m, name in zip(mass, classes, strict=True) if name in counted)
            found.append((claimed / math.fsum(mass), float(organ in positive)))
        if any(y == 1 for _, y in found):
            overlap, sizes = math.fsum(p * y for p, y in found), math.fsum(p + y for p, y in found)
            terms.append(1 - (2 * overlap + 1) / (sizes + 1))
    return softmax(logits, targets, options, organs) + options.dice_weight * _mean(terms)


def value_of(name: str, organs: OrganSet, options: LossOptions) -> Callable[[Array, Targets], float]:
    """The oracle of a loss; KeyError for a loss that has none yet."""
    return {
        "bce": lambda logits, targets: bce(logits, targets, options),
        "dice": lambda logits, targets: dice(logits, targets, options),
        "bce_dice": lambda logits, targets: bce_dice(logits, targets, options),
        "softmax": lambda logits, targets: softmax(logits, targets, options, organs),
        "softmax_dice": lambda logits, targets: softmax_dice(logits, targets, options, organs),
    }[name]
