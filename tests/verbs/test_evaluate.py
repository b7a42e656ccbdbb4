"""Evaluate: only what an expert said is scored, n stands beside every mean, and masks must lie on the CT's grid."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smiler.domain.cells import ABSENT, Status
from smiler.domain.cohort import Cohort, relocate
from smiler.domain.errors import BadInput
from smiler.domain.geometry import Geometry
from smiler.evaluation.scores import Score, summarise, write_scores
from smiler.evaluation.truth import Truth
from smiler.formats.nifti import grid_of, read_header, read_labels, write_labels
from smiler.verbs.evaluate import evaluate
from smiler.verbs.predict import PredictRequest, predict
from smiler.workers.base import InProcess
from smiler.workers.pipelined import Pipelined

KEYS = ("liver", "liver_tumor", "spleen", "stomach")


def write_masks(tiny: Any, folder: Path, keys: tuple[str, ...] = KEYS) -> Path:
    """DIR/CASE/ORGAN.nii.gz, as good as they can be."""
    for case in tiny.cohort:
        grid = read_header(tiny.cohort.image_path(case))
        for key in keys:
            write_labels(folder / case.id / f"{key}.nii.gz", tiny.truth[case.id][key].astype(np.uint8), grid)
    return folder


def known_pairs(cohort: Cohort) -> set[tuple[str, str]]:
    return {(case.id, key) for case in cohort for key in KEYS if case.status(key) is not Status.UNANNOTATED}


@pytest.fixture(scope="module")
def of_run(tiny: Any) -> list[Score]:
    return evaluate(tiny.run, Truth(tiny.cohort), "cpu")


def test_only_annotated_and_absent_pairs_are_scored(tiny: Any, of_run: list[Score]) -> None:
    scored = [(score.case, score.organ) for score in of_run]
    assert len(scored) == len(set(scored))
    assert set(scored) == known_pairs(tiny.cohort)
    for score in of_run:
        assert score.status == tiny.cohort.case(score.case).status(score.organ).value
        assert score.patient == tiny.cohort.case(score.case).patient
        assert 0 <= score.dice <= 1
        assert np.isfinite(score.hd95_mm)


def test_n_counts_patients_with_an_experts_word(tiny: Any, of_run: list[Score]) -> None:
    patients = {case.id: case.patient for case in tiny.cohort}
    expected = Counter(organ for organ, _ in {(key, patients[case]) for case, key in known_pairs(tiny.cohort)})
    summary = summarise(of_run)
    assert {organ: summary[organ].n for organ in KEYS if organ in summary} == expected
    assert summary["mean"].n == len({score.patient for score in of_run})


def test_perfect_masks_score_one(tiny: Any, tmp_path: Path) -> None:
    scores = evaluate(write_masks(tiny, tmp_path), Truth(tiny.cohort))
    assert {(score.case, score.organ) for score in scores} == known_pairs(tiny.cohort)
    assert all((score.dice, score.nsd, score.hd95_mm) == (1, 1, 0) for score in scores)
    assert all(score.predicted_ml == score.reference_ml for score in scores)


def test_a_run_scores_as_its_own_masks_do(tiny: Any, of_run: list[Score], tmp_path: Path) -> None:
    predict(tiny.model, [tiny.cohort.folder], PredictRequest(tmp_path))
    for one, other in zip(evaluate(tmp_path, Truth(tiny.cohort)), of_run, strict=True):
        assert (one.case, one.organ, one.status, one.reference_ml) == (
            other.case,
            other.organ,
            other.status,
            other.reference_ml,
        )
        # another number of threads adds floats in another order: a voxel on the border may change sides
        assert one.dice == pytest.approx(other.dice, abs=0.01)
        assert one.predicted_ml == pytest.approx(other.predicted_ml, rel=0.01, abs=10)


def test_partly_annotated_organs_are_compared_on_their_slices(tiny: Any, tmp_path: Path) -> None:
    folder = write_masks(tiny, tmp_path)
    case = tiny.cohort.case("case1")
    known = case.cell("spleen").known_slices(8)
    path = folder / "case1" / "spleen.nii.gz"
    mask, grid = read_labels(path)
    mask[~known] = 1
    write_labels(path, mask, grid)
    (score,) = [s for s in evaluate(folder, Truth(tiny.cohort)) if (s.case, s.organ) == ("case1", "spleen")]
    assert (score.dice, score.hd95_mm) == (1, 0)
    assert score.reference_ml == pytest.approx(
        tiny.truth["case1"]["spleen"][known].sum() * grid.geometry.voxel_ml, abs=1e-3
    )


@pytest.mark.parametrize(("predicted", "drawn"), [(False, False), (True, False), (False, True)])
def test_empty_masks_follow_the_rules(tiny: Any, tmp_path: Path, predicted: bool, drawn: bool) -> None:
    case = tiny.cohort.case("case0")
    cell = case.cell("stomach") if drawn else ABSENT
    truth = Truth(replace(tiny.cohort, cases=(replace(case, cells={"stomach": cell}),)))
    grid = read_header(tiny.image)
    mask = np.full(grid.geometry.shape, predicted, np.uint8)
    write_labels(tmp_path / "case0" / "stomach.nii.gz", mask, grid)
    (score,) = evaluate(tmp_path, truth)
    assert score.status == ("annotated" if drawn else "absent")
    if predicted == drawn:
        assert (score.dice, score.nsd, score.hd95_mm) == (1, 1, 0)
    else:
        assert (score.dice, score.nsd) == (0, 0)
        assert score.hd95_mm == pytest.approx(grid.geometry.diagonal_mm, rel=1e-5)


def test_an_organ_without_a_file_is_not_scored(tiny: Any, tmp_path: Path) -> None:
    scores = evaluate(write_masks(tiny, tmp_path, ("spleen",)), Truth(tiny.cohort))
    assert {(score.case, score.organ) for score in scores} == {
        pair for pair in known_pairs(tiny.cohort) if pair[1] == "spleen"
    }


def test_masks_on_another_grid_are_refused_with_both_grids(tiny: Any, tmp_path: Path) -> None:
    folder = write_masks(tiny, tmp_path)
    geometry = read_header(tiny.image).geometry
    for wrong in (
        Geometry.canonical(geometry.shape, (2.0, 1.0, 1.0)),
        Geometry.canonical((8, 32, 31), geometry.spacing),
    ):
        write_labels(folder / "case0" / "spleen.nii.gz", np.ones(wrong.shape, np.uint8), grid_of(wrong))
        text = r"case case0, .*case0/spleen\.nii\.gz: the mask lies on another grid than the CT; got SPL .* against SPL"
        with pytest.raises(BadInput, match=text):
            evaluate(folder, Truth(tiny.cohort))


def test_nothing_to_score_is_an_error(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing to score"):
        evaluate(tmp_path, Truth(tiny.cohort))
    silent = replace(tiny.cohort, cases=tiny.cohort.cases[3:])
    with pytest.raises(BadInput, match="nothing to score"):
        evaluate(write_masks(tiny, tmp_path), Truth(silent))
    with pytest.raises(BadInput, match="neither a run folder nor a folder of masks"):
        evaluate(tmp_path / "gone", Truth(tiny.cohort))


def test_sealed_truth_is_measured_against(tiny: Any, tmp_path: Path) -> None:
    folder = tmp_path / "truth"
    cases = tuple(relocate(tiny.cohort, case, folder) for case in tiny.cohort)
    replace(tiny.cohort, folder=folder, cases=cases, sealed=True).save()
    scores = evaluate(write_masks(tiny, tmp_path / "masks"), Truth.open(folder))
    assert all(score.dice == 1 for score in scores)


def test_the_table_has_a_row_for_each_score(of_run: list[Score], tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.csv", of_run)
    lines = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "case,patient,organ,status,dice,nsd,hd95_mm,predicted_ml,reference_ml"
    assert len(lines) == 1 + len(of_run)
    assert lines[1].startswith(f"{of_run[0].case},{of_run[0].patient},{of_run[0].organ},")


@pytest.mark.parametrize("memory", [0, None])
def test_cases_in_flight_are_scored_as_cases_one_by_one(tiny: Any, of_run: list[Score], memory: int | None) -> None:
    truth = Truth(tiny.cohort)
    assert evaluate(tiny.run, truth, "cpu", workers=InProcess()) == of_run
    assert evaluate(tiny.run, truth, "cpu", workers=Pipelined(memory)) == of_run


def test_what_cannot_be_read_or_scored_is_named(tiny: Any, tmp_path: Path) -> None:
    first, second = tiny.cohort.cases[:2]
    unread = replace(second, image="images/missing.nii.gz")
    other = tmp_path / "other.nii.gz"
    write_labels(other, np.ones((3, 4, 5), np.uint8), grid_of(Geometry.canonical((3, 4, 5), (1.0, 1.0, 1.0))))
    unscored = replace(second, cells={key: replace(cell, path=str(other)) for key, cell in second.cells.items()})
    for broken, told in ((unread, ("missing.nii.gz",)), (unscored, ("other.nii.gz", second.id))):
        cohort = replace(tiny.cohort, cases=(first, broken))
        with pytest.raises(BadInput) as caught:
            evaluate(tiny.run, Truth(cohort), "cpu")
        assert [word for word in told if word not in str(caught.value)] == []
