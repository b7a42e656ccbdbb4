"""Means and differences: one value a patient, the same patients on both sides, n as it is."""

import pytest

from smiler.evaluation.scores import Learned, Score
from smiler.report.names import Organs
from smiler.report.scorebook import compare, make_scorebooks, per_patient


def score(patient: str, organ: str, dice: float, case: str = "", learned: Learned = Learned.NO) -> Score:
    metrics = {"dice": dice, "nsd": dice, "hd95_mm": 10 * (1 - dice)}
    return Score(case or patient, patient, organ, "annotated", metrics, 1.0, 1.0, learned)


def absent(patient: str, organ: str, predicted_ml: float) -> Score:
    right = float(predicted_ml == 0)
    metrics = {"dice": right, "nsd": right, "hd95_mm": 0.0 if right else 400.0}
    return Score(patient, patient, organ, "absent", metrics, predicted_ml, 0.0, Learned.NO)


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
    (book,) = make_scorebooks(arms, Organs(["aorta", "liver"]))
    assert [(row.organ, row.arm) for row in book.means] == [
        ("", "smile"), ("", "mine"), ("aorta", "smile"), ("aorta", "mine"), ("liver", "smile"),
    ]  # fmt: skip
    assert book.means[0].dice.mean == pytest.approx(20)
    assert book.few


def test_absent_organs_are_counted_not_averaged() -> None:
    arms = {
        "baseline": [score("a", "tumor", 0.0), score("b", "tumor", 0.0), absent("c", "tumor", 0.0)],
        "full": [score("a", "tumor", 0.3), score("b", "tumor", 0.5), absent("c", "tumor", 2.0)],
    }
    (book,) = make_scorebooks(arms, Organs())
    told = {row.arm: (row.dice and row.dice.mean, row.n, str(row.absence)) for row in book.means}
    assert told == {"baseline": (0.0, 2, "1 of 1"), "full": (pytest.approx(40), 2, "0 of 1")}
    assert [row.absence.false_alarms for row in book.means] == [0, 1]
    assert [row.metrics["hd95_mm"] for row in book.means] == pytest.approx([10, 6])
    assert book.overall == pytest.approx({"baseline": 0, "full": 40})


def test_an_organ_that_is_in_nobody_has_a_row_and_no_mean() -> None:
    (book,) = make_scorebooks({"": [score("a", "liver", 0.5), absent("a", "spleen", 0.0)]}, Organs())
    rows = {row.organ: (row.dice and row.dice.mean, row.n, str(row.absence)) for row in book.means}
    assert rows == {"": (50, 1, "1 of 1"), "liver": (50, 1, "–"), "spleen": (None, 0, "1 of 1")}
    assert len(book.panels) == 2


def test_what_was_trained_on_has_tables_and_contrasts_of_its_own() -> None:
    arms = {
        arm: [
            score("a", "liver", level, learned=Learned.NO),
            score("b", "liver", level / 2, learned=Learned.NO),
            score("c", "liver", 0.99, learned=Learned.YES),
        ]
        for arm, level in {"baseline": 0.2, "smile": 0.6}.items()
    }
    new, seen = make_scorebooks(arms, Organs())
    assert (new.learned, seen.learned) == (Learned.NO, Learned.YES)
    assert [row.dice.mean for row in new.means if row.dice] == pytest.approx([15, 45])
    assert [row.dice.mean for row in seen.means if row.dice] == pytest.approx([99, 99])
    assert [row.interval.n for row in (*new.differences, *seen.differences)] == [2, 1]


def test_one_patient_has_neither_an_interval_nor_a_p_value() -> None:
    arms = {"baseline": [score("a", "liver", 0.1)], "smile": [score("a", "liver", 0.6)]}
    (difference,) = compare(arms, ["liver"])
    assert difference.interval.mean == pytest.approx(50)
    assert (difference.interval.bounds, difference.p, difference.adjusted) == (None, None, None)
