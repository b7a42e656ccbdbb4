"""The annotated organs: where each one lies, its shape, and the order in which they take space."""

from collections.abc import Sequence

import numpy as np

from smiler.phantom.arrays import BoolArray, Point
from smiler.phantom.canvas import Canvas
from smiler.phantom.patient import Patient
from smiler.phantom.shapes import Shape, ellipsoid, tube
from smiler.phantom.tissue import Tissue

AORTA: tuple[Point, ...] = (
    (260, 24, 26), (190, 20, 24), (130, 10, 18), (70, 4, 13), (20, 3, 10), (-22, 5, 5),
)  # fmt: skip
STOMACH: tuple[Point, ...] = (
    (146, 12, 60), (122, -12, 72), (98, -42, 64), (78, -64, 40), (70, -66, 12), (70, -48, -18),
)  # fmt: skip
PANCREAS: tuple[Point, ...] = (
    (34, -14, -28), (54, -20, -27), (68, -38, -3), (74, -38, 24), (82, -20, 50), (94, 2, 75),
)  # fmt: skip
GALLBLADDER: tuple[Point, ...] = ((90, -24, -48), (74, -38, -58), (58, -50, -66))


def jitter(rng: np.random.Generator, points: Sequence[Point], move_mm: float, bend_mm: float) -> list[Point]:
    """The points moved together by `move_mm` and each on its own by `bend_mm` (sd)."""
    array = np.array(points) + rng.normal(0, move_mm, 3)
    array += rng.normal(0, bend_mm, array.shape)
    return [(float(z), float(y), float(x)) for z, y, x in array]


def paint_aorta(canvas: Canvas, rng: np.random.Generator) -> BoolArray:
    """A tube in front of the spine down to its fork, narrower towards the feet."""
    radius = float(np.clip(rng.normal(12.9, 2.2), 9, 19))
    widths = radius * np.array([1.15, 1.12, 1.05, 0.95, 0.85, 0.8])
    shape = tube(canvas.frame, jitter(rng, AORTA, 2, 1.5), widths.tolist())
    return canvas.fill(shape, Tissue.ARTERY) | canvas.fill(shape, Tissue.ARTERY, Tissue.FAT)


def paint_kidney(canvas: Canvas, rng: np.random.Generator, patient: Patient, side: int) -> BoolArray:
    """A bean with fat and vessels in its hilum; `side` is -1 for the right, +1 for the left."""
    frame = canvas.frame
    resting: Point = (38, 23, -63) if side < 0 else (46, 24, 68)
    z, y, x = jitter(rng, [resting], 4, 0)[0]
    length = rng.uniform(52, 60)
    top, bottom = (z + 0.8 * length, y + 7, x - 9 * side), (z - 0.8 * length, y - 7, x + 8 * side)
    bean = tube(frame, [top, (z, y + 2, x + 3 * side), bottom], [20, 27, 20])
    sinus = ellipsoid(frame, (z, y - 8, x - 17 * side), (24, 10, 20), turn=0.5 * side)
    volume = patient.volumes_ml["kidney_right" if side < 0 else "kidney_left"]
    shape = bean.without(sinus).roughened(frame, 0.8)
    mask = canvas.claim(shape, Tissue.KIDNEY_CORTEX, volume, 3 + 4 * patient.visceral)
    _paint_medulla(canvas, shape, mask)
    canvas.fill(ellipsoid(frame, (z, y - 6, x - 13 * side), (12, 4, 7)), Tissue.URINE)
    return mask


def _paint_medulla(canvas: Canvas, shape: Shape, mask: BoolArray) -> None:
    """Pyramids: lumps more than about 7 mm under the surface."""
    window = shape.window
    level = shape.field[mask[window]].max(initial=0.0)
    pyramid = (shape.field < level - 7) & (canvas.frame.lumps[window] > -0.2) & mask[window]
    canvas.labels[window][pyramid] = Tissue.KIDNEY_MEDULLA


def paint_gallbladder(canvas: Canvas, rng: np.random.Generator, patient: Patient) -> BoolArray:
    """A pear under the liver, its neck towards the hilum."""
    shape = tube(canvas.frame, jitter(rng, GALLBLADDER, 4, 2), [5, 11, 15])
    return canvas.claim(shape, Tissue.GALLBLADDER, patient.volumes_ml["gallbladder"])


def paint_pancreas(canvas: Canvas, rng: np.random.Generator, patient: Patient) -> BoolArray:
    """A lobulated arch from the duodenum over the aorta to the spleen, its tail high or low."""
    points = np.array(jitter(rng, PANCREAS, 3.5, 2.5))
    points[:, 0] += rng.normal(0, 8) * np.linspace(-0.5, 1, len(points))
    path = [(float(z), float(y), float(x)) for z, y, x in points]
    shape = tube(canvas.frame, path, [11, 14.5, 9.5, 9, 9.5, 8.5])
    shape = shape.roughened(canvas.frame, 2.2)
    fat = 2 + 1.5 * patient.visceral
    return canvas.claim(shape, Tissue.PANCREAS, patient.volumes_ml["pancreas"], fat)


def paint_stomach(canvas: Canvas, rng: np.random.Generator, patient: Patient) -> BoolArray:
    """A J-shaped bag; the fuller, the more the body of the stomach swells."""
    volume = float(np.clip(patient.volumes_ml["stomach"], 130, 1100))
    swell = float(np.cbrt(volume / 447))
    widths = np.array([30, 33, 30, 25, 18, 11]) * np.array([swell] * 4 + [swell**0.6] * 2)
    shape = tube(canvas.frame, jitter(rng, STOMACH, 5, 4), widths.tolist())
    shape = shape.roughened(canvas.frame, 2.0)
    mask = canvas.claim(shape, Tissue.STOMACH_CONTENT, volume, 2.0)
    window = shape.window
    level = shape.field[mask[window]].max(initial=0.0)
    rim = mask[window] & (shape.field > level - 3.6)
    canvas.labels[window][rim] = Tissue.STOMACH_WALL
    return mask


def paint_spleen(canvas: Canvas, rng: np.random.Generator, patient: Patient) -> BoolArray:
    """A crescent under the left ribs, hollowed by the stomach and the kidney."""
    frame = canvas.frame
    z, y, x = jitter(rng, [(112, 38, 97)], 4, 0)[0]
    whole = ellipsoid(frame, (z, y, x), (50, 52, 30), turn=-0.35)
    hollow = ellipsoid(frame, (z - 8, y - 16, x - 40), (56, 42, 28), turn=-0.3)
    shape = whole.without(hollow).roughened(frame, 1.5)
    return canvas.claim(shape, Tissue.SPLEEN, patient.volumes_ml["spleen"], 2.0)


def paint_liver(canvas: Canvas, rng: np.random.Generator, patient: Patient) -> BoolArray:
    """A wedge: the right dome filled, cut by planes that rise to the left and to the back."""
    frame = canvas.frame
    window = frame.window(np.array([-25.0, -140, -160]), np.array([200.0, 90, 110]))
    z, y, x = (frame.inner[i][window] for i in range(3))
    lift, lean = rng.normal(0, 6), rng.normal(0, 6)
    under = (8 + lift + 0.72 * np.clip(x + 78, 0, None) + 0.1 * np.clip(y, 0, None) - z) * 0.8
    edge = -16 + lean + 0.42 * np.clip(z - 100, -90, 70) - 0.85 * (y - 12)
    edge += 0.012 * np.clip(-15 - y, 0, 70) ** 2
    medial = (x - edge) * 0.76
    lobe = np.sqrt(((z - 112) / 124) ** 2 + ((y + 14) / 106) ** 2 + ((x + 40) / 124) ** 2)
    field = np.maximum(np.maximum(under, medial), (lobe - 1) * 100)
    shape = Shape(window, field.astype(np.float32)).roughened(frame, 1.6)
    return canvas.claim(shape, Tissue.LIVER, patient.volumes_ml["liver"], 1.5)


def paint_tumor(canvas: Canvas, rng: np.random.Generator, liver: BoolArray) -> BoolArray:
    """One to three lumpy nodules of 7 to 26 mm radius, each centred inside the liver."""
    frame, mask = canvas.frame, np.zeros(canvas.labels.shape, bool)
    voxels = np.argwhere(liver)
    for _ in range(int(rng.integers(1, 4))):
        where = voxels[rng.integers(len(voxels))]
        z, y, x = (float(frame.inner[i][tuple(where)]) for i in range(3))
        radius = float(np.exp(rng.uniform(np.log(7), np.log(26))))
        size = tuple(float(radius * rng.uniform(0.8, 1.25)) for _ in range(3))
        shape = ellipsoid(frame, (z, y, x), (size[0], size[1], size[2]))
        shape = shape.roughened(frame, 0.12 * radius)
        mask[shape.window] |= (shape.field <= 0) & liver[shape.window]
        mask[tuple(where)] = True
    canvas.labels[mask] = Tissue.TUMOR
    return mask
