"""What had to be decided to read a file is printed by every command that reads it, and is in --json."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "formats"))
from dicom_files import Slices

Smiler = Callable[..., Any]
PADDING = "16 bytes of padding after the last voxel ignored"


@pytest.fixture(scope="module")
def padded(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hidden cohort with padding after the first CT's voxels."""
    folder = tmp_path_factory.mktemp("padded") / "cohort"
    shutil.copytree(world.hidden, folder)
    rows = (folder / "cases.csv").read_text().replace("../../phantom", str(world.phantom)).splitlines()
    image = next(cell for cell in rows[1].split(",") if cell.endswith(".nii.gz"))
    volume: Any = nib.load(folder / image)
    (folder / "padded.nii").write_bytes(nib.Nifti1Image(volume.get_fdata(), volume.affine).to_bytes() + b"\0" * 16)
    rows[1] = rows[1].replace(image, "padded.nii", 1)
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_predict_tells_what_it_read_also_when_it_is_called_again(smiler: Smiler, world: Any, padded: Path) -> None:
    out = padded.parent / "masks"
    for _ in range(2):
        told = smiler("predict", world.run, padded / "padded.nii", "--out", out, "--device", "cpu")
        assert told.code == 0, told.err
        assert f"padded: {PADDING}" in told.err
        told = smiler("predict", world.run, padded / "padded.nii", "--out", out, "--device", "cpu", "--json")
        assert json.loads(told.out)["padded"]["notes"] == [PADDING]


def test_predict_tells_what_it_left_out_of_a_series(smiler: Smiler, world: Any, tmp_path: Path) -> None:
    hu = np.random.default_rng(0).integers(-200, 200, (8, 32, 32)).astype(np.int16)
    hu[:, :4] = -1000
    folder = Slices(hu).write(tmp_path / "series")
    (folder / "notes.txt").write_text("hello")
    shutil.copy(folder / "image_2", folder / "again")
    told = smiler("predict", world.run, folder, "--out", tmp_path / "m", "--device", "cpu")
    assert told.code == 0, told.err
    assert "series: 1 files skipped: notes.txt (not DICOM)" in told.err
    assert "series: 1 slices are there twice" in told.err


@pytest.mark.parametrize("command", ["relabel", "evaluate"])
def test_relabel_and_evaluate_tell_it_too(
    smiler: Smiler, world: Any, padded: Path, tmp_path: Path, command: str
) -> None:
    out = [tmp_path / "out"] if command == "relabel" else ["--out", tmp_path / "out"]
    first = smiler(command, world.run, padded, *out, "--device", "cpu")
    assert first.code == 0, first.err
    assert PADDING in first.err
    again = smiler(command, world.run, padded, *out, "--device", "cpu", "--json")
    assert any(PADDING in note for note in json.loads(again.out)["notes"])


def test_training_tells_it_too_also_from_the_store(
    smiler: Smiler, padded: Path, tmp_path: Path, quick_training: Callable[..., list[str]]
) -> None:
    for name in ("one", "two"):
        words = ("train", padded, tmp_path / name, "-m", "smile", "--cache", tmp_path / "cache")
        told = smiler(*words, *quick_training("--json"))
        assert told.code == 0, told.err
        assert [note for note in json.loads(told.out)["notes"] if PADDING in note] == [f"case phantom000: {PADDING}"]


def test_reading_is_chosen_for_a_prediction(smiler: Smiler, world: Any, tmp_path: Path) -> None:
    hu = np.full((8, 32, 32), 40, dtype=np.int16)
    hu[:, :8] = -1000
    folder = Slices(hu).write(tmp_path / "series")
    (folder / "image_7").write_bytes(b"")
    words = ("predict", world.run, folder, "--out", tmp_path / "m", "--device", "cpu", "--json")
    refused = smiler(*words)
    assert refused.code == 2
    assert "slices of the series are missing" in refused.err
    assert "--set reading.incomplete=accept" in refused.err
    assert not (tmp_path / "m" / "series").exists()
    told = smiler(*words, "--set", "reading.incomplete=accept")
    assert told.code == 0, told.err
    assert any("image_7" in note for note in json.loads(told.out)["series"]["notes"])
    assert nib.load(tmp_path / "m" / "series" / "liver.nii.gz").shape[2] == 7
    assert smiler(*words, "--set", "training.steps=3").code == 2
