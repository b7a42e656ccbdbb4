"""Overlays and curves: contours enclose what the mask holds, in mm the right way round; stages in a row."""

import base64
import io
import json
import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from smiler.report.curves import read_curve
from smiler.report.figures import _spread
from smiler.report.names import Organs
from smiler.report.overlays import Stack, make_overlays, outline, png_of


def polygons(path: str) -> list[np.ndarray]:
    """Corners (n, 2) as x, y in mm."""
    return [np.array([pair.split() for pair in part.split("L")], dtype=float) for part in re.findall("M(.*?)Z", path)]


def area(corners: np.ndarray) -> float:
    x, y = corners.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def test_an_outline_encloses_the_mask_in_mm() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[4:10, 12:27] = True
    (corners,) = polygons(outline(mask, (2.0, 0.5)))
    assert corners.min(axis=0) == pytest.approx([12 * 0.5, 4 * 2.0], abs=0.06)
    assert corners.max(axis=0) == pytest.approx([27 * 0.5, 10 * 2.0], abs=0.06)
    assert abs(area(corners)) == pytest.approx(6 * 15, rel=0.02)


def test_a_hole_stays_a_hole_and_the_border_is_closed() -> None:
    mask = np.ones((9, 9), dtype=bool)
    mask[3:6, 3:6] = False
    areas = sorted(abs(area(corners)) for corners in polygons(outline(mask, (1.0, 1.0))))
    assert areas == pytest.approx([9, 81], abs=1)


def test_the_ct_is_shown_in_the_abdominal_window() -> None:
    hu = np.array([[-1000, -160, 40, 240, 3000]], dtype=np.int16)
    pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(png_of(hu))), format="png")
    assert pixels[0, :, 0] == pytest.approx([0, 0, 0.5, 1, 1], abs=0.01)
    assert (pixels[..., 0] == pixels[..., 1]).all()


def test_missed_organs_are_those_of_the_truth_that_an_arm_lacks_altogether() -> None:
    truth = np.zeros((1, 8, 8), dtype=np.int32)
    truth[0, 2:4, 2:4], truth[0, 5:7, 5:7] = 1, 2
    hu = np.zeros((1, 8, 8), dtype=np.int16)
    stack = Stack(hu, np.array([[2.0, 1.0]]), ["a"], [7], {"truth": truth, "smile": truth & 1})
    shown = make_overlays(stack, Organs(["liver", "spleen"]))
    assert shown.columns == ["Truth", "SMILE"]
    assert [title for title, _ in shown.legend] == ["Liver", "Spleen"]
    assert [cell.missed for cell in shown.slices[0].cells] == [[], ["Spleen"]]
    assert (shown.slices[0].width_mm, shown.slices[0].height_mm) == (8, 16)


def test_stages_stand_one_after_another(tmp_path: Path) -> None:
    events = [
        {"event": "step", "stage": s, "step": n, "loss": s + n / 100, "lr": 0.1} for s in (0, 1, 2) for n in (10, 20)
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(map(json.dumps, [{"event": "started"}, *events])) + '\n{"event": "st')
    curve = read_curve(path, "smile")
    assert curve is not None
    assert curve.x == [10, 20, 30, 40, 50, 60]
    assert curve.stages == {20: "round 1", 40: "round 2"}
    assert curve.title == "SMILE"


def test_labels_keep_their_distance_their_order_and_the_floor() -> None:
    moved = _spread([0.5, 0.5, 0.02, 0.0, 0.9], 0.1)
    assert moved[4] == 0.9
    assert np.diff(sorted(moved)).min() >= 0.1 - 1e-9
    assert moved[2] > moved[3] > 0
