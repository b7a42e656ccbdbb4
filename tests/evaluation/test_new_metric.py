"""A new metric is one function and one line in METRICS: every table, page and JSON has it; older tables still read."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from smiler.cli import main
from smiler.domain.cohort import Cohort
from smiler.evaluation.metrics import METRICS, Comparison
from smiler.evaluation.score_table import read_scores
from smiler.evaluation.scores import summarise
from smiler.experiments.phantom_cohort import make_phantom_cohort
from smiler.experiments.score_tables import points
from smiler.experiments.tables import to_csv, to_markdown
from smiler.formats.nifti import read_labels, write_labels

NAME = "slices_off"


def slices_off(pair: Comparison) -> float:
    """How many slices the predicted organ has more than the drawn one; HD95 and Dice would not say it."""
    return float(np.abs(pair.prediction.any((1, 2)).sum() - pair.reference.any((1, 2)).sum()))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return make_phantom_cohort(tmp_path_factory.mktemp("metric") / "cohort", 2, (8, 32, 32))


@pytest.fixture(scope="module")
def masks(cohort: Cohort) -> Path:
    """Each case's true liver, the lowest slice of case 0's cut off, of case 1's two slices."""
    folder = cohort.folder.parent / "masks"
    for number, case in enumerate(cohort):
        labels, grid = read_labels(cohort.mask_path(case, "liver"))
        mask = np.isin(labels, case.cell("liver").labels or (1,)).astype(np.uint8)
        lowest = np.flatnonzero(mask.any((1, 2)))[: number + 1]
        mask[lowest] = 0
        write_labels(folder / case.id / "liver.nii.gz", mask, grid)
    return folder


def smiler(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["smiler", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code


def test_a_new_metric_is_one_line(
    cohort: Cohort,
    masks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(METRICS, NAME, slices_off)
    smiler(monkeypatch, "evaluate", masks, cohort.folder, "--out", tmp_path, "--json")
    told = json.loads(capsys.readouterr().out)["learned"]["unknown"][NAME]
    assert told["liver"] == told["mean"] == {"mean": 1.5, "low": 1.0, "high": 2.0, "n": 2}
    columns = (tmp_path / "scores.csv").read_text().splitlines()[0]
    assert columns == f"case,patient,organ,status,dice,nsd,hd95_mm,{NAME},predicted_ml,reference_ml,learned"

    scores = [score for _, score in read_scores(tmp_path / "scores.csv")]
    assert [score.metrics[NAME] for score in scores] == [1.0, 2.0]
    assert summarise(scores, NAME)["liver"].mean == 1.5
    smiler(monkeypatch, "evaluate", masks, cohort.folder, "--out", tmp_path)
    assert NAME in capsys.readouterr().out
    smiler(monkeypatch, "report", tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert f'<th class="n">{NAME}</th>' in page
    assert '<td class="n">1.5</td>' in page
    table = points({("smile", 0.5): scores})
    assert to_csv(table).splitlines()[0].startswith(f"arm,alpha,organ,dice,low,high,nsd,hd95_mm,{NAME},n,absent")
    assert f"| {NAME} |" in to_markdown(table).splitlines()[0]


def test_a_table_with_or_without_a_metric_reads_the_other_way_too(
    cohort: Cohort,
    masks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    older, newer = tmp_path / "older", tmp_path / "newer"
    smiler(monkeypatch, "evaluate", masks, cohort.folder, "--out", older)
    with monkeypatch.context() as added:
        added.setitem(METRICS, NAME, slices_off)
        smiler(added, "evaluate", masks, cohort.folder, "--out", newer)
        smiler(added, "report", older)
        assert NAME not in (older / "report.html").read_text()
        scores = [score for folder in (older, newer) for _, score in read_scores(folder / "scores.csv")]
        assert summarise(scores, NAME)["liver"].n == 2  # of those that have it
    assert [set(score.metrics) for _, score in read_scores(newer / "scores.csv")] == [{"dice", "nsd", "hd95_mm"}] * 2
    smiler(monkeypatch, "report", newer)
    assert NAME not in (newer / "report.html").read_text()


def test_a_metric_that_gives_no_number_is_named(
    cohort: Cohort,
    masks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(METRICS, NAME, lambda pair: float("nan"))
    monkeypatch.setattr(sys, "argv", ["smiler", "evaluate", str(masks), str(cohort.folder), "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    told = " ".join(capsys.readouterr().err.split())
    where = f"metric {NAME}, case {cohort.cases[0].id}, organ liver"
    assert f"{where}: a metric must give a finite number (got nan)" in told
    assert not (tmp_path / "scores.csv").exists()
