"""A DICOM series as a case: predicted and written as all kinds, trained on, relabelled, evaluated, hidden."""

import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from smiler.audit.audit import audit_cohort
from smiler.domain.cells import parse_cell, proposed
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.provenance import Provenance
from smiler.evaluation.truth import Truth
from smiler.experiments.hide import hide
from smiler.export.dicom import NAME
from smiler.export.export import export
from smiler.export.pieces import ExportRequest
from smiler.formats.dicom.client import write_masks
from smiler.formats.dicom.segments import segments_of
from smiler.formats.labels import read_case_labels
from smiler.formats.nifti import write_labels
from smiler.formats.volumes import is_nifti, read_ct, read_header, read_labels
from smiler.review.desk import Remark, at_desk
from smiler.review.errors import Pair
from smiler.review.ledger import Asked
from smiler.review.masks import Mask
from smiler.review.states import Decision
from smiler.store.store import build_store
from smiler.verbs.evaluate import evaluate
from smiler.verbs.predict import KINDS, PredictRequest, predict
from smiler.verbs.relabel import RelabelRequest, relabel

sys.path.insert(0, str(Path(__file__).parents[1] / "formats"))
from dicom_files import Slices


@pytest.fixture(scope="module")
def series(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first case's CT as a DICOM series, with the same geometry."""
    ct = read_ct(tiny.image)
    matrix = ct.geometry.matrix
    made = Slices(ct.hu, origin=tuple(matrix[:3, 3]), spacing=ct.geometry.spacing)
    return made.write(tmp_path_factory.mktemp("dicom") / "series")


def test_a_series_is_predicted_as_its_nifti_file_is_and_all_kinds_agree(
    tiny: Any, series: Path, tmp_path: Path
) -> None:
    predict(tiny.model, [series], PredictRequest(tmp_path / "d", kinds=tuple(KINDS)))
    predict(tiny.model, [tiny.image], PredictRequest(tmp_path / "n"))
    geometry = read_header(series).geometry
    files = [tmp_path / "d" / "series" / KINDS[kind] for kind in ("dicom-seg", "rtstruct")]
    drawn = [read_labels(file, geometry=geometry) for file in files]
    for number, key in enumerate(tiny.model.organs.keys, start=1):
        mask = read_labels(tmp_path / "d" / "series" / f"{key}.nii.gz").codes
        plain = read_labels(tmp_path / "n" / tiny.cohort.cases[0].id / f"{key}.nii.gz").codes
        assert np.array_equal(mask, plain), key
        assert all(np.array_equal(found.mask([number]), mask) for found in drawn), key


def test_what_is_written_is_not_written_again_and_nifti_has_no_dicom_masks(
    tiny: Any, series: Path, tmp_path: Path
) -> None:
    request = PredictRequest(tmp_path, kinds=("dicom-seg",))
    predict(tiny.model, [series], request)
    before = (tmp_path / "series" / KINDS["dicom-seg"]).stat().st_mtime_ns
    assert not list(tmp_path.rglob("*.nii.gz"))
    predict(tiny.model, [series], request)
    assert (tmp_path / "series" / KINDS["dicom-seg"]).stat().st_mtime_ns == before
    with pytest.raises(BadInput, match="DICOM masks belong to a DICOM series"):
        predict(tiny.model, [tiny.image], request)
    with pytest.raises(BadInput, match="no such kind of masks"):
        predict(tiny.model, [series], PredictRequest(tmp_path, kinds=("png",)))


def test_a_cohort_of_a_series_with_a_segmentation_goes_through_everything(
    tiny: Any, series: Path, tmp_path: Path
) -> None:
    grid = read_header(series)
    truth = tiny.truth[tiny.cohort.cases[0].id]
    bits = sum((truth[key].astype(np.int32) << i) for i, key in enumerate(("liver", "spleen")))
    segments = segments_of(tiny.cohort.organs, ("liver", "spleen"), "MANUAL")
    write_masks(tmp_path / "seg.dcm", series, bits, grid, segments, "dicom-seg")
    cells = {"liver": parse_cell("seg.dcm#1"), "spleen": parse_cell("seg.dcm#2@0:4")}
    made = Cohort(tmp_path, tiny.cohort.organs, (Case("s1", "p1", str(series), cells),))
    made.save()
    cohort = Cohort.open(tmp_path)
    assert audit_cohort(cohort).ok
    labels = read_case_labels(cohort, cohort.cases[0], grid.geometry)
    assert np.array_equal(labels.drawn & 1, truth["liver"].astype(np.int32))
    stored = build_store(cohort, tmp_path / "cache").cases[0]
    assert stored.voxels[:, 0].sum() > 0
    completed = relabel(tiny.model, cohort, RelabelRequest(tmp_path / "done"))
    (case,) = completed
    assert all(is_nifti(completed.mask_path(case, key)) for key, cell in case.cells.items() if cell.auto)
    scores = evaluate(tiny.run, Truth(cohort))
    assert {score.organ for score in scores} == {"liver", "spleen"}
    hidden = hide(cohort, tmp_path / "hidden", 0.0)
    again = read_case_labels(hidden, hidden.cases[0], grid.geometry)
    assert np.array_equal(again.drawn, labels.drawn)
    assert np.array_equal(again.known, labels.known)


def test_a_review_tells_in_the_segmentation_who_drew_what(tiny: Any, series: Path, tmp_path: Path) -> None:
    grid, truth = read_header(series), tiny.truth[tiny.cohort.cases[0].id]
    for key in ("liver", "spleen"):
        write_labels(tmp_path / f"c/completed/one_{key}.nii.gz", truth[key].astype(np.uint8), grid)
        Provenance("relabel", {"model": "0f" * 32}, {"voxels": 1}).save(tmp_path / f"c/completed/one_{key}.json")
    cells = {key: proposed(f"completed/one_{key}.nii.gz") for key in ("liver", "spleen")}
    Cohort(tmp_path / "c", tiny.cohort.organs, (Case("one", "p", str(series), cells),)).save()
    with at_desk(tmp_path / "c", lambda _: None) as desk:
        heads = {pair.organ: head for pair, head in desk.ledger.heads().items()}

        def asked(key: str) -> Asked:
            return Asked("anna", uuid.uuid4().hex, heads[key].number if key in heads else 0, key)

        less = desk.mask(heads["spleen"], "one").array.copy(order="F")
        less[tuple(np.argwhere(less)[0])] = 0
        new = np.zeros_like(less, order="F")
        new[tuple(np.argwhere((less == 0) & (desk.mask(heads["liver"], "one").array == 0))[0])] = 1
        answers = [
            desk.decide(asked("liver"), Pair("one", "liver"), Decision.ACCEPT, Remark()),
            desk.correct(asked("spleen"), Pair("one", "spleen"), Mask.of(less, less.shape), Remark()),
            desk.correct(asked("stomach"), Pair("one", "stomach"), Mask.of(new, new.shape), Remark()),
        ]
    assert [answer.status for answer in answers] == [200] * 3, answers
    export(Cohort.open(tmp_path / "c"), "dicom", ExportRequest(tmp_path / "out"))
    (file,) = (tmp_path / "out").rglob(NAME)
    segments = pydicom.dcmread(file).SegmentSequence
    told = {segment.TrackingID.removeprefix("smiler:"): segment.SegmentAlgorithmType for segment in segments}
    assert told == {"liver": "AUTOMATIC", "spleen": "SEMIAUTOMATIC", "stomach": "MANUAL"}
