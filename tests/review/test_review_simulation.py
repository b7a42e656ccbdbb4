"""A perfect reviewer: what he is measured by, on a cohort whose numbers can be counted by hand."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reviewing import MASKS, ORGANS, write

from smiler.domain.cells import ABSENT, Cell, annotated
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.evaluation.truth import Truth
from smiler.experiments.review_simulation import (
    BEST,
    LEVELS,
    ORDERS,
    OURS,
    RANDOM,
    Known,
    Reviewer,
    compared,
    replay,
    simulate,
)
from smiler.review.errors import Pair
from smiler.review.order import Candidate
from smiler.review.revisions import Revision
from smiler.review.states import State


def make_truth(folder: Path, cohort: Path, names: str = "abcd") -> Truth:
    """Every organ is where its proposal is, moved by a voxel; of case d nobody ever drew anything."""
    cases = []
    for case in Cohort.open(cohort):
        if case.id not in names:
            continue
        cells: dict[str, Cell] = {}
        for organ, mask in MASKS.items() if case.id != "d" else ():
            path = f"labels/{case.id}_{organ}.nii.gz"
            write(folder / path, np.roll(mask, 1, axis=0), "RAS")
            cells[organ] = annotated(path)
        if case.id == "b":
            cells["tumour"] = ABSENT
        image = (cohort / case.image).resolve()
        cases.append(Case(case.id, case.patient, str(image), cells))
    Cohort(folder, ORGANS, tuple(cases), "truth").save()
    return Truth.open(folder)


def test_a_proposal_costs_a_look_and_its_wrong_area() -> None:
    truth, found = np.zeros((3, 4, 4), dtype=bool), np.zeros((3, 4, 4), dtype=bool)
    truth[1, :2] = found[1, 1:3] = True
    reviewer = Reviewer(10, 2)
    assert compared(found, truth, 0.5, reviewer) == Known(0.5, (10 + 2 * 8 * 0.5) / 60)
    assert compared(found & False, truth, 0.5, reviewer) == Known(0.0, (10 + 2 * 8 * 0.5) / 60)
    assert compared(found, truth & False, 0.5, reviewer) == Known(0.0, 10 / 60)  # absent: one key
    assert compared(truth & False, truth & False, 0.5, reviewer) == Known(1.0, 10 / 60)


def test_the_curve_is_the_sum_of_what_each_decision_mends() -> None:
    given = {("a", "liver"): (0.5, 2.0), ("b", "liver"): (0.9, 1.0), ("a", "spleen"): (0.2, 4.0)}
    found = [
        Candidate(Pair(*pair), Revision(*pair, 1, State.PROPOSED, "relabel", agreement=dice))
        for pair, (dice, _) in given.items()
    ]
    known = {Pair(*pair): Known(*values) for pair, values in given.items()}
    seen: list[int] = []

    def last(left: list[Candidate], judged: list[object]) -> Candidate:
        seen.append(len(judged))
        return left[-1]

    curve = replay(found, known, last)  # type: ignore[arg-type]
    assert seen == [0, 1, 2]  # what was decided is known to the next choice
    assert curve.minutes == (0.0, 4.0, 5.0, 7.0)
    np.testing.assert_allclose(curve.dice, [(0.7 + 0.2) / 2, (0.7 + 1) / 2, (0.75 + 1) / 2, 1.0])
    assert curve.minutes_to(0.5) == pytest.approx(4 * (0.275 / 0.4))


def test_all_orders_end_alike_and_nothing_is_decided(folder: Path, tmp_path: Path) -> None:
    before = (folder / "cases.csv").read_bytes()
    found = simulate(Cohort.open(folder), make_truth(tmp_path / "truth", folder), draws=3)
    assert (folder / "cases.csv").read_bytes() == before
    told = found.summary()
    proposals = sum(cell.auto for case in Cohort.open(folder) for cell in case.cells.values())
    assert told["pairs"] == proposals + 1  # what is absent in b, and not proposed
    assert told["untold"] > 0  # case d
    assert set(found.curves) == set(ORDERS)
    for order in ORDERS:
        for curve in found.curves[order]:
            assert curve.minutes[-1] == pytest.approx(told["all_minutes"], abs=0.06)
            assert curve.dice[0] == pytest.approx(told["dice_before"], abs=1e-4)
            assert curve.dice[-1] == pytest.approx(1.0)
        assert all(found.minutes(BEST, level) <= found.minutes(order, level) + 1e-9 for level in LEVELS)
    assert len(found.curves[RANDOM]) == 3


def test_the_command_writes_table_points_and_picture(folder: Path, tmp_path: Path) -> None:
    make_truth(tmp_path / "truth", folder)
    words = ["review", folder, "--simulate", tmp_path / "truth", "--out", tmp_path / "out", "--json"]
    command = [sys.executable, "-m", "smiler", *map(str, words)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert told == json.loads((tmp_path / "out/simulation.json").read_text())
    with (tmp_path / "out/simulation.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["order"] for row in rows} == set(ORDERS)
    assert sum(row["order"] == OURS for row in rows) == told["pairs"] + 1
    assert (tmp_path / "out/simulation.png").read_bytes()[:4] == b"\x89PNG"


def test_without_truth_for_any_proposal_there_is_nothing_to_replay(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nothing is to be reviewed whose truth is known.*open proposals"):
        simulate(Cohort.open(folder), make_truth(tmp_path / "truth", folder, "d"))
