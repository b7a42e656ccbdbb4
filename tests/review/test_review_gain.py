"""What a reviewer's minute is worth: calibration, its shrinkage, its doubt, and the speed."""

import uuid
from itertools import pairwise

import numpy as np
import pytest
from reviewing import SHAPE, box_mask

from smiler.domain.judged import Judged
from smiler.review.desk import Remark, at_desk
from smiler.review.errors import Pair
from smiler.review.gain import REDRAW_MINUTES, Gain, learn
from smiler.review.ledger import Asked
from smiler.review.masks import Mask
from smiler.review.states import Decision


def judged(count, dice_of, seconds_of=None, organ="liver", seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for share in rng.random(count):
        area = float(100 * rng.random())
        seconds = seconds_of(area) if seconds_of else None
        rows.append(Judged(organ, float(share), area, float(dice_of(share)), seconds))
    return rows


def test_few_pairs_calibrate_nothing():
    gain = learn(judged(7, lambda share: share**2))
    assert (gain.curve, gain.dice("liver", 0.4), gain.doubted) == (None, 0.4, False)


def test_expected_dice_rises_with_agreement_and_is_what_was_seen():
    gain = learn(judged(60, lambda share: share**2))
    found = [gain.dice("spleen", share) for share in np.linspace(0, 1, 21)]
    assert all(a <= b for a, b in pairwise(found))
    assert gain.dice("spleen", 0.5) == pytest.approx(0.25, abs=0.05)
    assert gain.correlation == pytest.approx(1.0)


def test_an_organ_that_is_worse_than_its_agreement_is_known_for_it():
    rows = judged(40, lambda share: share) + judged(40, lambda share: share / 2, organ="pancreas", seed=1)
    gain = learn(rows)
    assert gain.dice("pancreas", 0.8) < gain.dice("spleen", 0.8) < gain.dice("liver", 0.8)


def test_agreement_that_tells_nothing_is_doubted_but_not_before_enough_is_known():
    rng = np.random.default_rng(3)
    rows = [Judged("liver", a, 0.0, 1 - a) for a in rng.random(20)]
    assert learn(rows).doubted
    assert not learn(rows[:14]).doubted
    assert learn([Judged("liver", 0.9, 0.0, 1.0)] * 20).doubted


def test_minutes_follow_what_was_logged():
    assert Gain().minutes(100) == pytest.approx(0.5)
    gain = learn(judged(200, lambda share: share, lambda area: 60 + 2 * area))
    assert gain.minutes(50) == pytest.approx(160 / 60, rel=0.1)
    assert learn(judged(50, lambda share: share, lambda area: -1e9)).minutes(0) > 0
    assert gain.minutes(0) < REDRAW_MINUTES == Gain().redraw_minutes("liver")


def test_every_organ_has_its_own_pace_and_what_is_unknown_has_that_of_all():
    rows = judged(60, lambda share: share, lambda area: 20 + area)
    rows += judged(60, lambda share: share, lambda area: 4 * (20 + area), organ="colon", seed=1)
    gain = learn(rows)
    assert gain.minutes(50, "colon") == pytest.approx(4 * gain.minutes(50, "liver"), rel=0.15)
    assert gain.minutes(50, "liver") < gain.minutes(50, "spleen") < gain.minutes(50, "colon")
    drawn = learn([Judged("aorta", None, 0.0, 0.0, 120.0)] * 40)
    assert drawn.pairs == 0
    assert drawn.redraw_minutes("aorta") == pytest.approx(2, abs=0.6)
    assert drawn.redraw_minutes("aorta") < drawn.redraw_minutes("spleen") < REDRAW_MINUTES
    assert drawn.dice("aorta", None) == 0


def test_decisions_where_nothing_was_proposed_are_judged_too(folder):
    with at_desk(folder, print) as desk:
        ask = lambda: Asked("anna", uuid.uuid4().hex, 0, "")  # noqa: E731
        organs = [key for key in ("liver", "spleen") if not desk.ledger.heads().get(Pair("d", key))]
        assert organs == ["liver", "spleen"]
        mask = Mask.of(box_mask(1, 1, 1, 5, 5, 4), SHAPE)
        assert desk.correct(ask(), Pair("d", "liver"), mask, Remark("", 90.0)).status == 200
        assert desk.decide(ask(), Pair("d", "spleen"), Decision.ABSENT, Remark("", 5.0)).status == 200
        told = {row.organ: row for row in desk.ledger.judged()}
    assert told["liver"] == Judged("liver", None, 0.0, 0.0, 90.0)
    assert told["spleen"] == Judged("spleen", None, 0.0, 1.0, 5.0)
    assert learn(list(told.values())).redraw_minutes("liver") < REDRAW_MINUTES
