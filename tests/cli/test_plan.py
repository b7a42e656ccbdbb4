"""`smiler plan` and what `smiler train` makes of it, driven as a user does."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import TINY

from smiler.domain.cohort import Cohort
from smiler.formats.volumes import read_header, read_labels
from smiler.planning.survey import survey

Smiler = Callable[..., Any]
FREE = [c for c in TINY if not c.startswith(("data.", "network.context", "sampling.patch"))]
OPTIONS = [word for change in FREE for word in ("--set", change)]


@pytest.fixture(scope="module")
def cohort(smiler: Smiler, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four coarse phantoms."""
    folder = tmp_path_factory.mktemp("plan") / "cohort"
    assert smiler("phantom", folder, "--cases", "4", "--size", "8x32x32").code == 0
    return folder


def recipe(run: Path) -> dict[str, Any]:
    return tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))


def test_the_survey_is_what_the_files_measure(cohort: Path) -> None:
    """Against boxes found voxel by voxel in the mask files."""
    opened = Cohort.open(cohort)
    found = survey(opened)
    for key, rows in found.extents_mm.items():
        expected = []
        for case in opened:
            if not case.cell(key).path:
                continue
            grid = read_header(opened.image_path(case)).geometry
            labels = read_labels(opened.mask_path(case, key)).codes
            mask = labels > 0 if not case.cell(key).labels else np.isin(labels, case.cell(key).labels)
            places = np.argwhere(mask)
            if len(places):
                expected.append((places.max(axis=0) - places.min(axis=0) + 1) * np.array(grid.spacing))
        np.testing.assert_allclose(rows, expected)
    assert found.spacing_mm.shape == (4, 3)


def test_a_plan_says_why_and_training_begins_with_it(smiler: Smiler, cohort: Path, tmp_path: Path) -> None:
    result = smiler("plan", cohort, "--json", "--method", "smile", *OPTIONS, "--time-budget", "5")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    rows = {row["option"]: row for row in told["choices"]}
    assert rows["data.spacing_xy_mm"]["value"] == "native"
    assert "coarse already" in rows["data.spacing_xy_mm"]["why"]
    assert told["steps"] == rows["training.steps"]["value"] >= 1
    assert 0.2 < told["memory_gb"] < 4
    assert told["minutes"] <= 5.01
    plan = cohort / "plan.toml"
    refused = smiler("plan", cohort)
    assert refused.code == 2
    assert "may have been edited" in " ".join(refused.err.split())
    plan.write_text(plan.read_text(encoding="utf-8").replace("context = 0", "context = 2"), encoding="utf-8")
    try:
        given = ["--method", "smile", "--steps", "2", *OPTIONS, "--set", "sampling.patch_size=32"]
        result = smiler("train", cohort, tmp_path / "run", *given)
        assert result.code == 0, result.err
        made = recipe(tmp_path / "run")
        assert made["network"]["context"] == 2
        assert made["sampling"]["patch_size"] == 32
        assert made["training"]["steps"] == 2
        assert "planned by" in " ".join(result.err.split())
        deep = smiler(
            "train", cohort, tmp_path / "deep", *given, "-s", "network.name=deeplab", "-s", "network.context=0"
        )
        assert "is for the network unet, not for deeplab" in " ".join(deep.err.split())
        plan.write_text("[network]\nwidht = 8\n", encoding="utf-8")
        odd = smiler("train", cohort, tmp_path / "odd", *given)
        assert odd.code == 2
        assert "did you mean 'width'?" in " ".join(odd.err.split())
        assert "plan.toml: network.widht" in "".join(odd.err.splitlines())
    finally:
        plan.unlink()


def test_without_a_plan_file_the_data_choose_and_no_plan_is_the_methods_own(
    smiler: Smiler, cohort: Path, tmp_path: Path
) -> None:
    words = ["--method", "smile", "--steps", "1", *OPTIONS, "--set", "sampling.patch_size=32"]
    planned = smiler("train", cohort, tmp_path / "planned", *words)
    assert planned.code == 0, planned.err
    assert "data.spacing_xy_mm=" in "".join(planned.err.split())
    assert recipe(tmp_path / "planned")["data"]["spacing_xy_mm"] == "native"
    assert smiler("train", cohort, tmp_path / "own", *words, "--no-plan").code == 0
    assert recipe(tmp_path / "own")["data"]["spacing_xy_mm"] == 1.5


def test_no_cohort_is_one_clear_error(smiler: Smiler, tmp_path: Path) -> None:
    result = smiler("plan", tmp_path, "--json")
    assert result.code == 2
    assert "not a cohort" in " ".join(result.err.split())
