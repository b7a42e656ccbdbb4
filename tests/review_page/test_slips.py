"""Slips of the hand: a key that is held, a key during a stroke, a decision too early, what was passed over."""

from functools import partial

import pytest
from review_cohort import LIVER, SPLEEN, SPLEEN_HU

from smiler.domain.cohort import Cohort

pytestmark = pytest.mark.timeout(240)

REPEATS, PAUSE_MS = 15, 200
SPLEEN_MIDDLE = (10, 20, 10)


def decided(served):
    """Cells that a reviewer decided."""
    cohort = Cohort.open(served.folder)
    return sum(case.cell(organ).path.startswith("review/") for case in cohort for organ in cohort.organs.keys)


def task(who):
    found = who.state()["task"]
    return found["case"], found["organ"]


def another(who, before):
    """Wait until another task is open; it."""
    who.wait_for("s => s.phase === 'reviewing' && (s.task.case !== want.case || s.task.organ !== want.organ)",
                 case=before[0], organ=before[1])  # fmt: skip
    return task(who)


def test_a_key_that_is_held_decides_once(tab, served):
    ben = tab("ben")
    ben.page.get_by_label("State").select_option("proposed")  # what comes next can be accepted, too
    ben.wait_for("s => s.filter.state === 'proposed' && s.queue.every(item => item.state === 'proposed')")
    ben.open("held", "liver")
    before, first = decided(served), task(ben)
    for _ in range(REPEATS):
        ben.page.keyboard.down("a")
        ben.page.wait_for_timeout(PAUSE_MS)
    ben.page.keyboard.up("a")
    another(ben, first)
    assert decided(served) == before + 1


def test_what_was_passed_over_waits_and_the_last_decision_is_a_key_away(tab):
    ben = tab("ben")
    ben.open("held", "spleen")
    passed = [task(ben)]
    for _ in range(2):
        ben.press("n")
        passed.append(another(ben, passed[-1]))
    ben.press("x")
    came = another(ben, passed[-1])
    assert came not in passed
    ben.press("u")
    assert another(ben, came) == passed[-1]
    assert ben.state()["organState"] == "absent"
    ben.stay()
    ben.press("o")
    ben.wait_for("s => s.phase === 'reviewing' && s.organState !== 'absent'")


def test_a_stroke_under_way_ends_with_a_key_and_stays_in_its_own_organ(tab):
    ben = tab("ben")
    ben.stay()
    ben.open("passed", "liver")
    ben.thinnest_pen()
    here, point = task(ben), ben.point((2, 3, 4))
    ben.page.mouse.move(*point)
    ben.page.mouse.down()
    ben.page.mouse.move(*ben.point((6, 3, 4)), steps=4)
    ben.press("a")
    assert "unsaved strokes" in ben.page.locator('[data-banner="notice"]').inner_text()
    assert (ben.state()["organState"], ben.state()["undoable"], ben.voxels()) == ("proposed", 1, LIVER.sum() + 5)
    ben.page.mouse.up()
    ben.page.mouse.move(*point)
    ben.page.mouse.down()
    ben.press("n")
    another(ben, here)
    ben.page.mouse.move(point[0] + 40, point[1] + 40, steps=4)
    ben.page.mouse.up()
    ben.open("passed", "spleen")
    assert (ben.state()["undoable"], ben.voxels()) == (0, SPLEEN.sum())
    ben.open("passed", "liver")
    assert ben.voxels() == LIVER.sum() + 5
    ben.press("z")
    assert ben.voxels() == LIVER.sum()


def whitened(before, names, seen):
    """Are these voxels, and no others, brighter than before?"""
    return {name for name in before if sum(seen[name]) > sum(before[name]) + 60} == names


def test_any_revision_is_shown_beside_the_mask(tab):
    ben = tab("ben")
    ben.stay()
    ben.open("passed", "spleen")
    ben.thinnest_pen()
    for line in (3, 9):
        ben.stroke((2, line, 10), (6, line, 10))
        ben.save()
    ben.page.get_by_text("History (3)").click()
    voxels = {"proposed": (10, 20, 10), "drawn first": (4, 3, 10), "drawn last": (4, 9, 10), "nothing": (30, 5, 10)}
    before = ben.colours(voxels)
    for revision, whiter in ((1, {"proposed"}), (2, {"proposed", "drawn first"})):
        ben.page.get_by_title("Show it beside the mask").nth(3 - revision).click()
        ben.wait_for("s => s.compared === want.revision && s.settings.showPrevious", revision=revision)
        ben.wait_for_colours(voxels, partial(whitened, before, whiter))
    ben.press("Space")
    assert not ben.state()["settings"]["showMask"]


def test_a_number_that_is_typed_stays_while_the_page_is_drawn_anew(tab):
    """The radius changes, so the page is drawn anew, between the digits and Enter."""
    anna = tab()
    anna.open("typed", "liver")
    anna.press("t")
    for n, (which, hu) in enumerate((("low", -35), ("high", 145))):
        radius = anna.state()["settings"]["radiusMm"]
        anna.page.locator(f'[data-range="{which}"]').fill(str(hu))
        with_shift_the_wheel_turns(anna)
        anna.wait_for("state => state.settings.radiusMm !== want.radius", radius=radius)
        anna.press("Enter")
        anna.wait_for("state => state.settings.range[want.n] === want.hu", n=n, hu=hu)
    assert anna.state()["settings"]["range"] == [-35, 145]


BOTH_AT_ONCE = """for (const [name, hu] of [["low", "-35"], ["high", "145"]]) {
  const box = document.querySelector(`[data-range=${name}]`);
  box.value = hu;
  for (const kind of ["input", "change"]) box.dispatchEvent(new Event(kind, { bubbles: true }));
}"""


def test_neither_limit_takes_the_other_ones_old_value(tab):
    """Both are changed before the page is drawn anew."""
    anna = tab()
    anna.open("typed", "liver")
    anna.press("t")
    anna.page.locator('[data-range="low"]').wait_for()
    anna.page.evaluate(BOTH_AT_ONCE)
    assert anna.state()["settings"]["range"] == [-35, 145]


def test_a_limit_that_is_typed_counts_for_the_stroke_that_follows_without_enter(tab):
    anna = tab()
    anna.open("typed", "kidney")
    anna.press("t")
    anna.page.locator('[data-range="low"]').fill(str(SPLEEN_HU + 10))
    anna.stroke(SPLEEN_MIDDLE, (14, 20, 10))
    assert (anna.state()["settings"]["range"][0], anna.voxels()) == (SPLEEN_HU + 10, 0)
    anna.page.locator('[data-range="low"]').fill(str(SPLEEN_HU))
    anna.stroke(SPLEEN_MIDDLE, (14, 20, 10))
    assert anna.voxels() > 0
    anna.press("z")
    anna.wait_for("state => state.voxels === 0")


def test_what_is_no_number_leaves_the_limit_as_it_was(tab):
    anna = tab()
    anna.open("typed", "liver")
    anna.press("t")
    low = anna.page.locator('[data-range="low"]')
    before = low.input_value()
    low.fill("")
    low.press("Enter")
    low.blur()
    anna.page.wait_for_function(f"document.querySelector('[data-range=low]').value === '{before}'")
    assert anna.state()["settings"]["range"][0] == float(before)


def with_shift_the_wheel_turns(who):
    """The brush becomes larger, and what is in focus stays so."""
    who.page.mouse.move(*who.point(SPLEEN_MIDDLE))
    who.page.keyboard.down("Shift")
    who.page.mouse.wheel(0, -100)
    who.page.keyboard.up("Shift")
