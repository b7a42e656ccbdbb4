"""The pictures of docs/review-page.md: python docs/make_review_pictures.py COHORT CASE ORGAN [FOLDER]

COHORT has proposals (`smiler relabel --round`). Needs chromium, and the page (`make page`). Says how long the first
view took, from the address to the moment in which the reviewer can work. Nothing is saved in the cohort but a draft.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).parent / "pictures"


def main(cohort: Path, case: str, organ: str, target: Path = PICTURES) -> None:
    """Serve the cohort, open the task, and take both pictures."""
    command = [sys.executable, "-m", "smiler", "review", str(cohort), "--no-browser", "--json", "--reviewer", "anna"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            _take(_address(server), case, organ, target)
        finally:
            server.terminate()


def _address(server: "subprocess.Popen[str]") -> str:
    text = ""
    for line in server.stdout or ():
        text += line
        if line.rstrip() == "}":
            return str(next(iter(json.loads(text)["urls"].values())))
    raise SystemExit("the server ended before it listened")


def _take(url: str, case: str, organ: str, target: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(120_000)
        begin = time.monotonic()
        page.goto(url)
        page.wait_for_function("() => window.smiler && smiler.state().phase === 'reviewing'")
        print(f"first view after {time.monotonic() - begin:.1f} s")
        page.get_by_label("Organ", exact=True).select_option(organ)
        page.wait_for_timeout(1500)  # the queue comes anew
        page.locator(".item").filter(has_text=case).click()
        page.wait_for_function(
            f"() => {{ const s = smiler.state(); return s.info?.title === {json.dumps(case)}"
            f" && s.task?.organ === {json.dumps(organ)} && s.phase === 'reviewing' }}"
        )
        page.wait_for_timeout(1500)
        _look_at_the_middle(page)
        page.screenshot(path=target / "review.png")
        for key in ("1", "m", "t"):
            page.keyboard.press(key)
        _stroke(page)
        page.screenshot(path=target / "review-paint.png")
        browser.close()


MIDDLE = "b.low.map((v, i) => Math.floor((v + b.high[i] - 1) / 2))"


def _look_at_the_middle(page: Page) -> None:
    """The crosshair in the middle of the organ's mask."""
    page.evaluate(f"() => {{ const b = smiler.mask()?.box; if (b) smiler.look({MIDDLE}) }}")
    page.wait_for_timeout(1500)


def _stroke(page: Page) -> None:
    """A short stroke at the organ's border."""
    page.wait_for_timeout(1500)
    start = page.evaluate(
        f"() => {{ const b = smiler.mask()?.box; if (!b) return null; const at = {MIDDLE};"
        " const p = smiler.pointOf([b.high[0] - 1, at[1], at[2]]); return p && [p.x, p.y] }"
    )
    if start:
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move(start[0] + 14, start[1] + 24, steps=6)
        page.mouse.up()
    page.wait_for_timeout(1500)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:4], *map(Path, sys.argv[4:5]))
