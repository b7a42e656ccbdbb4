"""One reviewer's browser tab, driven as a person would: keys, mouse, and what can be read on the page."""

import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page
from review_cohort import Voxel

PATIENCE_MS = 60_000

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Tab:
    """A tab with the review page."""

    page: Page

    def open(self, case: str, organ: str) -> None:
        """Choose a task from the queue and wait until it is there, seen in an axial slice."""
        self.item(case, organ).click()
        self.wait_for("state => state.info?.title === want.case && state.task?.organ === want.organ && state.phase === "
                      "'reviewing'", case=case, organ=organ)  # fmt: skip
        self.press("1")

    def item(self, case: str, organ: str) -> Locator:
        """A line of the queue."""
        return self.page.locator(".item").filter(has_text=case).filter(has_text=organ)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def state(self) -> dict[str, Any]:
        """What the page knows."""
        return self.page.evaluate("smiler.state()")

    def voxels(self) -> int:
        """Voxels set in the mask on the screen."""
        return self.page.evaluate("smiler.mask().voxels")

    def wait_for(self, condition: str, **want: Any) -> None:
        """Wait until `state => ...` holds of what the page knows; `want` are the test's own values."""
        script = f"() => {{ const want = {json.dumps(want)}; return ({condition})(smiler.state()) }}"
        self.page.wait_for_function(script, timeout=PATIENCE_MS)

    def draft_stored(self) -> None:
        self.wait_for("state => state.draft === 'stored'")

    def point(self, voxel: Voxel) -> tuple[float, float]:
        """Where a voxel lies in the axial view; the page must agree on the way back."""
        self.page.evaluate("voxel => smiler.look(voxel)", list(voxel))
        found = self.page.evaluate("voxel => smiler.pointOf(voxel)", list(voxel))
        assert self.page.evaluate("p => smiler.voxelAt(p.x, p.y)", found) == list(voxel)
        return found["x"], found["y"]

    def stroke(self, start: Voxel, end: Voxel) -> None:
        """Drag from voxel to voxel within one axial slice, voxel by voxel."""
        self.page.mouse.move(*self.point(start))
        self.page.mouse.down()
        self.page.mouse.move(*self.page.evaluate("v => Object.values(smiler.pointOf(v))", list(end)), steps=4)
        self.page.mouse.up()

    def thinnest_pen(self) -> None:
        """A brush of one voxel."""
        self.press("b", *["["] * 10)

    def save(self) -> None:
        """Save, and wait until the server has it."""
        base = self.state()["base"]
        self.press("s")
        self.wait_for("s => s.phase === 'reviewing' && s.base > want.base && s.undoable === 0", base=base)

    def stay(self) -> None:
        """Don't go on to the next task after a decision."""
        self.page.get_by_label("Go on to the next after a decision").uncheck()

    def colours(self, voxels: Mapping[str, Voxel]) -> dict[str, Colour]:
        """What the screen shows where these voxels of the slice lie, without the crosshair over it."""
        points = {name: self.point(voxel) for name, voxel in voxels.items()}
        self.page.evaluate("voxel => smiler.look(voxel)", [0, 0, next(iter(voxels.values()))[2]])
        picture = np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"))
        return {name: tuple(map(int, picture[round(y), round(x)])) for name, (x, y) in points.items()}

    def wait_for_colours(self, voxels: Mapping[str, Voxel], right: Callable[[dict[str, Colour]], bool]) -> None:
        """Until the screen shows them so; what it shows is told when it never does."""
        until = time.monotonic() + PATIENCE_MS / 1000
        while not right(seen := self.colours(voxels)):
            assert time.monotonic() < until, f"the screen shows {seen}"
