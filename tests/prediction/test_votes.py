"""Agreement of a network with itself, from votes, against pairs of masks that are compared one by one."""

from itertools import combinations

import numpy as np
import pytest

from smiler.domain.geometry import Geometry
from smiler.prediction.scores import Said
from smiler.prediction.votes import Votes


def votes_of(masks, spacing=(3.0, 2.0, 2.0)):
    """Votes of passes (T, K, z, y, x), given in blocks of two slices."""
    passes, organs, depth, *_ = masks.shape
    votes = Votes(tuple(range(organs)), Geometry.canonical(masks.shape[2:], spacing), passes)
    share = masks.mean(axis=0).astype(np.float32).swapaxes(0, 1)
    blocks = (Said(share[z : z + 2], share[z : z + 2]) for z in range(0, depth, 2))
    assert sum(len(said.score) for said in votes.passing(blocks)) == depth
    return votes


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_dice_over_all_pairs_of_passes(seed):
    masks = np.random.default_rng(seed).random((5, 2, 5, 6, 7)) < 0.3
    votes = votes_of(masks)
    for k in range(2):
        pairs = list(combinations(masks[:, k], 2))
        expected = sum(2 * (a & b).sum() for a, b in pairs) / sum(a.sum() + b.sum() for a, b in pairs)
        split = sum(0 < masks[:, k, z, y, x].sum() < 5 for z, y, x in np.ndindex(5, 6, 7))
        found = votes.agreement(k)
        assert found.agreement == pytest.approx(expected, abs=1e-4)
        assert found.unsure_cm2 == pytest.approx(split * 4 / 100, abs=0.01)


def test_one_voice_is_sure_and_nothing_found_is_sure():
    masks = np.zeros((4, 2, 3, 4, 4), dtype=bool)
    masks[:, 0, 1:, :2, :2] = True
    votes = votes_of(masks)
    for k in range(2):
        assert (votes.agreement(k).agreement, votes.agreement(k).unsure_cm2) == (1.0, 0.0)
        assert not votes.unsure(k, votes.working).any()


def test_uncertainty_is_1_where_half_of_the_passes_find_the_organ():
    masks = np.zeros((4, 1, 4, 4, 4), dtype=bool)
    masks[:, 0, 1, 1, 1] = True
    masks[:2, 0, 2, 2, 2] = True
    masks[:1, 0, 3, 2, 2] = True
    votes = votes_of(masks)
    unsure = votes.unsure(0, votes.working)
    assert (unsure[1, 1, 1], unsure[2, 2, 2], unsure[3, 2, 2]) == (0, 1, 0.5)
    finer = votes.unsure(0, Geometry.canonical((8, 8, 8), (1.5, 1.0, 1.0)))
    assert finer.shape == (8, 8, 8)
    assert 0 < finer.max() <= 1
