"""The rules: from what a cohort measures to working grid, patch, context and batch, each choice with its reason."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tomli_w

from smiler.planning.survey import Survey
from smiler.recipe.recipe import Recipe

USUAL_MM, COARSE_MM = 1.5, 1.25
"""In-plane spacing of the working grid for finer CT; CT of voxels above COARSE_MM stay as they are."""
LEAST_VOXELS = 8
"""Across the smallest organ, on the working grid."""
MARGIN = 1.25
"""A patch is about so much larger than all organs together: it shows what lies beside them."""
PATCHES, DEPTHS = (64, 256), (16, 48)
"""Least and greatest patch, in voxels."""
NEAR_MM, MOST_CONTEXT = 6.0, 2
"""How far away a slice still shows the same anatomy. Two slices on each side beat one on head-and-neck CT of 2.5 mm by
0.8 Dice (results/recipes)."""
ALIKE = 1.3
"""Voxel sizes within this ratio count as one."""


@dataclass(frozen=True)
class Choice:
    """One option of the recipe, its value, and why."""

    option: str
    value: Any
    reason: str

    @property
    def change(self) -> str:
        """As `--set` takes it."""
        return f"{self.option}={tomli_w.dumps({'v': self.value}).removeprefix('v = ').strip()}"


def choices(survey: Survey, recipe: Recipe) -> tuple[Choice, ...]:
    """What the data say about a recipe whose network is chosen. The same data, the same choices, on every machine."""
    chosen = [_in_plane(survey)]
    spacing = survey.in_plane_mm if chosen[0].value == "native" else float(chosen[0].value)
    chosen.append(_slices(survey, recipe.network.axes))
    chosen.append(_patch(survey, spacing))
    if recipe.network.axes == 3:
        depth = survey.slice_mm if chosen[1].value == "native" else float(chosen[1].value)
        chosen.append(_depth(survey, depth, recipe.network.stride))
    else:
        chosen.append(_context(survey))
    return tuple(chosen)


def _in_plane(survey: Survey) -> Choice:
    option, median = "data.spacing_xy_mm", survey.in_plane_mm
    if median >= COARSE_MM:
        sizes = survey.spacing_mm[:, 1:]
        if sizes.max() <= ALIKE * sizes.min():
            return Choice(option, "native", f"the voxels are coarse already ({median:.2f} mm) and alike in all cases")
        value = round(median, 2)
        return Choice(option, value, f"the median; voxels are {sizes.min():.2f} to {sizes.max():.2f} mm wide")
    organ, width = survey.smallest
    if width < LEAST_VOXELS * USUAL_MM:
        value = round(max(median, width / LEAST_VOXELS), 2)
        return Choice(
            option, value, f"{organ} is {width:.0f} mm wide: {LEAST_VOXELS} voxels, or the CT's own {median:.2f} mm"
        )
    return Choice(
        option, USUAL_MM, f"the CT's {median:.2f} mm are finer than the smallest organ ({organ}, {width:.0f} mm) needs"
    )


def _slices(survey: Survey, axes: int) -> Choice:
    option, sizes = "data.spacing_z_mm", survey.spacing_mm[:, 0]
    low, high = np.percentile(sizes, [10, 90])
    if axes == 2 or high <= ALIKE * low:
        why = (
            "a 2-D network works slice by slice"
            if axes == 2
            else f"slices lie {survey.slice_mm:.2g} mm apart in nearly all cases"
        )
        return Choice(option, "native", why)
    return Choice(
        option,
        round(survey.slice_mm, 2),
        f"the median; slices lie {low:.2g} to {high:.2g} mm apart, and a 3-D network wants one size",
    )


def _patch(survey: Survey, spacing: float) -> Choice:
    wanted = float(np.percentile(survey.together_mm[:, 1:].max(axis=1), 90)) * MARGIN
    image = max(survey.field_mm[1:])
    patch = _multiple(min(wanted, image) / spacing, 32, PATCHES)
    why = f"all organs together are {wanted / MARGIN:.0f} mm wide, the image {image:.0f} mm: {patch * spacing:.0f} mm"
    return Choice("sampling.patch_size", patch, why)


def _depth(survey: Survey, spacing: float, stride: int) -> Choice:
    wanted = float(np.percentile(survey.together_mm[:, 0], 90))
    step = max(16, stride)
    depth = _multiple(min(wanted, survey.field_mm[0]) / spacing, step, (step, max(step, DEPTHS[1] // step * step)))
    why = f"all organs together are {wanted:.0f} mm high: {depth * spacing:.0f} mm"
    return Choice("sampling.patch_depth", depth, why)


def _context(survey: Survey) -> Choice:
    near = min(MOST_CONTEXT, int(NEAR_MM / survey.slice_mm))
    those = f"{near} on each side lie" if near else "neighbours do not lie"
    return Choice("network.context", near, f"slices are {survey.slice_mm:.2g} mm apart: {those} within {NEAR_MM:g} mm")


def _multiple(voxels: float, step: int, limits: tuple[int, int]) -> int:
    return max(limits[0], min(limits[1], step * round(voxels / step)))
