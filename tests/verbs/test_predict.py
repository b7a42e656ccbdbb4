"""Predict: masks on each file's own grid, whatever its axes; what is finished is not done again."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import label

from smiler.domain.errors import BadInput
from smiler.domain.locks import writing
from smiler.domain.organs import Organ, OrganSet
from smiler.prediction.options import PredictionOptions
from smiler.verbs.predict import PredictRequest, named_images, predict

KEYS = ("liver", "liver_tumor", "spleen", "stomach")


def load(path: Path) -> Any:
    image: Any = nib.load(path)
    return image


def voxels(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(load(path).dataobj)
    return array


def canonical(path: Path) -> NDArray[Any]:
    image: Any = nib.as_closest_canonical(load(path))
    array: NDArray[Any] = np.asarray(image.dataobj)
    return array


def reoriented(source: Path, codes: str, out: Path) -> Path:
    image = load(source)
    own = nib.io_orientation(image.affine)
    turn = nib.orientations.ornt_transform(own, nib.orientations.axcodes2ornt(tuple(codes)))
    out.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image.as_reoriented(turn), out)
    return out


@pytest.fixture(scope="module")
def expected(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masks and probabilities of the first case."""
    out = tmp_path_factory.mktemp("expected")
    predict(tiny.model, [tiny.image], PredictRequest(out, probabilities=True))
    return out / "case0"


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPI", "SPL", "ASR", "LPS"])
def test_masks_lie_on_the_files_own_grid_and_hold_the_same_voxels(
    tiny: Any, expected: Path, tmp_path: Path, codes: str
) -> None:
    image = reoriented(tiny.image, codes, tmp_path / "ct.nii.gz")
    assert nib.aff2axcodes(load(image).affine) == tuple(codes)
    predict(tiny.model, [image], PredictRequest(tmp_path / "out", probabilities=True))
    for key in KEYS:
        for name in (f"{key}.nii.gz", f"{key}_probability.nii.gz"):
            mask, source = load(tmp_path / "out" / "ct" / name), load(image)
            assert mask.shape == source.shape
            np.testing.assert_array_equal(mask.affine, source.affine)
            np.testing.assert_array_equal(canonical(tmp_path / "out" / "ct" / name), canonical(expected / name))


def test_a_turned_gantry_keeps_its_affine_to_the_last_bit(tiny: Any, expected: Path, tmp_path: Path) -> None:
    source = load(tiny.image)
    turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.05, -0.08), (3.3, -70.1, 12.0))
    image = nib.Nifti1Image(np.asarray(source.dataobj), turn @ source.affine)
    image.set_qform(None)
    nib.save(image, tmp_path / "turned.nii.gz")
    predict(tiny.model, [tmp_path / "turned.nii.gz"], PredictRequest(tmp_path))
    for key in KEYS:
        mask = load(tmp_path / "turned" / f"{key}.nii.gz")
        np.testing.assert_array_equal(mask.affine, load(tmp_path / "turned.nii.gz").affine)
        np.testing.assert_array_equal(np.asarray(mask.dataobj), voxels(expected / f"{key}.nii.gz"))


def test_masks_are_zeros_and_ones_not_empty_and_exclusive_organs_share_no_voxel(expected: Path) -> None:
    masks = {key: voxels(expected / f"{key}.nii.gz") for key in KEYS}
    for mask in masks.values():
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 1}
    assert not (masks["liver"] & masks["spleen"]).any()
    assert not (masks["liver_tumor"] & masks["spleen"]).any()
    assert not (masks["stomach"] & (masks["spleen"] | masks["liver"])).any()


def test_probabilities_lie_between_0_and_1_and_above_one_half_where_an_organ_is_predicted(expected: Path) -> None:
    for key in KEYS:
        probability = np.asarray(load(expected / f"{key}_probability.nii.gz").get_fdata(), dtype=np.float64)
        assert probability.min() >= 0
        assert probability.max() <= 1
        inside = voxels(expected / f"{key}.nii.gz") > 0
        assert probability[inside].min() >= 0.5 - 2 / 255
        assert np.unique(probability).size > 2


def test_volumes_are_voxels_times_their_size(tiny: Any, tmp_path: Path) -> None:
    done = predict(tiny.model, [tiny.cohort.folder], PredictRequest(tmp_path))
    rows = list(csv.DictReader((tmp_path / "volumes.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["case"] for row in rows] == [row.name for row in done] == ["case0", "case1", "case2", "case3"]
    assert list(rows[0]) == ["case", *(f"{key}_ml" for key in KEYS)]
    for row, result in zip(rows, done, strict=True):
        for key in KEYS:
            mask = load(tmp_path / row["case"] / f"{key}.nii.gz")
            ml = np.asarray(mask.dataobj).sum() * abs(np.linalg.det(mask.affine[:3, :3])) / 1000
            assert float(row[f"{key}_ml"]) == result.volumes_ml[key] == pytest.approx(ml, abs=2e-3)


def test_provenance_names_image_model_and_organs(tiny: Any, expected: Path) -> None:
    about = json.loads((expected / "provenance.json").read_text(encoding="utf-8"))
    assert about["made_by"] == "predict"
    assert about["parents"]["model"] == tiny.model.made_by
    assert len(about["parents"]["image"]) == 64
    assert about["facts"]["organs"] == list(KEYS)


def test_a_label_map_holds_every_organ_and_a_part_over_its_whole(tiny: Any, expected: Path, tmp_path: Path) -> None:
    predict(tiny.model, [tiny.image], PredictRequest(tmp_path, labelmap=True))
    labels = voxels(tmp_path / "case0.nii.gz")
    names = json.loads((tmp_path / "labels.json").read_text(encoding="utf-8"))
    assert names == {key: value for value, key in enumerate(KEYS, start=1)}
    masks = {key: voxels(expected / f"{key}.nii.gz") > 0 for key in KEYS}
    np.testing.assert_array_equal(labels == names["liver_tumor"], masks["liver_tumor"])
    np.testing.assert_array_equal(labels == names["liver"], masks["liver"] & ~masks["liver_tumor"])
    np.testing.assert_array_equal(labels == names["spleen"], masks["spleen"])
    np.testing.assert_array_equal(labels > 0, np.any(list(masks.values()), axis=0))
    assert not (tmp_path / "case0" / "liver.nii.gz").exists()


def test_the_largest_piece_of_each_organ_is_one_piece_of_it(tiny: Any, expected: Path, tmp_path: Path) -> None:
    options = PredictionOptions(largest_component=True)
    predict(tiny.model, [tiny.image], PredictRequest(tmp_path, options=options))
    for key in KEYS:
        whole, largest = voxels(expected / f"{key}.nii.gz"), voxels(tmp_path / "case0" / f"{key}.nii.gz")
        pieces, _ = label(whole, np.ones((3, 3, 3)))
        assert (largest <= whole).all()
        assert label(largest, np.ones((3, 3, 3)))[1] == 1
        assert largest.sum() == np.bincount(pieces.ravel())[1:].max()


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_batch_size_changes_speed_and_not_masks(tiny: Any, expected: Path, tmp_path: Path, batch: int) -> None:
    predict(tiny.model, [tiny.image], PredictRequest(tmp_path, options=PredictionOptions(batch_size=batch)))
    different = sum(
        int((voxels(tmp_path / "case0" / f"{key}.nii.gz") != voxels(expected / f"{key}.nii.gz")).sum()) for key in KEYS
    )
    assert different <= 4  # scores of ties at 0 may round to either side


def times(folder: Path) -> dict[str, int]:
    found = sorted(folder.rglob("*.nii.gz"))
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in found}


def test_finished_images_are_not_done_again_and_changed_options_are(tiny: Any, tmp_path: Path) -> None:
    request = PredictRequest(tmp_path)
    first = predict(tiny.model, [tiny.image], request)
    before = times(tmp_path)
    assert len(before) == len(KEYS)
    assert predict(tiny.model, [tiny.image], request) == first
    assert times(tmp_path) == before

    predict(tiny.model, [tiny.image], replace(request, options=PredictionOptions(largest_component=True)))
    again = times(tmp_path)
    assert all(again[name] != before[name] for name in before)

    predict(replace(tiny.model, made_by="another model"), [tiny.image], request)
    assert all(times(tmp_path)[name] != again[name] for name in before)


def test_a_mask_that_was_deleted_or_an_image_that_changed_is_done_again(tiny: Any, tmp_path: Path) -> None:
    image = reoriented(tiny.image, "LAS", tmp_path / "ct.nii.gz")
    request = PredictRequest(tmp_path / "out")
    predict(tiny.model, [image], request)
    (tmp_path / "out" / "ct" / "spleen.nii.gz").unlink()
    predict(tiny.model, [image], request)
    before = times(tmp_path / "out")
    assert len(before) == len(KEYS)
    reoriented(tiny.image, "RAS", image)
    predict(tiny.model, [image], request)
    assert all(times(tmp_path / "out")[name] != before[name] for name in before)
    assert load(tmp_path / "out" / "ct" / "spleen.nii.gz").affine.tolist() == load(image).affine.tolist()


def test_a_prediction_that_stopped_half_way_is_done_again(tiny: Any, tmp_path: Path) -> None:
    request = PredictRequest(tmp_path)
    predict(tiny.model, [tiny.image], request)
    (tmp_path / "case0" / "stomach.nii.gz").unlink()
    (tmp_path / "case0" / "stomach.nii.gz").mkdir()  # this mask can't be written
    other = replace(request, options=PredictionOptions(largest_component=True))
    with pytest.raises(BadInput, match=r"stomach\.nii\.gz: cannot write the file"):
        predict(tiny.model, [tiny.image], other)
    assert not (tmp_path / "case0" / "provenance.json").exists()


def test_only_some_organs(tiny: Any, expected: Path, tmp_path: Path) -> None:
    predict(tiny.model, [tiny.image], PredictRequest(tmp_path, organs=("spleen",), probabilities=True))
    assert {path.name for path in (tmp_path / "case0").iterdir()} == {
        "spleen.nii.gz",
        "spleen_probability.nii.gz",
        "provenance.json",
    }
    np.testing.assert_array_equal(voxels(tmp_path / "case0" / "spleen.nii.gz"), voxels(expected / "spleen.nii.gz"))


def test_an_unknown_organ_is_refused_before_anything_is_written(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no such organ; got 'heart'.*choose among liver, liver_tumor, spleen, stomach"):
        predict(tiny.model, [tiny.image], PredictRequest(tmp_path / "out", organs=("heart",)))
    assert not (tmp_path / "out").exists()


def test_two_images_of_one_name_are_refused_before_anything_is_written(tiny: Any, tmp_path: Path) -> None:
    other = reoriented(tiny.image, "RAS", tmp_path / "other" / "case0.nii.gz")
    with pytest.raises(BadInput, match=r"other/case0\.nii\.gz: two images have the same name.*images/case0\.nii\.gz"):
        predict(tiny.model, [tiny.cohort.folder, other], PredictRequest(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_cohort_and_a_missing_file_are_refused(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither an image nor a cohort"):
        predict(tiny.model, [tmp_path], PredictRequest(tmp_path / "out"))
    with pytest.raises(BadInput, match=r"gone\.nii\.gz"):
        predict(tiny.model, [tmp_path / "gone.nii.gz"], PredictRequest(tmp_path / "out"))


@pytest.mark.parametrize("name", [".nii.gz", "..nii.gz", "...nii.gz", "..nii"])
def test_a_name_that_would_lead_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="the file's name can't name a folder"):
        named_images([tmp_path / name])


def test_masks_of_an_earlier_prediction_do_not_stay_beside_new_ones(tiny: Any, tmp_path: Path) -> None:
    predict(tiny.model, [tiny.image], PredictRequest(tmp_path, probabilities=True))
    folder = tmp_path / tiny.image.name.removesuffix(".nii.gz")
    (folder / "mine.txt").write_text("kept")
    predict(tiny.model, [tiny.image], PredictRequest(tmp_path, organs=("liver",)))
    assert {path.name for path in folder.iterdir()} == {"liver.nii.gz", "provenance.json", "mine.txt"}


def test_a_file_where_the_masks_folder_should_be_is_told_in_a_sentence(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "case0").write_text("mine")
    with pytest.raises(BadInput, match=r"case0.*cannot write the file \(Not a directory\)|case0.*Not a directory"):
        predict(tiny.model, [tiny.image], PredictRequest(tmp_path))
    assert (tmp_path / "case0").read_text() == "mine"


# --- two predictions into one folder, and names that meet


def test_a_second_prediction_into_the_folder_is_refused_while_the_first_writes(tiny: Any, tmp_path: Path) -> None:
    with writing(tmp_path), pytest.raises(BadInput, match="another process is writing here"):
        predict(tiny.model, [tiny.image], PredictRequest(tmp_path))
    assert not (tmp_path / "case0").exists()


@pytest.mark.parametrize("name", ["volumes.csv", "Volumes.CSV", "labels.json", "scores.csv"])
def test_an_image_called_like_a_table_is_refused_before_anything_is_computed(
    tiny: Any, tmp_path: Path, name: str
) -> None:
    image = tmp_path / f"{name}.nii.gz"
    shutil.copy(tiny.image, image)
    with pytest.raises(BadInput, match=rf"{name}\.nii\.gz: the image's folder would have the name of a file"):
        predict(tiny.model, [image], PredictRequest(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_image_called_like_anothers_label_map_is_refused(tiny: Any, tmp_path: Path) -> None:
    images = [tmp_path / "a.nii.gz", tmp_path / "a.nii.gz.nii.gz"]
    for image in images:
        shutil.copy(tiny.image, image)
    with pytest.raises(BadInput, match=r"got 'a\.nii\.gz', as the label map of 'a'"):
        predict(tiny.model, images, PredictRequest(tmp_path / "out", labelmap=True))
    assert len(predict(tiny.model, images, PredictRequest(tmp_path / "out"))) == 2


def test_names_that_differ_by_capitals_alone_are_one_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="two images have the same name"):
        named_images([tmp_path / "p1.nii.gz", tmp_path / "P1.nii.gz"])


def test_an_organ_called_like_a_probability_map_keeps_its_mask(tiny: Any, tmp_path: Path) -> None:
    organs = OrganSet((Organ("liver"), Organ("liver_probability"), Organ("spleen"), Organ("stomach")))
    model = replace(tiny.model, facts=replace(tiny.model.facts, organs=organs))
    predict(model, [tiny.image], PredictRequest(tmp_path / "all", probabilities=True))
    predict(model, [tiny.image], PredictRequest(tmp_path / "masks"))
    assert (tmp_path / "all" / "case0" / "liver-probability.nii.gz").exists()
    for key in organs.keys:
        one, other = (voxels(tmp_path / name / "case0" / f"{key}.nii.gz") for name in ("all", "masks"))
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("image", "labelmap"), [("out/a.nii.gz", True), ("out/a/liver.nii.gz", False)])
def test_an_image_is_never_written_over(tiny: Any, tmp_path: Path, image: str, labelmap: bool) -> None:
    path, other = tmp_path / image, tmp_path / "a.nii.gz"
    path.parent.mkdir(parents=True)
    shutil.copy(tiny.image, path)
    shutil.copy(tiny.image, other)
    before = path.read_bytes()
    images = [path] if labelmap else [path, other]
    with pytest.raises(BadInput, match="the masks would take the image's place"):
        predict(tiny.model, images, PredictRequest(tmp_path / "out", labelmap=labelmap))
    assert path.read_bytes() == before


def test_masks_that_no_prediction_wrote_are_never_written_over(tiny: Any, tmp_path: Path) -> None:
    drawn = tmp_path / "case0" / "spleen.nii.gz"
    drawn.parent.mkdir()
    drawn.write_bytes(b"an expert's")
    with pytest.raises(BadInput, match=r"spleen\.nii\.gz: a file lies there that no prediction wrote"):
        predict(tiny.model, [tiny.image], PredictRequest(tmp_path))
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()] == [
        "case0/spleen.nii.gz"
    ]
    assert drawn.read_bytes() == b"an expert's"


def test_a_label_map_of_an_earlier_model_does_not_stay_beside_new_masks(tiny: Any, tmp_path: Path) -> None:
    predict(tiny.model, [tiny.image], PredictRequest(tmp_path, labelmap=True))
    (tmp_path / "case1.nii.gz").write_bytes(b"somebody's")
    other = replace(tiny.model, made_by="another model")
    predict(other, [tiny.image, tiny.cohort.image_path(tiny.cohort.case("case1"))], PredictRequest(tmp_path))
    assert not (tmp_path / "case0.nii.gz").exists()
    assert (tmp_path / "case1.nii.gz").read_bytes() == b"somebody's"
