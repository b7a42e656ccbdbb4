"""One large CT in a browser without a graphics card: the first view, how long the page stands still, a stroke saved.

    make bench-page       # results/review/page.json

Debian's Chromium, headless, draws on the processor; server, browser and review begin anew for each view.
"""

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.machine import about
from benchmarks.parts.reviewing import Server, serving
from benchmarks.review_load import KEYS, LARGE, NAMES, cohort_of

RESULT = Path(__file__).parents[1] / "results" / "review" / "page.json"
CASES, REPEATS, STROKES, SETTLED_MS = 2, 3, 5, 20_000
GOALS = {"first_view_s": 10, "stroke_saved_s": 1}
FRAMES = """
  window.still = [];
  let last = performance.now();
  const frame = (now) => { window.still.push(now - last); last = now; requestAnimationFrame(frame) };
  requestAnimationFrame(frame);
"""
DRAWN = "() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))"


def viewed(browser: Browser, server: Server) -> dict[str, Any]:
    """One visit, from the address on."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(120_000)
    page.add_init_script(FRAMES)
    begin = time.monotonic()
    page.goto(server.url(NAMES[0]))
    page.wait_for_function("() => window.smiler?.state().phase === 'reviewing'")
    page.evaluate(DRAWN)
    seen = time.monotonic() - begin
    page.evaluate("() => { window.still = [] }")
    page.wait_for_timeout(SETTLED_MS)  # the other organs come
    still = page.evaluate("() => Math.max(...window.still)")
    saved, again = np.median([stroke_saved(page, n) for n in range(STROKES)], axis=0)
    page.close()
    return {"first_view_s": seen, "longest_still_s": still / 1000, "stroke_saved_s": saved, "open_again_s": again}


def stroke_saved(page: Page, n: int) -> tuple[float, float]:
    """From the key to the moment in which the page knows that the server has it; and until the organ is open again."""
    page.get_by_label("Go on to the next after a decision").uncheck()
    for key in ("1", "b"):
        page.keyboard.press(key)
    here = [LARGE[2] // 2 + 10 * n, LARGE[1] // 2, LARGE[0] // 2]
    page.evaluate("voxel => smiler.look(voxel)", here)
    x, y = page.evaluate("voxel => Object.values(smiler.pointOf(voxel))", here)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + 25, steps=4)
    page.mouse.up()
    page.wait_for_function("() => smiler.state().draft === 'stored'")
    base = page.evaluate("() => smiler.state().base")
    begin = time.monotonic()
    page.keyboard.press("s")
    page.wait_for_function("base => smiler.state().base > base", arg=base)
    saved = time.monotonic() - begin
    page.wait_for_function("() => smiler.state().phase === 'reviewing'")
    return saved, time.monotonic() - begin


def views(folder: Path) -> list[dict[str, Any]]:
    """Each with a server and a browser of its own."""
    cohort, found = cohort_of(folder, CASES, LARGE, KEYS), []
    for _ in range(REPEATS):
        shutil.rmtree(folder / "review", ignore_errors=True)
        cohort.save()
        with serving(folder, NAMES[0]) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            found.append(viewed(browser, server) | {"browser": f"chromium {browser.version}"})
            browser.close()
        print(found[-1], flush=True)
    return found


def main() -> None:
    """Medians, and the most."""
    head = about("make bench-page", ("smiler-seg", "fastapi", "uvicorn", "playwright", "numpy"))
    with tempfile.TemporaryDirectory() as folder:
        found = views(Path(folder) / "large")
    told = {
        name: {
            "median": round(float(np.median([view[name] for view in found])), 2),
            "most": round(max(view[name] for view in found), 2),
        }
        for name in ("first_view_s", "longest_still_s", "stroke_saved_s", "open_again_s")
    }
    outcome = head | {"browser": found[0]["browser"], "graphics_card": False, "goals": GOALS, "views": REPEATS}
    outcome |= {"shape_zyx": LARGE, "cases": CASES, "organs": len(KEYS), **told}
    RESULT.write_text(json.dumps(outcome, indent=1) + "\n")
    print(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main()
