"""Training in folds: what validates is not learned from, a killed one resumes to the same weights, two make one."""

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import warm
from shared_phantoms import Phantoms
from test_processes import ONE, TWO
from tiny_runs import TINY

from smiler.domain.cells import Status
from smiler.domain.cohort import Cohort
from smiler.domain.files import read_json
from smiler.domain.folders import Kind, kinds_in
from smiler.domain.signpost import signpost
from smiler.evaluation.score_table import read_scores
from smiler.evaluation.scores import Learned
from smiler.evaluation.truth import Truth
from smiler.experiments.hide import hide
from smiler.recipe.recipe import load_recipe
from smiler.verbs.ensembles import FoldsFolder
from smiler.verbs.evaluate import evaluate
from smiler.verbs.run import RunFolder, trained_on
from smiler.verbs.train import TrainRequest
from smiler.verbs.train import train as train_run

STEPS, FOLDS = 6, 2
ORGANS = ("liver", "spleen", "aorta")
OPTIONS = (
    *TINY,
    f"training.steps={STEPS}",
    "training.checkpoint_minutes=0.0001",
    f"organs=[{', '.join(map(repr, ORGANS))}]",
)
WORDS = ("--method", "smile", *(word for option in OPTIONS for word in ("--set", option)))


@pytest.fixture(scope="module")
def cohort(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Six volumes of five patients, with a third of the annotations missing."""
    folder = tmp_path_factory.mktemp("folds")
    made = hide(phantoms(folder / "all", 6), folder / "hidden", 0.3)
    del made
    hidden = Cohort.open(folder / "hidden" / "cohort")
    first, second, *others = hidden.cases
    hidden = replace(hidden, cases=(first, replace(second, patient=first.patient), *others))
    hidden.save()
    return hidden


@pytest.fixture(scope="module")
def undisturbed(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> FoldsFolder:
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    told = run.parent / "told"
    assert warm.wait(start(cohort, run, "--folds", str(FOLDS), output=told)) == 0, told.read_text()
    return FoldsFolder(run)


def start(cohort: Cohort, run: Path, *extra: str, output: Path | None = None) -> Any:
    return warm.start("train", str(cohort.folder), str(run), *WORDS, *extra, output=output)


def hashes(folder: FoldsFolder) -> list[str]:
    return [run.newest().model_hash for run in folder.folds()]


def splits_of(folder: FoldsFolder) -> list[dict[str, list[str]]]:
    value: list[dict[str, list[str]]] = read_json(folder.splits_path)
    return value


def test_each_fold_is_the_training_of_its_cases_alone(cohort: Cohort, undisturbed: FoldsFolder, tmp_path: Path) -> None:
    """What validates is as if it were not there: in batches, proposals and the scale of grey values."""
    split = splits_of(undisturbed)[1]
    alone = replace(cohort, cases=tuple(case for case in cohort if case.id in split["train"]))
    recipe = load_recipe("smile", None, [*OPTIONS, "training.seed=1"])
    run = train_run(TrainRequest(alone, tmp_path / "alone", recipe))
    assert run.newest().model_hash == hashes(undisturbed)[1]


def test_every_case_is_scored_once_by_a_run_that_has_not_learned_from_it(
    cohort: Cohort, undisturbed: FoldsFolder
) -> None:
    patients = {case.id: case.patient for case in cohort}
    expected, found = set(), []
    for number, split in enumerate(splits_of(undisturbed)):
        run = undisturbed.fold(number)
        learned = trained_on(run.path)
        rows = [score for _, score in read_scores(run.path / "validation" / "scores.csv")]
        assert not {case for case, _ in learned} & {*split["val"]}
        assert not {patients[case] for case in split["train"]} & {patients[case] for case in split["val"]}
        assert {row.case for row in rows} <= {*split["val"]}
        found += rows
    for case in cohort:
        expected |= {(case.id, key) for key in ORGANS if case.status(key) is not Status.UNANNOTATED}
    pooled = [score for _, score in read_scores(undisturbed.path / "validation" / "scores.csv")]
    assert {(row.case, row.organ) for row in pooled} == expected
    assert len(pooled) == len(found) == len(expected)
    assert {row.learned for row in pooled} == {Learned.NO}
    assert [row.case for row in pooled] == sorted((row.case for row in pooled), key=[*patients].index)
    again = evaluate(undisturbed.fold(0).path, Truth(cohort), "cpu")
    trained = {*splits_of(undisturbed)[0]["train"]}
    assert {(row.case, row.learned) for row in again} == {
        (row.case, Learned.YES if row.case in trained else Learned.NO) for row in again
    }
    assert {row.learned for row in evaluate(undisturbed.path, Truth(cohort), "cpu")} == {Learned.YES}


@pytest.mark.parametrize(
    "pattern",
    [
        "splits_final.json",
        "fold_0/checkpoints/step-000000[2-5].json",
        f"fold_0/checkpoints/step-000000{STEPS}.json",
        "fold_1/checkpoints/step-000000[2-5].json",
    ],
)
def test_killed_anywhere_it_resumes_to_the_same_weights_and_scores(
    pattern: str, cohort: Cohort, undisturbed: FoldsFolder, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    process = start(cohort, run, "--folds", str(FOLDS))
    deadline = time.monotonic() + 120
    while not any(run.glob(pattern)):
        assert process.is_alive(), "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    assert warm.wait(process) == -signal.SIGKILL
    folds = () if (run / "folds.json").exists() else ("--folds", str(FOLDS))
    told = tmp_path / "told"
    assert warm.wait(start(cohort, run, "--resume", *folds, output=told)) == 0, told.read_text()
    assert hashes(FoldsFolder(run)) == hashes(undisturbed)
    for scores in ("validation/scores.csv", "fold_1/validation/scores.csv"):
        assert (run / scores).read_bytes() == (undisturbed.path / scores).read_bytes()


def test_a_job_for_each_fold_comes_to_the_same_as_one_for_all(
    cohort: Cohort, undisturbed: FoldsFolder, tmp_path: Path
) -> None:
    """Both begin at once; who comes last puts the scores together."""
    run, told = tmp_path / "jobs", tmp_path / "told"
    jobs = [start(cohort, run, "--folds", str(FOLDS), "--fold", str(n), output=told) for n in range(FOLDS)]
    assert [warm.wait(job) for job in jobs] == [0, 0], told.read_text()
    assert hashes(FoldsFolder(run)) == hashes(undisturbed)
    scores = Path("validation") / "scores.csv"
    assert (run / scores).read_bytes() == (undisturbed.path / scores).read_bytes()


def test_one_fold_resumes_as_any_run_does(cohort: Cohort, undisturbed: FoldsFolder, tmp_path: Path) -> None:
    """It keeps on record which cases it never sees."""
    run = tmp_path / "fold"
    shutil.copytree(undisturbed.fold(0).path, run)
    told = tmp_path / "told"
    assert warm.wait(start(cohort, run, "--resume", output=told)) == 0, told.read_text()
    assert RunFolder(run).newest().model_hash == hashes(undisturbed)[0]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("command", [TWO, [*ONE, "training.devices=2"]], ids=["torchrun", "devices"])
def test_two_processes_train_the_folds_that_one_trains(
    command: list[str], cohort: Cohort, undisturbed: FoldsFolder, tmp_path: Path
) -> None:
    run = tmp_path / "two"
    start, options = (command, ()) if command is TWO else (command[:-1], ("--set", command[-1]))
    words = [*start, "train", str(cohort.folder), str(run), *WORDS, *options, "--folds", str(FOLDS)]
    done = subprocess.run(
        words, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("next: smiler predict") == 1
    for number in range(FOLDS):
        ones, twos = (
            torch.cat([v.double().flatten() for v in folder.fold(number).newest().tensors("model").values()])
            for folder in (undisturbed, FoldsFolder(run))
        )
        assert float((twos - ones).norm() / ones.norm()) < 0.01
    assert splits_of(FoldsFolder(run)) == splits_of(undisturbed)
    each = [read_scores(folder / "validation" / "scores.csv") for folder in (run, undisturbed.path)]
    assert [(row.case, row.organ) for _, row in each[0]] == [(row.case, row.organ) for _, row in each[1]]


def test_the_folder_is_known_for_what_it_is(undisturbed: FoldsFolder) -> None:
    assert kinds_in(undisturbed.path) == [Kind.FOLDS]
    found = signpost(undisturbed.path)
    assert (found.kind, found.what) == ("folds", "a training of smiler in folds")
    assert found.do == f"smiler predict {undisturbed.path} IMAGE --out MASKS"


def refused(cohort: Cohort, run: Path, told: Path, *extra: str) -> str:
    told.unlink(missing_ok=True)
    assert warm.wait(start(cohort, run, *extra, output=told)) == 2
    return " ".join(told.read_text().split())


def test_what_can_not_go_on_is_refused_before_anything_is_trained(
    cohort: Cohort, undisturbed: FoldsFolder, tmp_path: Path
) -> None:
    run, told = undisturbed.path, tmp_path / "told"
    before = hashes(undisturbed)
    assert "a training in folds is here already" in refused(cohort, run, told)
    assert "--fold: no such fold (got 2) 0 to 1" in refused(cohort, run, told, "--fold", "2")
    assert "another number of folds (got 3, not 2)" in refused(cohort, run, told, "--folds", "3", "--resume")
    assert "begun with other options" in refused(cohort, run, told, "--fold", "0", "--set", "network.width=16")
    other = tmp_path / "splits.json"
    other.write_text(json.dumps(splits_of(undisturbed)[::-1]))
    assert "the folds that were begun are others" in refused(cohort, run, told, "--splits", str(other), "--resume")
    assert "4 patients" not in refused(cohort, tmp_path / "many", told, "--folds", "6")
    assert "too few patients for so many folds (got 6 folds, 5 patients" in told.read_text().replace("\n", " ")
    assert not (tmp_path / "many").exists()
    assert hashes(undisturbed) == before


def test_given_splits_are_the_folds(cohort: Cohort, undisturbed: FoldsFolder, tmp_path: Path) -> None:
    given = tmp_path / "splits_final.json"
    given.write_text(json.dumps(splits_of(undisturbed)[::-1]))
    run, told = tmp_path / "given", tmp_path / "told"
    words = ("--splits", str(given), "--fold", "0", "--json")
    assert warm.wait(start(cohort, run, *words, output=told)) == 0, told.read_text()
    assert splits_of(FoldsFolder(run)) == splits_of(undisturbed)[::-1]
    printed = json.loads(told.read_text()[told.read_text().index("{\n") :])
    assert [row["run"] for row in printed["folds"]] == [str(run / "fold_0")]
    assert set(printed["learned"]) == {"no"}
    assert set(printed["learned"]["no"]["dice"]) <= {*ORGANS, "mean"}
    assert not (run / "validation").exists()
