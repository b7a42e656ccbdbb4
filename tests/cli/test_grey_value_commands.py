"""One CT of four is not in HU: every command that uses its grey values asks, and an option goes on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from smiler.domain.cohort import Cohort

Smiler = Callable[..., Any]
ASKED = (
    "the grey values are not HU",
    "values from 0 to 1",
    "soft tissue from -100 to 200",
    "for MR, train with data.normalisation = zscore",
)
ODD = "phantom002"


@pytest.fixture
def mixed(world: Any, tmp_path: Path) -> Path:
    """Three CT in HU; one from 0 to 1."""
    shutil.copytree(world.phantom, tmp_path / "mixed", ignore=shutil.ignore_patterns(".*"))
    path = Cohort.open(tmp_path / "mixed").image_path(Cohort.open(tmp_path / "mixed").case(ODD))
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.clip((image.get_fdata() + 160) / 400, 0, 1).astype(np.float32), image.affine), path)
    return tmp_path / "mixed"


def asks(result: Any, code: int = 2) -> None:
    words = " ".join((result.err + result.out).split())
    assert result.code == code, words
    assert "Traceback" not in words
    for text in (ODD, *ASKED):
        assert text in words


@pytest.mark.parametrize("deep", [[], ["--deep"]])
def test_audit_lists_the_one_case_as_a_fault(smiler: Smiler, mixed: Path, deep: list[str]) -> None:
    result = smiler("audit", mixed, "--json", *deep)
    asks(result, code=1)
    found = json.loads(result.out)
    (fault,) = found["faults"]
    assert fault.startswith(f"case {ODD}, image, file images/{ODD}.nii.gz: the grey values are not HU")
    assert all(
        found["voxels"][organ]["positive"] for organ in ("liver", "spleen")
    )  # its masks are audited all the same


def test_audit_tells_it_as_a_note_where_any_values_are_taken(smiler: Smiler, mixed: Path) -> None:
    result = smiler("audit", mixed, "--json", "--set", "reading.grey_values=any")
    assert result.code == 0, result.err
    assert [note for note in json.loads(result.out)["notes"] if ODD in note and "values from 0 to 1" in note]


def test_train_refuses_it_before_anything_is_computed(
    smiler: Smiler, quick_training: Callable[..., list[str]], mixed: Path, tmp_path: Path
) -> None:
    asks(smiler("train", mixed, tmp_path / "run", "--method", "smile", *quick_training()))
    assert not (tmp_path / "run" / "recipe.toml").exists()
    words = quick_training("--set", "reading.grey_values=any")
    result = smiler("train", mixed, tmp_path / "run", "--method", "smile", *words)
    assert result.code == 0, result.err
    told = json.loads((tmp_path / "run" / "provenance.json").read_text())["facts"]["notes"]
    assert list(told) == [ODD]
    assert any("not HU (values from 0 to 1" in note for note in told[ODD])
    assert "not HU (values from 0 to 1" in " ".join(result.err.split())


def test_a_cache_of_an_earlier_version_does_not_hide_it(
    smiler: Smiler, quick_training: Callable[..., list[str]], mixed: Path, tmp_path: Path
) -> None:
    """It was built when nobody asked: the same keys, and no notes beside the arrays."""
    cache = tmp_path / "cache"
    words = quick_training("--cache", str(cache))
    assert smiler("train", mixed, tmp_path / "a", "-m", "smile", *words, "-s", "reading.grey_values=any").code == 0
    asks(smiler("train", mixed, tmp_path / "b", "-m", "smile", *words))


@pytest.mark.parametrize("verb", ["predict", "relabel", "evaluate"])
def test_using_a_network_asks_too(smiler: Smiler, world: Any, mixed: Path, tmp_path: Path, verb: str) -> None:
    out = tmp_path / "out"
    words = {
        "predict": ["predict", world.run, mixed, "--out", out],
        "relabel": ["relabel", world.run, emptied(mixed), out],
        "evaluate": ["evaluate", world.run, mixed, "--out", out],
    }[verb]
    asks(smiler(*words))
    assert not list(out.glob(f"**/*{ODD}*/*")), "nothing was written of it"
    done = smiler(*words, "--any-grey-values")
    assert done.code == 0, done.err
    about = {"predict": out / ODD / "provenance.json", "relabel": out / "completed" / f"{ODD}.liver.json"}.get(verb)
    if about:
        notes = json.loads(about.read_text())["facts"]["notes"]
        assert any("not HU (values from 0 to 1" in note for note in notes)


def emptied(cohort: Path) -> Path:
    """With one cell that relabelling may fill."""
    table = cohort / "cases.csv"
    rows = table.read_text().splitlines()
    column = rows[0].split(",").index("liver")
    lines = [row.split(",") for row in rows]
    for line in lines:
        if line[0] == ODD:
            line[column] = ""
    table.write_text("".join(",".join(line) + "\n" for line in lines))
    return cohort


def test_mr_is_trained_on_and_predicted_whatever_its_scale(
    smiler: Callable[..., Any], quick_training: Callable[..., list[str]], world: Any, tmp_path: Path
) -> None:
    """MR-like contrast: bone and air dark, fat bright; each volume with a gain of its own."""
    shutil.copytree(world.phantom, tmp_path / "mr", ignore=shutil.ignore_patterns(".*"))
    cohort = Cohort.open(tmp_path / "mr")
    for number, case in enumerate(cohort):
        path = cohort.image_path(case)
        image = nib.load(path)
        signal = np.interp(image.get_fdata(), [-1000, -300, -100, 0, 100, 200, 1000], [0, 40, 900, 300, 520, 200, 20])
        nib.save(nib.Nifti1Image((signal * (1 + number)).astype(np.int16), image.affine), path)
        again = tmp_path / f"again{number}.nii.gz"
        nib.save(nib.Nifti1Image((signal * (1 + number) * 2 + 100).astype(np.int16), image.affine), again)
    refused = smiler("train", cohort.folder, tmp_path / "ct", "--method", "smile", *quick_training())
    assert refused.code == 2
    assert "data.normalisation = zscore" in " ".join(refused.err.split())
    run, masks = tmp_path / "run", tmp_path / "masks"
    options = [
        *quick_training(),
        *["--set", "data.normalisation=zscore", "--set", "training.prior=0.4", "--steps", "30"],
    ]
    assert smiler("train", cohort.folder, run, "--method", "smile", *options).code == 0
    given = cohort.image_path(cohort.cases[0])
    result = smiler("predict", run, given, tmp_path / "again0.nii.gz", "--out", masks, "--probabilities")
    assert result.code == 0, result.err
    maps = sorted(masks.glob("*/liver_probability.nii.gz"))
    one, other = (nib.load(path).get_fdata() for path in maps)
    assert np.ptp(one) > 0.1
    np.testing.assert_allclose(one, other, atol=0.1 * np.ptp(one))
