"""Several networks' logits as one: the probability of each organ is the mean of theirs, whatever the loss."""

from itertools import product

import pytest
import torch
from oracle import ORGAN_SETS

from smiler.losses import LOSSES, LossOptions, build_loss
from smiler.losses.confidence import WithConfidence


@pytest.mark.parametrize(("name", "confidence"), [*product(LOSSES, (False, True))])
def test_the_probability_is_the_mean_of_theirs(name: str, confidence: bool) -> None:
    for organs in ORGAN_SETS.values():
        loss = build_loss(LossOptions(name=name, confidence=confidence), organs)
        logits = 8 * torch.randn(3, 2, loss.outputs, 5, 4, generator=torch.Generator().manual_seed(1))
        pooled = loss.pooled(logits)
        torch.testing.assert_close(
            loss.probability(pooled), torch.stack([loss.probability(each) for each in logits]).mean(dim=0)
        )
        torch.testing.assert_close(loss.scores(loss.pooled(logits[:1])), loss.scores(logits[0]), atol=1e-4, rtol=1e-4)
        if isinstance(loss, WithConfidence):
            mean = torch.stack([loss.confidence(each) for each in logits]).mean(dim=0)
            torch.testing.assert_close(loss.confidence(pooled), mean)


@pytest.mark.parametrize("name", LOSSES)
def test_members_that_are_almost_sure_are_still_ranked(name: str) -> None:
    """Float32 knows no probability between 1 - 6e-8 and 1; scores go on."""
    organs = ORGAN_SETS["flat"]
    loss = build_loss(LossOptions(name=name), organs)
    logits = torch.zeros(2, 1, loss.outputs, 1, 1)
    logits[:, :, -1] = 40
    scores = loss.scores(loss.pooled(logits))
    assert float(scores[0, -1]) == pytest.approx(40, abs=0.1)
