"""The rules of a plan: what is chosen for which sizes, and that the reasons say it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smiler.planning.plan_file import write_plan
from smiler.planning.rules import choices
from smiler.planning.survey import Survey
from smiler.recipe.recipe import load_recipe, read_toml


def survey(
    spacing: tuple[float, float, float] = (2.5, 0.8, 0.8),
    shape: tuple[int, int, int] = (100, 512, 512),
    **organs: tuple[float, float, float],
) -> Survey:
    boxes = organs or {"liver": (150, 180, 200), "spleen": (100, 70, 90)}
    together = np.max(list(boxes.values()), axis=0)[None]
    rows = {key: np.array([box], dtype=np.float64) for key, box in boxes.items()}
    return Survey(("a", "b"), np.array([spacing] * 2), np.array([shape] * 2), rows, together)


def planned(sizes: Survey, *changes: str) -> dict[str, object]:
    return {choice.option: choice.value for choice in choices(sizes, load_recipe("smile", None, changes))}


def test_a_fine_abdominal_ct_goes_to_the_usual_grid() -> None:
    assert planned(survey()) == {
        "data.spacing_xy_mm": 1.5,
        "data.spacing_z_mm": "native",
        "sampling.patch_size": 160,
        "network.context": 2,
    }


def test_coarse_voxels_are_not_enlarged() -> None:
    coarse = survey((3.0, 4.0, 4.0), (80, 128, 128), parotid=(60, 50, 40), mandible=(70, 90, 110))
    assert planned(coarse)["data.spacing_xy_mm"] == "native"
    sizes = np.array([(3.0, 4.0, 4.0), (3.0, 4.0, 4.0), (3.0, 6.0, 6.0)])
    mixed = replace(coarse, spacing_mm=sizes, shape=np.array([(80, 128, 128)] * 3))
    assert planned(mixed)["data.spacing_xy_mm"] == 4.0
    assert planned(coarse)["sampling.patch_size"] == 64


def test_a_small_organ_asks_for_a_finer_grid_but_never_finer_than_the_ct() -> None:
    assert planned(survey(adrenal=(20, 8, 8)))["data.spacing_xy_mm"] == 1.0
    assert planned(survey(nerve=(20, 4, 4)))["data.spacing_xy_mm"] == 0.8


@pytest.mark.parametrize(("slices_mm", "context"), [(1.0, 2), (2.5, 2), (3.5, 1), (6.0, 1), (6.5, 0), (10.0, 0)])
def test_only_near_neighbours_are_context(slices_mm: float, context: int) -> None:
    assert planned(survey((slices_mm, 0.8, 0.8)))["network.context"] == context


def test_a_3d_network_gets_a_depth_and_one_slice_distance() -> None:
    volumetric = "network.name=unet3d"
    even = planned(survey((5.0, 0.8, 0.8)), volumetric)
    assert even == {
        "data.spacing_xy_mm": 1.5,
        "data.spacing_z_mm": "native",
        "sampling.patch_size": 160,
        "sampling.patch_depth": 32,
    }
    uneven = replace(survey(), spacing_mm=np.array([(1.0, 0.8, 0.8), (5.0, 0.8, 0.8)]))
    assert planned(uneven, volumetric)["data.spacing_z_mm"] == 3.0


def test_a_depth_suits_the_network() -> None:
    assert (
        planned(survey((5.0, 0.8, 0.8)), "network.name=swinunetr3d", "network.width=24")["sampling.patch_depth"] == 32
    )
    assert (
        planned(survey((1.0, 0.8, 0.8)), "network.name=swinunetr3d", "network.width=24")["sampling.patch_depth"] == 32
    )


def test_a_patch_is_no_larger_than_the_image() -> None:
    assert planned(survey((5.0, 1.5, 1.5), (40, 96, 96)))["sampling.patch_size"] == 96


def test_the_file_is_a_recipe_with_a_reason_on_every_line(tmp_path: Path) -> None:
    chosen = choices(survey(), load_recipe("smile"))
    write_plan(tmp_path / "plan.toml", chosen, "a title")
    recipe = load_recipe("smile", tmp_path / "plan.toml")
    assert (recipe.data.spacing_xy_mm, recipe.network.context, recipe.sampling.patch_size) == (1.5, 2, 160)
    lines = (tmp_path / "plan.toml").read_text(encoding="utf-8").splitlines()
    assert all(choice.reason in "\n".join(lines) for choice in chosen)
    assert set(read_toml(tmp_path / "plan.toml")) == {"data", "network", "sampling"}
