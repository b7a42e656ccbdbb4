"""Decisions by keyboard, two reviewers on one organ, and what survives a closed tab, lost graphics, a lost network."""

import numpy as np
import pytest
import review_cohort as cohort
from page_server import serving
from review_cohort import LIVER, SPLEEN, Stored, on_native_grid

pytestmark = pytest.mark.timeout(240)


def assert_stored(served, case, organ, mask):
    expected = on_native_grid(mask, served.folder / f"images/{case}.nii.gz")
    np.testing.assert_array_equal(Stored.of(served.folder, case, organ).native(), expected)


def liver_with(*lines):
    """The proposed liver and lines of five voxels to the right."""
    mask = LIVER.copy()
    for j, k in lines:
        mask[2:7, j, k] = 1
    return mask


def test_accept_reject_and_absent_by_keyboard(tab, served):
    anna = tab()
    anna.stay()
    for organ, key, state in (("liver", "a", "accepted"), ("spleen", "r", "rejected"), ("kidney", "x", "absent")):
        anna.open("decided", organ)
        anna.press(key)
        anna.wait_for("s => s.phase === 'reviewing' && s.organState === want.state && s.task.organ === want.organ",
                      state=state, organ=organ)  # fmt: skip
    assert_stored(served, "decided", "liver", LIVER)
    assert Stored.of(served.folder, "decided", "spleen").cell == ""
    assert Stored.of(served.folder, "decided", "kidney").cell == "absent"
    anna.press("o")
    anna.wait_for("state => state.organState === 'missing'")
    assert Stored.of(served.folder, "decided", "kidney").cell == ""


def test_a_flag_has_a_note_that_is_no_command_and_keeps_the_strokes(tab):
    anna = tab()
    anna.stay()
    anna.open("away", "spleen")
    anna.thinnest_pen()
    anna.stroke((2, 3, 4), (6, 3, 4))
    anna.press("r")  # a rejection would lose the strokes
    assert anna.state()["organState"] == "proposed"
    anna.press("f")
    anna.page.get_by_label("What is odd here?").fill("axr?")
    anna.page.get_by_role("button", name="Flag", exact=True).click()
    anna.wait_for("s => s.phase === 'reviewing' && s.organState === 'flagged' && s.draft === 'stored'")
    assert (anna.state()["undoable"], anna.voxels()) == (1, SPLEEN.sum() + 5)
    assert anna.page.locator(".item").filter(has_text="away").filter(has_text="axr?").count() == 1


def test_unsaved_strokes_are_not_accepted_over(tab):
    anna = tab()
    anna.open("away", "kidney")
    anna.thinnest_pen()
    anna.stroke((3, 3, 3), (5, 3, 3))
    anna.press("a")
    assert "unsaved strokes" in anna.page.locator('[data-banner="notice"]').inner_text()
    assert anna.state()["organState"] == "missing"
    anna.press("Shift+Backspace")
    anna.page.locator('[data-answer="drop"]').click()
    anna.wait_for("state => state.phase === 'reviewing' && state.voxels === 0 && state.draft === 'none'")


def test_the_second_of_two_reviewers_chooses_and_both_masks_survive(tab, served):
    anna, ben = tab("anna"), tab("ben")
    for who in (anna, ben):
        who.stay()
        who.open("contested", "liver")
        who.thinnest_pen()
    anna.stroke((2, 3, 4), (6, 3, 4))
    ben.stroke((2, 9, 4), (6, 9, 4))
    anna.save()
    ben.press("s")
    ben.wait_for("state => state.phase === 'conflict'")
    conflict = ben.state()["conflict"]
    assert (conflict["head"], conflict["kept"]) == (2, 3)
    ben.press("a")  # nothing goes on before the choice
    assert ben.state()["phase"] == "conflict"
    ben.page.locator('[data-answer="mine"]').click()
    ben.wait_for("state => state.phase === 'reviewing'")
    ben.save()
    assert_stored(served, "contested", "liver", liver_with((9, 4)))
    anna.open("contested", "spleen")
    revisions = anna.page.evaluate(
        "id => fetch(`api/cases/${id}/history/liver`).then(answer => answer.json())", anna.state()["task"]["case"]
    )["revisions"]
    assert [(one["revision"], one["reviewer"], one["kept"]) for one in revisions[1:]] == [
        (2, "anna", False), (3, "ben", True), (4, "ben", False)]  # fmt: skip


def test_a_closed_tabs_draft_comes_back_and_is_its_reviewers_alone(tab):
    anna, ben = tab("anna"), tab("ben")
    anna.open("drafted", "liver")
    anna.thinnest_pen()
    anna.stroke((2, 3, 4), (6, 3, 4))
    anna.draft_stored()
    context = anna.page.context
    anna.page.close()
    again = tab("anna", context)
    again.open("drafted", "liver")
    assert again.voxels() == LIVER.sum() + 5
    assert again.state()["undoable"] == 1
    again.press("z")
    assert again.voxels() == LIVER.sum()
    ben.open("drafted", "liver")
    assert ben.voxels() == LIVER.sum()


@pytest.fixture
def broken(tmp_path):
    """A cohort whose liver does not lie on its CT's grid; a server of its own, which has not seen it before."""
    folder = cohort.make(tmp_path / "cohort", {"broken": "LPS"})
    cohort.write(np.ones((8, 8, 8), np.uint8), "LPS", folder / "proposals/broken_liver.nii.gz")
    with serving(folder, "--reviewer", "anna") as served:
        yield served


def test_a_mask_of_wrong_size_blocks_editing(tab, broken):
    """Once as a file that does not fit the CT, once as an answer that was changed on its way."""
    anna = tab("anna", at=broken)
    anna.stay()
    anna.open("broken", "liver")
    assert not anna.state()["maskTrusted"]
    anna.press("a", "r")  # what can't be read can't be accepted, but rejected
    anna.wait_for("s => s.phase === 'reviewing' && s.organState === 'rejected'")

    def of_another_grid(route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers={**answer.headers, "x-shape": "39,36,20"})

    anna.page.route("**/boxes/spleen*", of_another_grid)
    anna.open("broken", "spleen")
    assert "39 x 36 x 20 voxels, the CT has 40 x 36 x 20" in anna.page.locator('[data-banner="notice"]').inner_text()
    assert "blocked" in anna.page.locator('[data-banner="blocked"]').inner_text()
    anna.press("b")
    anna.page.mouse.click(*anna.point((20, 20, 10)))
    anna.press("s", "a")
    assert anna.page.evaluate("smiler.mask()") is None
    assert Stored.of(broken.folder, "broken", "spleen").cell.startswith("auto:")


def test_a_lost_picture_blocks_editing_and_loses_no_stroke(tab, served):
    anna = tab()
    anna.stay()
    anna.open("dark", "liver")
    anna.thinnest_pen()
    anna.stroke((2, 3, 4), (6, 3, 4))
    anna.page.evaluate(
        "document.querySelector('.viewer canvas').getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()"
    )
    anna.wait_for("state => state.screen === 'lost'")
    anna.press("s")
    assert anna.state()["base"] == 1
    anna.wait_for("state => state.screen === 'up'")
    assert anna.voxels() == LIVER.sum() + 5
    anna.stroke((2, 9, 4), (6, 9, 4))
    anna.save()
    assert_stored(served, "dark", "liver", liver_with((3, 4), (9, 4)))


def test_without_a_connection_strokes_wait_and_are_saved_once(tab, served):
    anna = tab()
    anna.stay()
    anna.open("away", "liver")
    anna.thinnest_pen()
    anna.page.context.set_offline(True)
    anna.stroke((2, 3, 4), (6, 3, 4))
    anna.wait_for("state => state.connection === 'lost'")
    anna.press("s")
    anna.wait_for("state => state.phase === 'saving'")
    anna.page.context.set_offline(False)
    anna.wait_for("s => s.phase === 'reviewing' && s.connection === 'up' && s.organState === 'corrected'")
    assert_stored(served, "away", "liver", liver_with((3, 4)))
    assert anna.state()["base"] == 2


def test_a_killed_server_comes_back_and_the_open_page_goes_on(tab, tmp_path):
    folder = cohort.make(tmp_path / "cohort", {"again": "LAS"})
    with serving(folder, "--reviewer", "anna") as first:
        anna = tab("anna", at=first)
        anna.stay()
        anna.open("again", "liver")
        anna.thinnest_pen()
        first.process.kill()
        first.process.wait()
        anna.stroke((2, 3, 4), (6, 3, 4))
        anna.wait_for("state => state.connection === 'lost'")
    with serving(folder, "--reviewer", "anna"):
        anna.wait_for("state => state.connection === 'up' && state.draft === 'stored'")
        anna.save()
        expected = on_native_grid(liver_with((3, 4)), folder / "images/again.nii.gz")
        np.testing.assert_array_equal(Stored.of(folder, "again", "liver").native(), expected)
