"""Means and differences: one value a patient, the same patients on both sides, n as it is."""

import pytest

from smiler.evaluation.scores import Score
from smiler.report.names import Organs
from smiler.report.scorebook import compare, make_scorebook, per_patient


def score(patient: str, organ: str, dice: float, case: str = "") -> Score:
    return Score(case or patient, patient, organ, "annotated", dice, dice, 10 * (1 - dice), 1.0, 1.0)


def test_scans_of_a_patient_count_once() -> None:
    scores = [score("a", "liver", 0.2, "a1"), score("a", "liver", 0.4, "a2"), score("b", "liver", 0.9)]
    assert per_patient(scores, "dice", "liver") == pytest.approx({"a": 30, "b": 90})
    assert per_patient(scores, "hd95_mm") == pytest.approx({"a": 7, "b": 1})


def test_a_difference_takes_only_patients_that_both_arms_scored() -> None:
    arms = {
        "baseline": [score("a", "liver", 0.1), score("b", "liver", 0.2), score("c", "liver", 0.9)],
        "smile": [score("b", "liver", 0.6), score("a", "liver", 0.4)],
    }
    (difference,) = compare(arms, ["liver"])
    assert (difference.left, difference.right, difference.interval.n) == ("smile", "baseline", 2)
    assert difference.interval.mean == pytest.approx(35)
    assert difference.p == difference.adjusted == pytest.approx(0.5)


def test_arms_that_share_no_patient_are_not_compared() -> None:
    assert compare({"baseline": [score("a", "liver", 0.1)], "smile": [score("b", "liver", 0.6)]}, ["liver"]) == []


def test_holm_counts_every_test_of_the_table() -> None:
    patients = [f"p{number}" for number in range(8)]
    arms = {
        arm: [
            score(patient, organ, level + 0.01 * place)
            for place, patient in enumerate(patients)
            for organ in ("liver", "spleen")
        ]
        for arm, level in {"baseline": 0.1, "smile": 0.5, "smiler": 0.5, "full": 0.5}.items()
    }
    rows = compare(arms, ["", "liver", "spleen"])
    assert len(rows) == 9
    assert [row.adjusted for row in rows[:3]] == pytest.approx([9 * row.p for row in rows[:3]])
    assert {row.adjusted for row in rows[3:]} == {1.0}


def test_rows_follow_the_channel_order_and_the_story() -> None:
    arms = {"smile": [score("a", "liver", 0.1), score("a", "aorta", 0.3)], "mine": [score("a", "aorta", 0.3)]}
    book = make_scorebook(arms, Organs(["aorta", "liver"]))
    assert [(row.organ, row.arm) for row in book.means] == [
        ("", "smile"), ("", "mine"), ("aorta", "smile"), ("aorta", "mine"), ("liver", "smile"),
    ]  # fmt: skip
    assert book.means[0].dice.mean == pytest.approx(20)
    assert book.few
