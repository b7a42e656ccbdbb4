"""The real server as a process and Debian's Chromium in front of it; without one of them the tests skip and say why."""

import importlib.util
import shutil
from collections.abc import Callable, Iterator

import pytest
import review_cohort as cohort
from own_state import own_state
from page_server import PAGE, Served, serving

__all__ = ["own_state"]

CHROMIUM = shutil.which("chromium")
CASES = {
    **{"ras": "RAS", "lps": "LPS", "las": "LAS", "shaped": "LAS"},
    **{
        "decided": "LPS",
        "contested": "LAS",
        "drafted": "RAS",
        "dark": "LPS",
        "away": "RAS",
        "seen": "LAS",
        "held": "RAS",
        "passed": "LPS",
        "typed": "LAS",
    },
}


def missing() -> str:
    """What is missing for these tests, or nothing."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: make setup"
    if CHROMIUM is None:
        return "chromium is not installed: apt-get install chromium"
    if not (PAGE / "index.html").is_file():
        return "the review page is not built: make page"
    return ""


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    if missing():
        pytest.skip(missing())
    folder = cohort.make(tmp_path_factory.mktemp("review") / "cohort", CASES)
    users = folder.parent / "users.txt"
    users.write_text("anna\nben\n")
    with serving(folder, "--users", str(users), "--repeats", "0") as running:
        yield running


@pytest.fixture(scope="session")
def chromium(served: Served) -> Iterator["object"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(served: Served, chromium) -> Iterator[Callable[..., "object"]]:
    """Open tabs: each in a browser context of its own, unless told which one."""
    from reviewer_tab import PATIENCE_MS, Tab

    contexts, complaints = [], []

    def new(reviewer: str = "anna", context=None, at: Served = served) -> Tab:
        if context is None:
            context = chromium.new_context(viewport={"width": 1280, "height": 800})
            contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.extend([message.text] if "Security" in message.text else []))
        page.goto(at.urls[reviewer])
        ours = Tab(page)
        ours.wait_for("state => ['reviewing', 'failed', 'conflict'].includes(state.phase)")
        return ours

    yield new
    for context in contexts:
        context.close()
    assert complaints == []
