"""What lies at a path that a command can't use, and the command that comes next."""

import os
from pathlib import Path

import pytest

from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.signpost import signpost


def touch(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


THERE = {
    "a run": (["recipe.toml"], "run", "a run of smiler", "smiler predict {} IMAGE --out MASKS"),
    "a sweep": (["sweep.json"], "results", "a sweep of smiler", "smiler report {}"),
    "nnU-Net": (["dataset.json"], "data", "a data set of nnU-Net or the Decathlon", "smiler import {} my-cohort"),
    "nnUNet_raw": (["Dataset001_X/dataset.json"], "data", "a data set of nnU-Net", "smiler import {} my-cohort"),
    "an export": (["smiler.json"], "data", "an export of smiler", "smiler import {} my-cohort"),
    "masks": (["images/a.nii", "masks/liver/a.nii"], "data", "images and masks", "my-cohort --format folder"),
    "labels": (["images/a.nii", "labels/a.nii"], "data", "images and masks", "smiler import {} my-cohort"),
    "volumes": (["x/b.NRRD", "x/c.nii"], "volumes", "a folder of volumes, such as x/b.NRRD", "--mask ORGAN=MASKS"),
    "CT alone": (["a.nii.gz"], "volumes", "a folder of volumes", "without masks: smiler predict RUN {}/a.nii.gz"),
    "DICOM": (["s/1.dcm"], "dicom", "a folder of DICOM files", "smiler import {} my-cohort, or smiler predict RUN {}"),
    "above a cohort": (["c/cohort.toml"], "other", "a folder above a cohort of smiler", "give {}/c"),
    "above a run": (["r/recipe.toml"], "other", "a folder above a run of smiler", "give {}/r"),
    "text": (["notes.txt"], "other", "a folder of other files, such as notes.txt", ""),
    "nothing": ([], "empty", "an empty folder", "smiler import SOURCE {} makes a cohort there"),
}


@pytest.mark.parametrize("name", THERE)
def test_a_path_that_is_no_cohort_says_what_it_is_and_what_to_do(name: str, tmp_path: Path) -> None:
    files, kind, what, do = THERE[name]
    folder = tmp_path / "it"
    folder.mkdir()
    for file in files:
        touch(folder / file)
    found = signpost(folder)
    assert (found.kind, what in found.what, do.replace("{}", str(folder)) in found.do) == (kind, True, True), found
    with pytest.raises(BadInput) as caught:
        Cohort.open(folder)
    text = str(caught.value)
    assert text.startswith(f"{folder}/cohort.toml: not a cohort: the file does not exist")
    assert kind == "other" or (what in text and do.replace("{}", str(folder)) in text)


def test_a_missing_folder_is_said_with_a_near_name(tmp_path: Path) -> None:
    (tmp_path / "my-cohort").mkdir()
    with pytest.raises(BadInput) as caught:
        Cohort.open(tmp_path / "my-cohrt")
    assert f"got there is nothing; do: did you mean {tmp_path / 'my-cohort'}?" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "what", "do"),
    [
        ("ct.nii.gz", "a file with one volume", "smiler predict RUN {} --out MASKS"),
        ("cases.csv", "a file of a cohort", "give its folder, {parent}"),
        ("recipe.toml", "a file of a run", "give its folder, {parent}"),
        ("scans.ZIP", "a zip file or a DICOM file", "smiler import {} my-cohort where it holds DICOM; else unpack"),
        ("notes.txt", "a file", "give a folder"),
    ],
)
def test_a_file_where_a_folder_is_wanted_is_said(name: str, what: str, do: str, tmp_path: Path) -> None:
    path = touch(tmp_path / name)
    with pytest.raises(BadInput) as caught:
        Cohort.open(path)
    assert f"got {what}; do: {do.replace('{parent}', str(tmp_path)).replace('{}', str(path))}" in str(caught.value)


def test_a_pipe_among_files_is_not_waited_for_and_a_blank_is_quoted(tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    assert signpost(folder).kind == "other"
    touch(folder / "dataset.json")
    assert f"smiler import '{folder}' my-cohort" in signpost(folder).do
