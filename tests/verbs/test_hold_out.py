"""Annotations that a run holds out: nothing is learned from them, and a round for the review measures it on them."""

from pathlib import Path

import pytest
from shared_phantoms import Phantoms
from tiny_runs import TINY

from smiler.domain.cells import Status
from smiler.domain.cohort import Cohort
from smiler.domain.judged import read_judged
from smiler.evaluation.score_table import read_scores
from smiler.evaluation.scores import Learned
from smiler.recipe.recipe import load_recipe
from smiler.verbs.relabel import RelabelRequest, relabel
from smiler.verbs.run import open_model, trained_on
from smiler.verbs.train import TrainRequest, train

Pairs = set[tuple[str, str]]
CASES, SHARE = 6, 0.3


@pytest.fixture(scope="module")
def cohort(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return phantoms(tmp_path_factory.mktemp("held") / "all", CASES)


def learned(cohort: Cohort, run: Path, *changes: str) -> Pairs:
    train(TrainRequest(cohort, run, load_recipe("smile", None, [*TINY, "training.steps=1", *changes])))
    return set(trained_on(run))


def known(cohort: Cohort, organ: str, status: Status) -> Pairs:
    return {(case.id, organ) for case in cohort if case.status(organ) is status}


def test_a_share_of_each_organs_annotations_is_held_out_and_measures_the_run(cohort: Cohort, tmp_path: Path) -> None:
    seen = learned(cohort, tmp_path / "run", f"training.hold_out={SHARE}")
    for organ in cohort.organs.keys:
        drawn, absent = known(cohort, organ, Status.ANNOTATED), known(cohort, organ, Status.ABSENT)
        assert len(drawn - seen) == (max(1, round(SHARE * len(drawn))) if len(drawn) >= 4 else 0), organ
        assert len(absent - seen) == (round(SHARE * len(absent)) if len(drawn) >= 4 else 0), organ
    model, _ = open_model(tmp_path / "run", "cpu")
    relabel(model, cohort, RelabelRequest(tmp_path / "out", review=True, learned=frozenset(seen)))
    every = {(case.id, organ) for case in cohort for organ in cohort.organs.keys}
    (folder,) = {path.parent for path in (tmp_path / "out").rglob("*-judged.json")}
    assert {(case, row.organ) for case, row in read_judged(folder)} == every - seen


def test_what_is_held_out_is_scored_when_the_training_is_done(cohort: Cohort, tmp_path: Path) -> None:
    every = {(case.id, organ) for case in cohort for organ in cohort.organs.keys}
    seen = learned(cohort, tmp_path / "run", f"training.hold_out={SHARE}")
    rows = [score for _, score in read_scores(tmp_path / "run" / "validation" / "scores.csv")]
    assert {(row.case, row.organ) for row in rows} == every - seen
    assert {row.learned for row in rows} == {Learned.NO}


def test_without_it_a_run_learns_from_every_annotation(cohort: Cohort, tmp_path: Path) -> None:
    every = {(case.id, organ) for case in cohort for organ in cohort.organs.keys}
    assert learned(cohort, tmp_path / "run") == every
    assert not (tmp_path / "run" / "validation").exists()
