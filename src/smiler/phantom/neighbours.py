"""Unannotated neighbours that look like organs: vessels, duodenum, colon, small bowel, adrenals."""

import numpy as np

from smiler.phantom.arrays import BoolArray, Point
from smiler.phantom.canvas import Canvas
from smiler.phantom.fields import smooth_field
from smiler.phantom.organs import jitter
from smiler.phantom.shapes import ellipsoid, tube
from smiler.phantom.tissue import Tissue

CAVA: tuple[Point, ...] = (
    (225, -8, -20), (170, 4, -25), (120, 12, -24), (60, 10, -21), (-60, 8, -16),
)  # fmt: skip
PORTAL: tuple[Point, ...] = ((70, -20, -6), (84, -16, -22), (102, -14, -42), (112, -14, -62))
SPLENIC: tuple[Point, ...] = ((70, -20, -6), (76, -22, 18), (84, -6, 44), (97, 13, 76))
MESENTERIC_VEIN: tuple[Point, ...] = ((70, -20, -6), (40, -30, -6), (0, -36, -4), (-50, -40, 4))
MESENTERIC_ARTERY: tuple[Point, ...] = ((76, -6, 12), (60, -16, 9), (30, -26, 8), (-50, -36, 12))
RENAL_LEFT: tuple[Point, ...] = ((48, 18, 44), (56, 0, 24), (56, -10, 8), (54, 4, -12))
RENAL_RIGHT: tuple[Point, ...] = ((42, 18, -42), (48, 12, -26))
CELIAC: tuple[Point, ...] = ((88, -2, 14), (91, -18, 10), (93, -20, -14), (98, -20, -34))
ILIACS: tuple[tuple[Point, ...], ...] = (
    ((-20, 5, 4), (-60, 0, -18)),
    ((-20, 5, 6), (-60, 0, 26)),
)
OESOPHAGUS: tuple[Point, ...] = ((260, 8, 8), (190, 6, 10), (162, -2, 18), (150, 2, 32))
DUODENUM: tuple[Point, ...] = (
    (70, -44, -34), (66, -26, -54), (38, -10, -56), (12, -8, -44), (4, -16, -10), (14, -24, 26),
    (36, -30, 42),
)  # fmt: skip
COLON: tuple[Point, ...] = (
    (-70, -8, -106), (-30, -4, -106), (12, -16, -100), (26, -52, -84), (14, -82, -40),
    (8, -86, 8), (26, -76, 62), (64, -36, 104), (84, 2, 114), (50, 22, 112), (0, 24, 110),
    (-70, 20, 104),
)  # fmt: skip


def paint_vessels(canvas: Canvas, rng: np.random.Generator) -> None:
    """Everything round and bright that a kidney, the pancreas or the aorta may be taken for."""
    frame = canvas.frame

    def vessel(points: tuple[Point, ...], radius: float, tissue: Tissue) -> None:
        widths = [radius * rng.uniform(0.9, 1.1)] * len(points)
        canvas.fill(tube(frame, jitter(rng, points, 1.0, 1.2), widths), tissue)

    vessel(CAVA, 11.5, Tissue.VEIN)
    vessel(PORTAL, 6.5, Tissue.VEIN)
    vessel(SPLENIC, 4.4, Tissue.VEIN)
    vessel(MESENTERIC_VEIN, 5.2, Tissue.VEIN)
    vessel(RENAL_LEFT, 4.6, Tissue.VEIN)
    vessel(RENAL_RIGHT, 4.6, Tissue.VEIN)
    vessel(MESENTERIC_ARTERY, 3.6, Tissue.ARTERY)
    vessel(CELIAC, 3.6, Tissue.ARTERY)
    for iliac in ILIACS:
        vessel(iliac, 6.0, Tissue.ARTERY)
    oesophagus = tube(frame, OESOPHAGUS, [9.0, 9, 9, 10])
    canvas.fill(oesophagus, Tissue.OESOPHAGUS)
    canvas.fill(oesophagus, Tissue.OESOPHAGUS, Tissue.FAT)


def paint_adrenals(canvas: Canvas) -> None:
    """Thin limbs above the kidneys."""
    for y, x in ((18.0, -38.0), (16.0, 42.0)):
        for turn in (0.5, -0.5):
            limb = ellipsoid(canvas.frame, (98.0, y, x), (16, 11, 2.6), turn)
            canvas.fill(limb, Tissue.ADRENAL)


def paint_duodenum(canvas: Canvas, rng: np.random.Generator, contrast: bool) -> None:
    """The C around the pancreatic head, with a wall and a lumen of about the pancreas's HU."""
    path = jitter(rng, DUODENUM, 2, 2)
    shape = tube(canvas.frame, path, [12.0, 12, 12.5, 12, 10, 10, 11]).roughened(canvas.frame, 1.5)
    mask = canvas.fill(shape, Tissue.BOWEL_WALL)
    lumen = mask[shape.window] & (shape.field < -5.5)
    filling = Tissue.BOWEL_CONTRAST if contrast else Tissue.BOWEL_FLUID
    canvas.labels[shape.window][lumen] = filling


def paint_colon(canvas: Canvas, rng: np.random.Generator) -> None:
    """A frame of stool and gas around the small bowel, pouched by haustra."""
    frame = canvas.frame
    widths = rng.uniform(15, 23, len(COLON))
    shape = tube(frame, jitter(rng, COLON, 3, 5), widths.tolist()).roughened(frame, 3.0)
    mask = canvas.fill(shape, Tissue.BOWEL_WALL)[shape.window]
    deep = mask & (shape.field < -3.0)
    gas = smooth_field(rng, frame.shape, frame.spacing, 40.0)[shape.window]
    front = frame.inner[1][shape.window] < 0
    canvas.labels[shape.window][deep] = Tissue.STOOL
    canvas.labels[shape.window][deep & (gas + 0.5 * front > 0.7)] = Tissue.BOWEL_GAS


def paint_small_bowel(canvas: Canvas, rng: np.random.Generator, contrast: bool) -> None:
    """Loops in the lower and left middle abdomen, separated by mesenteric fat."""
    frame = canvas.frame
    z, y, x = frame.inner
    room = (z < 62 + 0.2 * x) & (y < 2 + 0.15 * np.abs(x)) & (np.abs(x) < 108)
    free: BoolArray = room & (canvas.labels == Tissue.FREE)
    loops = smooth_field(rng, frame.shape, frame.spacing, 26.0)
    filling = smooth_field(rng, frame.shape, frame.spacing, 35.0)
    free &= filling > -1.1
    canvas.labels[free & (np.abs(loops) > 0.25)] = Tissue.BOWEL_WALL
    lumen = free & (np.abs(loops) > 0.75)
    canvas.labels[lumen] = Tissue.BOWEL_FLUID
    if contrast:
        canvas.labels[lumen & (filling > -0.4)] = Tissue.BOWEL_CONTRAST
    canvas.labels[lumen & (filling > 1.5)] = Tissue.BOWEL_GAS


def paint_liver_vessels(canvas: Canvas, rng: np.random.Generator, liver: BoolArray) -> None:
    """Three hepatic veins towards the cava and two portal branches, all part of the liver."""
    frame = canvas.frame
    trees: list[tuple[Point, ...]] = [
        ((172, 2, -25), (152, 4, -62), (120, 10, -100)),
        ((172, 0, -25), (150, -26, -34), (120, -50, -48)),
        ((172, 0, -22), (158, -24, 0), (140, -46, 22)),
        ((112, -14, -62), (114, -2, -84), (104, 12, -108)),
        ((112, -14, -62), (120, -40, -40), (126, -56, -8)),
        ((110, -12, -66), (84, -14, -88), (60, -16, -106)),
    ]
    for tree in trees:
        shape = tube(frame, jitter(rng, tree, 2, 3), [5.2, 4.2, 2.6])
        inside = (shape.field <= 0) & (canvas.labels[shape.window] == Tissue.LIVER)
        canvas.labels[shape.window][inside & liver[shape.window]] = Tissue.LIVER_VESSEL
