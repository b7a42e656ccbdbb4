"""What is painted in the browser is what the cohort holds, voxel by voxel on the image's own grid."""

import numpy as np
import pytest
import review_cohort as cohort
from review_cohort import LIVER, Stored, on_native_grid

pytestmark = pytest.mark.timeout(240)


def assert_stored(folder, case, organ, mask):
    stored, image = Stored.of(folder, case, organ), folder / f"images/{case}.nii.gz"
    assert not stored.cell.startswith("auto:")
    np.testing.assert_allclose(stored.affine(), cohort.nib.load(image).affine)
    np.testing.assert_array_equal(stored.native(), on_native_grid(mask, image))


@pytest.mark.parametrize("case", ["ras", "lps", "las"])
def test_strokes_undo_and_redo_are_stored_as_seen(tab, served, case):
    """An asymmetric drawing: a line to the right, one forwards, an erased line; one stroke undone, one redone."""
    anna = tab()
    anna.stay()
    anna.open(case, "liver")
    assert anna.voxels() == LIVER.sum()
    anna.thinnest_pen()
    anna.stroke((2, 3, 4), (6, 3, 4))
    anna.stroke((2, 4, 12), (2, 7, 12))
    anna.stroke((30, 30, 2), (34, 30, 2))
    anna.press("z", "z", "y")  # the third is gone, the second was undone and redone
    anna.press("e")
    anna.stroke((24, 20, 10), (27, 20, 10))
    expected = LIVER.copy()
    expected[2:7, 3, 4] = 1
    expected[2, 4:8, 12] = 1
    expected[24:28, 20, 10] = 0
    assert anna.voxels() == expected.sum()
    anna.save()
    assert_stored(served.folder, case, "liver", expected)
    assert anna.state()["organState"] == "corrected"


def test_threshold_brush_and_locked_organs(tab, served):
    """The threshold brush takes voxels within its range alone; a locked organ's voxels are never painted."""
    anna = tab()
    anna.stay()
    anna.open("shaped", "kidney")
    anna.press("t")
    for which, hu in (("low", cohort.LIVER_HU), ("high", cohort.SPLEEN_HU)):
        box = anna.page.locator(f'[data-range="{which}"]')
        box.fill(str(hu))
        box.press("Enter")
        box.blur()
    anna.page.get_by_label("Lock Spleen").check()
    anna.wait_for("state => state.settings.locked.includes('spleen')")
    assert anna.state()["settings"]["range"] == [cohort.LIVER_HU, cohort.SPLEEN_HU]
    anna.press(*["]"] * 2)
    anna.stroke((10, 20, 10), (26, 20, 10))
    anna.draft_stored()
    anna.save()
    j, i = np.ogrid[: cohort.SHAPE[1], : cohort.SHAPE[0]]
    reach = anna.state()["settings"]["radiusMm"]
    gap = np.clip(np.maximum(10 - i, i - 26), 0, None)
    near = ((2 * gap) ** 2 + (2 * (j - 20)) ** 2 <= reach**2).T
    expected = np.zeros(cohort.SHAPE, np.uint8)
    expected[:, :, 10] = near & (LIVER[:, :, 10] > 0)
    assert expected.sum() > 20
    assert_stored(served.folder, "shaped", "kidney", expected)


def test_interpolation_fills_the_slices_between(tab, served):
    """Two equal squares, two slices apart: the slices between are the same square, and nothing else changes."""
    anna = tab()
    anna.stay()
    anna.open("ras", "kidney")
    anna.thinnest_pen()
    expected = np.zeros(cohort.SHAPE, np.uint8)
    for k in (3, 6):
        for j in range(28, 32):
            anna.stroke((4, j, k), (8, j, k))
    expected[4:9, 28:32, 3:7] = 1
    anna.press("i")
    anna.wait_for("state => state.voxels === want.voxels", voxels=int(expected.sum()))
    anna.press("z")
    anna.wait_for("state => state.voxels === want.voxels", voxels=40)
    anna.press("y")
    anna.save()
    assert_stored(served.folder, "ras", "kidney", expected)


def test_the_wheel_moves_one_slice_and_paints_nothing(tab):
    anna = tab()
    anna.open("las", "spleen")
    anna.press("b")
    x, y = anna.point((10, 20, 10))
    anna.page.mouse.move(x, y)
    for turn, slice_shown in ((-100, 11), (-100, 12), (100, 11)):
        anna.page.mouse.wheel(0, turn)
        anna.page.wait_for_function(f"smiler.voxelAt({x}, {y})[2] === {slice_shown}")
    assert anna.state()["undoable"] == 0


def test_strokes_in_coronal_and_sagittal_slices(tab, served):
    """A voxel clicked in each of the three views is that voxel."""
    anna = tab()
    anna.stay()
    anna.open("lps", "kidney")
    anna.thinnest_pen()
    expected = np.zeros(cohort.SHAPE, np.uint8)
    for view, voxel in (("1", (3, 5, 7)), ("2", (33, 6, 15)), ("3", (36, 31, 2))):
        anna.press(view)
        anna.page.mouse.click(*anna.point(voxel))
        expected[voxel] = 1
    anna.wait_for("state => state.voxels === 3")
    anna.save()
    assert_stored(served.folder, "lps", "kidney", expected)


def within(mask, radius_mm):
    """Voxels whose centre lies no farther than this from a voxel's of the mask: each pair looked at."""
    everywhere = np.argwhere(np.ones(cohort.SHAPE)) * cohort.SPACING_MM
    far = [np.square(everywhere - voxel * np.array(cohort.SPACING_MM)).sum(axis=1) for voxel in np.argwhere(mask)]
    return (np.min(far, axis=0) <= radius_mm**2).reshape(cohort.SHAPE).astype(np.uint8)


def test_fill_largest_grow_and_shrink(tab, served):
    """A ring and a lone voxel: the ring is filled, the voxel dropped, the square grown by a voxel and shrunk again."""
    anna = tab()
    anna.stay()
    anna.open("las", "kidney")
    anna.thinnest_pen()
    for start, end in (((4, 26), (8, 26)), ((4, 30), (8, 30)), ((4, 26), (4, 30)), ((8, 26), (8, 30)), ((20, 34),) * 2):
        anna.stroke((*start, 5), (*end, 5))
    square = np.zeros(cohort.SHAPE, np.uint8)
    square[4:9, 26:31, 5] = 1
    assert anna.voxels() == 16 + 1
    grown = within(square, 1.001 * max(cohort.SPACING_MM[:2]))
    assert grown.sum() >= 25 + 4 * 5
    for key, voxels in (("l", 26), ("k", 25), ("g", int(grown.sum())), ("h", 25), ("z", int(grown.sum()))):
        anna.press(key)
        anna.wait_for("state => state.voxels === want.voxels", voxels=voxels)
    anna.save()
    assert_stored(served.folder, "las", "kidney", grown)
