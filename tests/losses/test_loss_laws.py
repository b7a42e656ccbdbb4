"""What every loss obeys under every reading, and its value and gradient against the oracle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import (
    CODES,
    ORGAN_SETS,
    any_codes,
    codes_of_volumes,
    evaluate,
    packed,
    right_classes,
    targets_of,
    value_of,
)
from torch import Tensor
from torch.nn import functional as F

from smiler.domain.evidence import Code
from smiler.domain.organs import OrganSet
from smiler.domain.registry import titles
from smiler.losses import LOSSES, LossOptions, build_loss
from smiler.losses.targets import READINGS, Loss, Targets

torch.set_num_threads(1)

SEEDS = st.integers(0, 2**32 - 1)
LAW = settings(max_examples=9, deadline=None, derandomize=True)
SHARES = (None, 0.3)


@dataclass(frozen=True)
class Subject:
    """One loss under one reading, for one organ set, and the seed of its evidence and logits."""

    options: LossOptions
    organs: OrganSet
    seed: int = 0

    @property
    def loss(self) -> Loss:
        return build_loss(self.options, self.organs)

    @property
    def has_background(self) -> bool:
        return self.loss.outputs == len(self.organs) + 1

    def targets(self, codes: Tensor) -> Targets:
        return targets_of(self.options.reading, codes)

    def logits(self, seed: int, codes: Tensor, spread: float = 3.0) -> Tensor:
        rng = torch.Generator().manual_seed(seed)
        images, _, height, width = codes.shape
        return spread * torch.randn(images, self.loss.outputs, height, width, generator=rng)

    def unheard(self, targets: Targets) -> Tensor:
        """bool (B, outputs, H, W): the logits about which nothing is told."""
        unknown = targets.weight == 0
        return (
            unknown.all(dim=1, keepdim=True).expand(-1, self.loss.outputs, -1, -1) if self.has_background else unknown
        )

    def perfect(self, targets: Targets, otherwise: Tensor) -> Tensor:
        """The right answer wherever anything is told, `otherwise` elsewhere."""
        if not self.has_background:
            return torch.where(targets.weight == 1, 40 * targets.value - 20, otherwise)
        logits = otherwise.clone()
        for i, y, x in np.ndindex(len(logits), *logits.shape[2:]):
            if not self.unheard(targets)[i, 0, y, x]:
                positive, unknown = (
                    {key for k, key in enumerate(self.organs.keys) if wanted[i, k, y, x]}
                    for wanted in (targets.value * targets.weight == 1, targets.weight == 0)
                )
                specific = {key for key in positive if not positive & self.organs.parts(key)} or {""}
                assert specific <= right_classes(positive, unknown, self.organs)
                logits[i, :, y, x] = 0
                logits[i, ["", *self.organs.keys].index(sorted(specific)[0]), y, x] = 40
        return logits


def law(
    losses: Sequence[str] = (), readings: Sequence[str] = (), sets: Sequence[str] = ()
) -> Callable[[Callable[[Subject], None]], Callable[[str], None]]:
    """A test of each loss (of all, if none is named) that goes through every reading, share and organ set."""

    def decorate(check: Callable[[Subject], None]) -> Callable[[str], None]:
        @pytest.mark.parametrize("name", sorted(losses or LOSSES))
        def test(name: str) -> None:
            shares = SHARES if name != "dice" else (None,)  # which has no cross-entropy to be shared out
            each = product(sorted(readings or READINGS), shares, sorted(sets or ORGAN_SETS))
            for number, (reading, share, organs) in enumerate(each):
                options = LossOptions(name=name, reading=reading, positive_share=share, dice_weight=0.7)
                try:
                    check(Subject(options, ORGAN_SETS[organs], seed=number))
                except Exception as error:
                    error.add_note(f"{name}, {reading}, share {share}, organs {organs}, seed {number}")
                    raise

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return decorate


BY_NAME = pytest.mark.parametrize("name", sorted(LOSSES))


def measured(loss: Loss, logits: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """The loss and its gradient."""
    logits = logits.clone().requires_grad_()
    value = evaluate(loss, logits, targets)
    assert value.shape == ()
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite()
    assert gradient.isfinite().all()
    return value.detach(), gradient


def both_kinds(check: Callable[[Tensor], None], subject: Subject, **more: tuple[int, int]) -> None:
    for kind in CODES.values():
        check(kind(subject.organs, subject.seed, **more))


@BY_NAME
def test_options_take_every_loss_of_the_registry(name: str) -> None:
    assert LossOptions(name=name).name == name
    assert titles(LOSSES)[name]


@law()
def test_blind_where_nothing_is_told(subject: Subject) -> None:

    def check(codes: Tensor) -> None:
        targets, logits = subject.targets(codes), subject.logits(subject.seed, codes)
        value, gradient = measured(subject.loss, logits, targets)
        assert (gradient[subject.unheard(targets)] == 0).all()
        other_logits = torch.where(subject.unheard(targets), subject.logits(subject.seed + 1, codes, spread=50), logits)
        other_values = torch.where(targets.weight == 0, 1 - targets.value, targets.value)
        other = packed(other_values, targets.weight, targets.complete)
        again, gradient_again = measured(subject.loss, other_logits, other)
        assert torch.equal(value, again)
        assert torch.equal(gradient, gradient_again)

    both_kinds(check, subject)


@law()
def test_a_perfect_prediction_is_free(subject: Subject) -> None:

    def check(codes: Tensor) -> None:
        targets = subject.targets(codes)
        perfect = subject.perfect(targets, otherwise=subject.logits(subject.seed, codes, spread=20))
        assert -1e-6 <= measured(subject.loss, perfect, targets)[0] <= 1e-4

    both_kinds(check, subject)


@law()
def test_a_loss_is_positive_and_more_than_that_for_the_opposite_of_the_truth(subject: Subject) -> None:

    def check(codes: Tensor) -> None:
        targets, logits = subject.targets(codes), subject.logits(subject.seed, codes)
        assert measured(subject.loss, logits, targets)[0] >= -1e-6
        if subject.options.name != "dice" and not subject.unheard(targets).all():
            assert measured(subject.loss, -subject.perfect(targets, logits), targets)[0] > 0.5

    both_kinds(check, subject)


@law()
def test_nothing_known_is_free(subject: Subject) -> None:
    size = (2, len(subject.organs), 3, 4)
    targets = packed(torch.zeros(size), torch.zeros(size), torch.zeros(size[:2]))
    logits = subject.logits(0, torch.zeros(size))
    value, gradient = measured(subject.loss, logits, targets)
    assert value == 0
    assert (gradient == 0).all()


@law(readings=["annotated", "smile"])
def test_an_image_that_nobody_annotated_is_free(subject: Subject) -> None:
    codes = torch.full((2, len(subject.organs), 3, 4), int(Code.UNKNOWN), dtype=torch.uint8)
    value, gradient = measured(subject.loss, subject.logits(0, codes), subject.targets(codes))
    assert value == 0
    assert (gradient == 0).all()


@law(sets=["one", "nested"])
def test_extreme_logits_and_uniform_evidence_give_no_nan(subject: Subject) -> None:
    for code in Code:
        codes = torch.full((1, len(subject.organs), 2, 3), int(code), dtype=torch.uint8)
        targets, logits = subject.targets(codes), subject.logits(0, codes).sign()
        measured(subject.loss, 1e4 * logits, targets)
        measured(subject.loss, -1e4 * logits, targets)
        measured(subject.loss, 100 * logits.half(), targets)


@law()
def test_the_order_of_the_images_does_not_matter(subject: Subject) -> None:
    codes = codes_of_volumes(subject.organs, subject.seed, images=3)
    targets, logits = subject.targets(codes), subject.logits(subject.seed, codes)
    order = torch.tensor([2, 0, 1])
    shuffled = packed(targets.value[order], targets.weight[order], targets.complete[order])
    value, gradient = measured(subject.loss, logits, targets)
    again, gradient_again = measured(subject.loss, logits[order], shuffled)
    torch.testing.assert_close(again, value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient_again, gradient[order], rtol=1e-5, atol=1e-6)


@law()
def test_a_batch_may_be_cut_into_tiles(subject: Subject) -> None:

    def tiles(whole: Tensor) -> Tensor:
        return torch.cat([whole[..., :1], whole[..., 1:2], whole[..., 2:3], whole[..., 3:]])

    codes = codes_of_volumes(subject.organs, subject.seed)
    targets, logits = subject.targets(codes), subject.logits(subject.seed, codes)
    cut = packed(tiles(targets.value), tiles(targets.weight), targets.complete.repeat(4, 1))
    value, gradient = measured(subject.loss, logits, targets)
    again, gradient_again = measured(subject.loss, tiles(logits), cut)
    torch.testing.assert_close(again, value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient_again, tiles(gradient), rtol=1e-5, atol=1e-6)


@law()
def test_the_value_is_the_oracles(subject: Subject) -> None:
    oracle = value_of(subject.options.name, subject.organs, subject.options)

    def check(codes: Tensor) -> None:
        targets, logits = subject.targets(codes), subject.logits(subject.seed, codes)
        value = evaluate(subject.loss, logits, targets).item()
        assert value == pytest.approx(oracle(logits.double().numpy(), targets), abs=1e-5, rel=1e-5)

    both_kinds(check, subject)


@law(sets=["nested", "overlapping"])
def test_the_gradient_is_the_slope_of_the_oracle(subject: Subject) -> None:
    oracle, step = value_of(subject.options.name, subject.organs, subject.options), 1e-4

    def check(codes: Tensor) -> None:
        targets, logits = subject.targets(codes), subject.logits(subject.seed, codes)
        _, gradient = measured(subject.loss, logits, targets)
        at = logits.double().numpy()
        slope = np.zeros_like(at)
        for index in np.ndindex(at.shape):
            there, back = at.copy(), at.copy()
            there[index] += step
            back[index] -= step
            slope[index] = (oracle(there, targets) - oracle(back, targets)) / (2 * step)
        np.testing.assert_allclose(gradient.numpy(), slope, atol=2e-6)

    both_kinds(check, subject, size=(2, 2))


@law(["bce", "softmax"])
def test_the_same_batch_twice_costs_the_same(subject: Subject) -> None:
    codes = any_codes(subject.organs, subject.seed)
    logits = subject.logits(subject.seed, codes)
    once = evaluate(subject.loss, logits, subject.targets(codes))
    twice = evaluate(subject.loss, logits.repeat(2, 1, 1, 1), subject.targets(codes.repeat(2, 1, 1, 1)))
    torch.testing.assert_close(twice, once, rtol=1e-5, atol=1e-6)


@law()
def test_an_image_of_which_nothing_is_told_dilutes_nothing(subject: Subject) -> None:
    codes = codes_of_volumes(subject.organs, subject.seed, images=3)
    targets, logits = subject.targets(codes), subject.logits(subject.seed, codes)
    weight = targets.weight.clone()
    weight[1] = 0
    complete = targets.complete.clone()
    complete[1] = 0
    keep = torch.tensor([0, 2])
    with_it, gradient = measured(subject.loss, logits, packed(targets.value, weight, complete))
    kept = packed(targets.value[keep], weight[keep], complete[keep])
    without, gradient_without = measured(subject.loss, logits[keep], kept)
    torch.testing.assert_close(with_it, without, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient[keep], gradient_without, rtol=1e-5, atol=1e-6)


@law(["bce", "bce_dice", "dice"], sets=["flat", "nested", "overlapping"])
def test_an_image_without_word_of_an_organ_leaves_that_organs_term_alone(subject: Subject) -> None:
    codes = any_codes(subject.organs, subject.seed, images=3)
    codes[0, :, 0, 0], codes[0, :, 0, 1] = int(Code.POSITIVE), int(Code.NEGATIVE)
    targets, logits = subject.targets(codes), subject.logits(subject.seed, codes)
    weight, complete = targets.weight.clone(), targets.complete.clone()
    weight[2, 0], complete[2, 0] = 0, 0
    _, gradient = measured(subject.loss, logits, packed(targets.value, weight, complete))
    first = packed(targets.value[:2], targets.weight[:2], targets.complete[:2])
    _, without = measured(subject.loss, logits[:2], first)
    torch.testing.assert_close(gradient[:2, 0], without[:, 0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("organs", ["one", "flat", "nested"])
@LAW
@given(seed=SEEDS, missing=st.booleans())
def test_softmax_under_the_naive_reading_is_cross_entropy_on_the_label_map(
    organs: str, seed: int, missing: bool
) -> None:
    subject = Subject(LossOptions.model_validate({"name": "softmax", "reading": "naive"}), ORGAN_SETS[organs])
    codes = codes_of_volumes(subject.organs, seed, full=not missing)
    codes[codes == Code.PSEUDO] = Code.UNKNOWN
    label = torch.zeros(codes[:, 0].shape, dtype=torch.long)
    deepest_last = sorted(subject.organs.keys, key=lambda key: len(subject.organs.wholes(key)))
    for key in deepest_last:
        k = subject.organs.index(key)
        label[codes[:, k] == Code.POSITIVE] = k + 1
    logits = subject.logits(seed, codes)
    value, gradient = measured(subject.loss, logits, subject.targets(codes))
    logits.requires_grad_()
    usual = F.cross_entropy(logits, label)
    torch.testing.assert_close(value, usual.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, torch.autograd.grad(usual, logits)[0], rtol=1e-5, atol=1e-6)


@BY_NAME
@LAW
@given(seed=SEEDS)
def test_scores_have_a_channel_an_organ_and_grow_with_its_logit(name: str, seed: int) -> None:
    for organs in ORGAN_SETS.values():
        subject = Subject(LossOptions.model_validate({"name": name}), organs)
        codes = torch.zeros(2, len(organs), 3, 4)
        logits = subject.logits(seed, codes)
        scores = subject.loss.scores(logits)
        assert scores.shape == codes.shape
        for k in range(len(organs)):
            more = logits.clone()
            more[:, k + subject.has_background] += 1
            grown = subject.loss.scores(more)[:, k] - scores[:, k]
            assert (grown > -1e-5).all()  # a float's last digits, where a part has all the mass
            assert (grown > 0.01).any()


@BY_NAME
@pytest.mark.parametrize("organs", sorted(ORGAN_SETS))
def test_a_probability_is_of_the_organ_among_all_classes(name: str, organs: str) -> None:
    subject = Subject(LossOptions.model_validate({"name": name}), ORGAN_SETS[organs])
    logits = subject.logits(4, torch.zeros(2, len(subject.organs), 3, 4))
    classes = logits.double().softmax(dim=1)
    said = subject.loss.probability(logits).double()
    for k, key in enumerate(subject.organs.keys):
        if subject.has_background:
            members = [k + 1, *(subject.organs.index(part) + 1 for part in subject.organs.parts(key))]
            wanted = sum((classes[:, i] for i in members), torch.zeros(()))
        else:
            wanted = logits[:, k].double().sigmoid()
        torch.testing.assert_close(said[:, k], wanted, rtol=1e-4, atol=1e-6)


@LAW
@given(seed=SEEDS)
def test_the_best_softmax_score_above_zero_is_the_argmax_of_the_classes(seed: int) -> None:
    subject = Subject(LossOptions.model_validate({"name": "softmax"}), ORGAN_SETS["flat"])
    logits = subject.logits(seed, torch.zeros(2, 3, 8, 8))
    best, organ = subject.loss.scores(logits).max(dim=1)
    assert torch.equal(torch.where(best > 0, organ + 1, 0), logits.argmax(dim=1))


@LAW
@given(seed=SEEDS)
def test_where_softmax_predicts_a_part_it_predicts_the_whole(seed: int) -> None:
    organs = ORGAN_SETS["nested"]
    subject = Subject(LossOptions.model_validate({"name": "softmax"}), organs)
    predicted = subject.loss.scores(subject.logits(seed, torch.zeros(2, len(organs), 8, 8))) > 0
    for part in organs.keys:
        for whole in organs.wholes(part):
            inside, around = predicted[:, organs.index(part)], predicted[:, organs.index(whole)]
            assert inside.any()
            assert not (inside & ~around).any()


@pytest.mark.parametrize("organs", sorted(ORGAN_SETS))
def test_a_softmax_score_is_the_log_odds_of_an_organ_against_background_and_what_surrounds_it(organs: str) -> None:
    subject = Subject(LossOptions.model_validate({"name": "softmax"}), ORGAN_SETS[organs])
    logits = subject.logits(4, torch.zeros(1, len(subject.organs), 3, 3))
    chance = dict(zip(["", *subject.organs.keys], logits.double().softmax(dim=1)[0], strict=True))
    for key, score in zip(subject.organs.keys, subject.loss.scores(logits)[0], strict=True):
        inside = sum(chance[name] for name in {key} | subject.organs.parts(key))
        outside = sum(chance[name] for name in {""} | subject.organs.wholes(key))
        torch.testing.assert_close(score.double().exp(), inside / outside, rtol=1e-4, atol=0)


@BY_NAME
@pytest.mark.parametrize("organs", sorted(ORGAN_SETS))
@pytest.mark.parametrize("prior", [0.001, 0.02, 0.15])
def test_the_bias_starts_every_organ_at_its_prior(name: str, organs: str, prior: float) -> None:
    subject = Subject(LossOptions.model_validate({"name": name}), ORGAN_SETS[organs])
    bias = subject.loss.bias(prior)
    assert bias.shape == (subject.loss.outputs,)
    chance = bias.softmax(dim=0)[1:] if subject.has_background else bias.sigmoid()
    torch.testing.assert_close(chance, torch.full((len(subject.organs),), prior), rtol=1e-5, atol=1e-7)


@law()
def test_sums_of_two_halves_make_the_whole(subject: Subject) -> None:
    codes = any_codes(subject.organs, subject.seed, images=4)
    logits = subject.logits(subject.seed, codes)
    value, gradient = measured(subject.loss, logits, subject.targets(codes))
    leaf = logits.clone().requires_grad_()
    first, second = (subject.loss.terms(leaf[half], subject.targets(codes[half])) for half in (slice(2), slice(2, 4)))
    again = subject.loss.total({name: first[name] + second[name] for name in first})
    again.backward()
    torch.testing.assert_close(again.detach(), value)
    torch.testing.assert_close(leaf.grad, gradient, rtol=1e-4, atol=1e-6)


@law()
def test_slices_or_volumes_make_no_difference(subject: Subject) -> None:
    codes = any_codes(subject.organs, subject.seed)
    targets, logits = subject.targets(codes), subject.logits(subject.seed, codes)
    deep = packed(targets.value.unflatten(3, (2, 2)), targets.weight.unflatten(3, (2, 2)), targets.complete)
    value, gradient = measured(subject.loss, logits, targets)
    again, gradient_again = measured(subject.loss, logits.unflatten(3, (2, 2)), deep)
    torch.testing.assert_close(again, value)
    torch.testing.assert_close(gradient_again.flatten(3), gradient, rtol=1e-4, atol=1e-7)
