"""What a sweep comes to, against numbers worked out by hand."""

import numpy as np
import pytest

from smiler.evaluation.scores import Learned, Score
from smiler.experiments import results, score_tables
from smiler.experiments.score_tables import Values
from smiler.experiments.tables import to_csv, to_markdown
from smiler.experiments.uncertainty import pooled


def scores(**dice: float) -> list[Score]:
    """One organ; patient -> Dice from 0 to 1."""
    return [scored(p, value) for p, value in dice.items()]


def scored(patient: str, dice: float, organ: str = "liver", ml: tuple[float, float] = (1.0, 1.0)) -> Score:
    """`ml`: predicted, and in truth."""
    return Score(patient, patient, organ, "annotated", {"dice": dice, "nsd": dice, "hd95_mm": 1.0}, *ml, Learned.NO)


VALUES: Values = {
    ("full", 0.0): scores(a=0.9, b=0.7),
    ("full", 0.5): scores(a=0.9, b=0.7),
    ("full", 0.9): scores(a=0.9, b=0.7),
    ("smile", 0.0): scores(a=0.9, b=0.7),
    ("smile", 0.5): scores(a=0.9, b=0.68),
    ("smile", 0.9): scores(a=0.7, b=0.5),
    ("baseline", 0.5): scores(a=0.1, b=0.1),
}


def test_points_are_means_over_patients_in_dice_points() -> None:
    point = next(p for p in score_tables.points(VALUES) if (p.arm, p.alpha, p.organ) == ("smile", 0.9, ""))
    assert (point.dice, point.n) == (60.0, 2)
    assert point.low <= 60 <= point.high


def test_the_area_is_the_trapezoid_over_the_shares_above_zero() -> None:
    area = next(row for row in score_tables.areas(VALUES) if row.arm == "smile")
    assert area.area == pytest.approx((79 + 60) / 2)
    assert area.n == 2


def test_where_an_arm_falls_two_points_below_full_annotation() -> None:
    assert score_tables.falls_at(VALUES, "full") is None
    gap_before, gap_after = 1.0, 20.0  # at 0.5 and at 0.9
    wanted = 0.5 + 0.4 * (2 - gap_before) / (gap_after - gap_before)
    assert score_tables.falls_at(VALUES, "smile") == pytest.approx(wanted, abs=1e-4)
    assert score_tables.falls_at(VALUES, "baseline") == 0.5


def test_contrasts_pair_the_same_patients_and_correct_over_the_table() -> None:
    rows = [row for row in score_tables.contrasts(VALUES) if (row.left, row.right) == ("smile", "baseline")]
    assert {row.alpha for row in rows} == {0.5}
    assert rows[0].difference == pytest.approx(np.mean([80, 58]))
    assert all(row.p <= row.p_holm <= 1 for row in rows)


def test_contrasts_go_by_share_whatever_was_run_first() -> None:
    late = {(arm, alpha): VALUES[arm, 0.5] for alpha in (0.9, 0.3, 0.5) for arm in ("smile", "baseline")}
    shares = [row.alpha for row in score_tables.contrasts(late)]
    assert shares == sorted(shares)
    assert set(shares) == {0.3, 0.5, 0.9}


def test_relabelling_pools_voxels_not_folds() -> None:
    rows = [
        {"round": 1, "organ": "liver", "gamma": 0.5, "precision": 1.0, "recall": 0.5, "voxels": 100},
        {"round": 1, "organ": "liver", "gamma": 0.5, "precision": 0.5, "recall": 0.25, "voxels": 300},
        {"round": 1, "organ": "liver", "gamma": 0.5, "precision": None, "recall": 0.0, "voxels": 0},
    ]
    guesses = [{"precision": 0.7, "pairs": 3, "share": 0.5}, {"precision": None, "pairs": 2, "share": 0.0}]
    row = results._pool(("smiler", 0.7, 1, "liver"), rows, guesses)
    assert row.precision == pytest.approx(250 / 400)
    assert row.recall == pytest.approx(250 / (200 + 600))
    assert (row.estimated, row.pairs, row.estimated_share) == (pytest.approx(0.7), 3, 0.25)
    assert results.estimate_error([row]) == pytest.approx(abs(0.7 - 0.625))


def test_reliability_is_pooled_by_voxels() -> None:
    def told(n: int, p: float, true: float) -> dict[str, object]:
        return {"reliability": {"bins": [[n, p, true]], "ece": 0}, "risk": {"score": {"risk": [0.1], "area": 0.1}}}

    merged = pooled([told(10, 0.5, 0.5), told(30, 0.7, 0.3)])
    assert merged["bins"] == [[40, 0.65, 0.35]]
    assert merged["ece"] == pytest.approx(0.3)
    assert merged["risk"]["score"] == {"risk": [0.1], "area": 0.1}


def test_tables_are_csv_and_markdown() -> None:
    rows = score_tables.areas(VALUES)
    assert to_csv(rows).splitlines()[0] == "arm,area,low,high,n,falls_at"
    assert to_markdown(rows).splitlines()[1] == "| --- | --- | --- | --- | --- | --- |"
    assert to_markdown([]) == "nothing\n"
