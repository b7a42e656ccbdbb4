"""What can fail at the end of a prediction is tried before the beginning: nothing is computed in vain."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pydicom.dataset import Dataset

from smiler.domain.errors import BadInput
from smiler.domain.progress import Silent
from smiler.formats.volumes import ReadOptions, read_ct
from smiler.verbs.model_at import ModelAt
from smiler.verbs.predict import KINDS, PredictRequest, predict

sys.path.insert(0, str(Path(__file__).parents[1] / "formats"))
from dicom_files import Slices

T = TypeVar("T")


class NothingComputed(Silent):
    """Fails where a prediction begins."""

    def track(self, items: Iterable[T], title: str, total: int) -> Iterator[T]:
        raise AssertionError(f"{title} began")


def series(tiny: Any, folder: Path, mend: Any = None) -> Path:
    return Slices(read_ct(tiny.image).hu, mend=mend).write(folder)


def tilted(k: int, ds: Dataset) -> None:
    ds.ImagePositionPatient[1] += k


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
def test_masks_that_can_not_be_written_are_found_before_the_first_image(tiny: Any, tmp_path: Path, kind: str) -> None:
    images = [series(tiny, tmp_path / "good"), series(tiny, tmp_path / "tilted", tilted)]
    request = PredictRequest(tmp_path / "out", kinds=(kind,), reading=ReadOptions(detilt=True))
    with pytest.raises(BadInput, match=r"tilted: a tilted series has no grid for .*write NIfTI"):
        predict(tiny.model, images, request, NothingComputed())
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_all_series_that_fail_are_told_at_once(tiny: Any, tmp_path: Path) -> None:
    images = [series(tiny, tmp_path / name, tilted) for name in ("one", "two")]
    request = PredictRequest(tmp_path / "out", kinds=("dicom-seg",), reading=ReadOptions(detilt=True))
    with pytest.raises(BadInput) as caught:
        predict(tiny.model, images, request, NothingComputed())
    assert {Path(line.split(":")[0]).name for line in str(caught.value).splitlines()} == {"one", "two"}


def japanese(k: int, ds: Dataset) -> None:
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    ds.PatientName, ds.PatientID = "Yamada^Tarou=山田^太郎=やまだ^たろう", "J 1"


def test_a_japanese_series_gets_its_masks(tiny: Any, tmp_path: Path) -> None:
    folder = series(tiny, tmp_path / "jis", japanese)
    (done,) = predict(tiny.model, [folder], PredictRequest(tmp_path / "out", kinds=("dicom-seg", "rtstruct")))
    assert done.name == "jis"
    assert all((tmp_path / "out" / "jis" / KINDS[kind]).exists() for kind in ("dicom-seg", "rtstruct"))


def test_a_folder_that_can_not_be_written_is_found_before_the_first_image(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"file/out: cannot write the file"):
        predict(tiny.model, [tiny.image], PredictRequest(tmp_path / "file" / "out"), NothingComputed())


def test_a_missing_engine_is_found_when_the_model_is(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BadInput, match="the engine needs ONNX Runtime"):
        ModelAt.find(tiny.run, "cpu", engine="onnx")
    with pytest.raises(BadInput, match="no such engine"):
        ModelAt.find(tiny.run, "cpu", engine="quick")
