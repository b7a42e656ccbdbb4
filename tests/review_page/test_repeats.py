"""A proposal that comes a second time: the reviewer sees it as he saw it first, and his answer changes nothing."""

import pytest
import review_cohort as cohort
from page_server import serving

pytestmark = pytest.mark.timeout(240)


def decide(anna) -> None:
    """Accept what is proposed, mark absent what is not, and wait for the next."""
    task = anna.state()["task"]
    anna.press("x" if anna.state()["organState"] == "missing" else "a")
    anna.wait_for(
        "s => s.phase === 'reviewing' && !(s.task.case === want.case && s.task.organ === want.organ)",
        case=task["case"],
        organ=task["organ"],
    )


def test_a_second_answer(tab, served, tmp_path):
    folder = cohort.make(tmp_path / "cohort", {f"v{n}": "RAS" for n in range(8)})
    with serving(folder, "--reviewer", "anna", "--repeats", "1") as running:
        anna, seen = tab("anna", at=running), {}
        for _ in range(24):
            state = anna.state()
            pair = (state["info"]["title"], state["task"]["organ"])
            if pair in seen:
                break
            seen[pair] = (state["organState"], state["base"])
            decide(anna)
        assert len(seen) > 20
        assert (state["organState"], state["base"]) == seen[pair] == ("proposed", 1)
        anna.wait_for("s => s.revisions.length === 1")
        assert state["progress"]["repeated"] == 0
        before = (folder / "cases.csv").read_text()
        anna.press("a")
        anna.wait_for("s => s.progress.repeated === 1 && s.phase === 'reviewing'")
        assert anna.state()["progress"]["alike"] == 1
        assert (
            anna.page.locator(".progress").get_attribute("title") == "1 came a second time; the answers agree to 1.00"
        )
        assert (folder / "cases.csv").read_text() == before
