"""Evaluate: only what an expert said is scored, n stands beside every mean, and masks must lie on the CT's grid."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from smiler.domain.cells import ABSENT, Status, annotated
from smiler.domain.cohort import Cohort, relocate
from smiler.domain.errors import BadInput
from smiler.domain.files import read_json, write_json
from smiler.domain.geometry import Geometry
from smiler.evaluation.score_table import read_scores, write_scores
from smiler.evaluation.scores import Absence, Learned, Score, absences, by_learned, summarise
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


def test_n_counts_patients_in_whom_an_expert_drew_the_organ(tiny: Any, of_run: list[Score]) -> None:
    patients = {case.id: case.patient for case in tiny.cohort}
    drawn = [(case, key) for case, key in known_pairs(tiny.cohort) if tiny.truth[case][key].any()]
    expected = Counter(organ for organ, _ in {(key, patients[case]) for case, key in drawn})
    summary = summarise(of_run)
    assert {organ: summary[organ].n for organ in KEYS if organ in summary} == expected
    assert summary["mean"].n == len({patients[case] for case, _ in drawn})


def masks_of_four(tiny: Any, folder: Path) -> tuple[Path, Truth]:
    """The liver is in case0 (found) and case1 (missed); in case2 and case3 it is absent (a false alarm; right)."""
    cases = []
    for number, case in enumerate(tiny.cohort):
        grid = read_header(tiny.cohort.image_path(case))
        mask = np.zeros(grid.geometry.shape, np.uint8)
        mask[:2] = number in (0, 2)
        write_labels(folder / case.id / "liver.nii.gz", mask, grid)
        full = np.zeros(grid.geometry.shape, np.uint8)
        full[:2] = 1
        write_labels(folder / "truth" / f"{case.id}.nii.gz", full, grid)
        cell = annotated(str(folder / "truth" / f"{case.id}.nii.gz")) if number < 2 else ABSENT
        cases.append(replace(case, patient=f"p{number}", cells={"liver": cell}))
    return folder, Truth(replace(tiny.cohort, cases=tuple(cases)))


def test_means_are_over_present_organs_and_absence_is_counted_beside_them(tiny: Any, tmp_path: Path) -> None:
    folder, truth = masks_of_four(tiny, tmp_path)
    scores = evaluate(folder, truth)
    diagonal = read_header(tiny.cohort.image_path(tiny.cohort.cases[1])).geometry.diagonal_mm
    assert {score.case: score.present for score in scores} == {
        "case0": True, "case1": True, "case2": False, "case3": False,
    }  # fmt: skip
    for metric, mean in (("dice", 0.5), ("nsd", 0.5), ("hd95_mm", diagonal / 2)):
        for organ in ("liver", "mean"):
            assert summarise(scores, metric)[organ].mean == pytest.approx(mean, rel=1e-4)
            assert summarise(scores, metric)[organ].n == 2
    assert absences(scores) == {"liver": Absence(2, 1), "mean": Absence(2, 1)}
    assert absences(scores)["liver"].false_alarms == 1


def test_an_organ_that_is_in_nobody_has_no_mean(tiny: Any, tmp_path: Path) -> None:
    folder, truth = masks_of_four(tiny, tmp_path)
    scores = [score for score in evaluate(folder, truth) if not score.present]
    assert summarise(scores) == {}
    assert absences(scores)["mean"] == Absence(2, 1)


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


def test_the_table_has_a_row_for_each_score_and_comes_back_digit_by_digit(of_run: list[Score], tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.csv", of_run)
    lines = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "case,patient,organ,status,dice,nsd,hd95_mm,predicted_ml,reference_ml,learned"
    assert len(lines) == 1 + len(of_run)
    assert lines[1].startswith(f"{of_run[0].case},{of_run[0].patient},{of_run[0].organ},")
    assert [score for _, score in read_scores(tmp_path / "scores.csv")] == of_run


def test_each_score_says_whether_the_run_was_trained_on_that_annotation(tiny: Any, of_run: list[Score]) -> None:
    assert {score.learned for score in of_run} == {Learned.YES}
    complete = [
        replace(case, cells={key: annotated(f"labels/{case.id}.nii.gz", (KEYS.index(key) + 1,)) for key in ("spleen",)})
        for case in tiny.cohort
    ]
    scores = evaluate(tiny.run, Truth(replace(tiny.cohort, cases=tuple(complete))), "cpu")
    told = {score.case: score.learned.value for score in scores}
    assert told == {"case0": "yes", "case1": "yes", "case2": "no", "case3": "no"}
    kinds = by_learned(scores)
    assert [(kind.value, len(rows)) for kind, rows in kinds.items()] == [("no", 2), ("yes", 2)]


def test_what_was_trained_on_is_known_by_the_ct_not_by_its_name(tiny: Any, tmp_path: Path) -> None:
    first, second = tiny.cohort.cases[:2]
    renamed = replace(first, id="other")  # the same CT under another id was trained on all the same
    swapped = replace(first, image=second.image, cells=second.cells)  # the id of case0, the CT of case1
    moved = tmp_path / "again.nii.gz"
    shutil.copy(tiny.image, moved)
    image = nib.load(moved)
    image.header["descrip"] = b"written anew"
    nib.save(image, tmp_path / "anew.nii.gz")
    anew = replace(first, image=str(tmp_path / "anew.nii.gz"))  # the id of case0, and bytes that nobody knows
    for case, expected in ((renamed, Learned.YES), (swapped, Learned.YES), (anew, Learned.UNKNOWN)):
        scores = evaluate(tiny.run, Truth(replace(tiny.cohort, cases=(case,))), "cpu")
        assert {score.learned for score in scores} == {expected}


def test_runs_that_are_older_than_the_record_of_images_go_by_the_cases_name(tiny: Any, tmp_path: Path) -> None:
    shutil.copytree(tiny.run, tmp_path / "run")
    path = tmp_path / "run" / "provenance.json"
    told = read_json(path)
    del told["facts"]["images"]
    write_json(path, told)
    assert {score.learned for score in evaluate(tmp_path / "run", Truth(tiny.cohort), "cpu")} == {Learned.YES}
    del told["facts"]["annotated"]
    write_json(path, told)
    assert {score.learned for score in evaluate(tmp_path / "run", Truth(tiny.cohort), "cpu")} == {Learned.UNKNOWN}


def test_of_a_folder_of_masks_nobody_knows_what_it_was_trained_on(tiny: Any, tmp_path: Path) -> None:
    scores = evaluate(write_masks(tiny, tmp_path), Truth(tiny.cohort))
    assert {score.learned for score in scores} == {Learned.UNKNOWN}


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
