"""A spreadsheet saved over decisions while the page is open: the page says so, and one click takes it back."""

import pytest
import review_cohort as cohort
from page_server import serving

pytestmark = pytest.mark.timeout(240)

BANNER = "[data-banner=edit]"


@pytest.fixture
def alone(served, tmp_path):  # `served`: it skips where something is missing
    """A review of its own: an edit concerns everybody."""
    folder = cohort.make(tmp_path / "cohort", {"one": "RAS"})
    with serving(folder, "--reviewer", "anna", "--repeats", "0") as running:
        yield running


def back_from_the_spreadsheet(who):
    who.page.evaluate("dispatchEvent(new Event('focus'))")
    who.page.locator(BANNER).wait_for()


def test_an_edit_is_shown_and_undone_or_kept(tab, alone):
    table = alone.folder / "cases.csv"
    before = table.read_text()
    anna = tab("anna", at=alone)
    anna.stay()
    anna.open("one", "liver")
    anna.press("a")
    anna.wait_for("s => s.phase === 'reviewing' && s.organState === 'accepted'")
    decided = table.read_text()
    assert decided != before

    table.write_text(before)
    back_from_the_spreadsheet(anna)
    banner = anna.page.locator(BANNER).inner_text()
    assert "cases.csv was edited outside of this page" in banner
    assert "1 cell of 1 case (1 accepted → proposed)" in banner
    anna.page.get_by_role("button", name="Undo", exact=True).click()
    anna.page.locator(BANNER).wait_for(state="detached")
    anna.wait_for("s => s.phase === 'reviewing' && s.organState === 'accepted' && s.notice !== null")
    assert anna.page.locator("[data-banner=notice]").inner_text().startswith("Undone: 1 cell as before.")
    assert table.read_text() == decided

    table.write_text(before)
    back_from_the_spreadsheet(anna)
    anna.page.get_by_role("button", name="Keep", exact=True).click()
    anna.page.locator(BANNER).wait_for(state="detached")
    assert table.read_text() == before
