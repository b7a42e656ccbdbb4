"""The learned confidence obeys the laws of every loss, learns the probability of the truth, and disturbs nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import ORGAN_SETS, evaluate, packed, targets_of

from smiler.losses import LOSSES, LossOptions, build_loss
from smiler.losses.confidence import WithConfidence
from smiler.losses.targets import Targets

LAW = settings(max_examples=10, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**32 - 1)
ORGANS = ORGAN_SETS[sorted(ORGAN_SETS)[0]] if isinstance(ORGAN_SETS, dict) else ORGAN_SETS[0]


def made(name: str) -> WithConfidence:
    loss = build_loss(LossOptions.model_validate({"name": name, "confidence": True}), ORGANS)
    assert isinstance(loss, WithConfidence)
    return loss


def drawn(seed: int, outputs: int) -> tuple[torch.Tensor, Targets]:
    rng = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 6, (2, len(ORGANS), 4, 5), generator=rng, dtype=torch.uint8)
    return torch.randn(2, outputs, 4, 5, generator=rng), targets_of("smile", codes)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"softmax", "softmax_dice"}))
@LAW
@given(seed=SEEDS)
def test_it_is_blind_where_nothing_is_known(name: str, seed: int) -> None:
    loss = made(name)
    logits, targets = drawn(seed, loss.outputs)
    unknown = torch.cat([targets.weight, targets.weight], dim=1) == 0
    other = torch.where(unknown, logits + 7, logits).requires_grad_()
    logits.requires_grad_()
    a, b = evaluate(loss, logits, targets), evaluate(loss, other, targets)
    a.backward()
    b.backward()
    assert torch.equal(a, b)
    assert torch.equal(logits.grad, other.grad)  # type: ignore[arg-type]
    assert not logits.grad[unknown].any()  # type: ignore[index]


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_nothing_known_is_free(name: str) -> None:
    loss = made(name)
    logits, targets = drawn(0, loss.outputs)
    nothing = packed(0 * targets.value, 0 * targets.weight, 0 * targets.complete)
    assert float(evaluate(loss, logits, nothing)) == 0


def test_a_perfect_prediction_that_knows_it_is_free() -> None:
    loss = made("bce")
    _, targets = drawn(3, loss.outputs)
    logits = torch.cat([40 * targets.value - 20, torch.full_like(targets.value, 20.0)], dim=1)
    assert float(evaluate(loss, logits, targets)) <= 1e-4


def test_no_gradient_goes_from_confidence_to_the_scores() -> None:
    loss, plain = made("bce"), build_loss(LossOptions(name="bce"), ORGANS)
    logits, targets = drawn(5, loss.outputs)
    with_it, without = logits.clone().requires_grad_(), logits[:, : len(ORGANS)].clone().requires_grad_()
    evaluate(loss, with_it, targets).backward()
    evaluate(plain, without, targets).backward()
    assert torch.allclose(with_it.grad[:, : len(ORGANS)], without.grad)  # type: ignore[index, arg-type]


@pytest.mark.parametrize("name", ["bce", "softmax_dice"])
@LAW
@given(seed=SEEDS)
def test_its_error_is_what_an_oracle_counts(name: str, seed: int) -> None:
    loss, plain = made(name), build_loss(LossOptions.model_validate({"name": name}), ORGANS)
    logits, targets = drawn(seed, loss.outputs)
    k_count, said = len(ORGANS), plain.outputs
    chance = logits[:, :said].double().softmax(dim=1) if name == "softmax_dice" else None
    extra = float(evaluate(loss, logits, targets) - evaluate(plain, logits[:, :said], targets))
    errors = []
    for k in range(k_count):
        rows = []
        for i, y, x in torch.nonzero(targets.weight[:, k]).tolist():
            if chance is None:
                s = float(torch.sigmoid(logits[i, k, y, x]))
            else:
                parts = ORGANS.parts(ORGANS.keys[k])
                s = float(chance[i, k + 1, y, x]) + sum(float(chance[i, ORGANS.index(p) + 1, y, x]) for p in parts)
            right = s if targets.value[i, k, y, x] else 1 - s
            rows.append((float(torch.sigmoid(logits[i, said + k, y, x])) - right) ** 2)
        if rows:
            errors.append(sum(rows) / len(rows))
    assert extra == pytest.approx(sum(errors) / len(errors) if errors else 0.0, abs=1e-5)
