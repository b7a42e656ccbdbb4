"""The generator: a seed and options in, one synthetic patient out."""

import numpy as np

from smiler.phantom.arrays import BoolArray
from smiler.phantom.body import paint_body
from smiler.phantom.canvas import Canvas
from smiler.phantom.case import ORGANS, PhantomCase, PhantomOptions
from smiler.phantom.frame import build_frame
from smiler.phantom.neighbours import (
    paint_adrenals,
    paint_colon,
    paint_duodenum,
    paint_liver_vessels,
    paint_small_bowel,
    paint_vessels,
)
from smiler.phantom.organs import (
    paint_aorta,
    paint_gallbladder,
    paint_kidney,
    paint_liver,
    paint_pancreas,
    paint_spleen,
    paint_stomach,
    paint_tumor,
)
from smiler.phantom.patient import Patient, draw_patient
from smiler.phantom.render import add_gas_level, draw_grey_values, drinks_contrast, render

# One independent stream of random numbers per stage: changing one stage leaves the others alone.
STAGES = ("patient", "frame", "organs", "neighbours", "grey", "noise")

DEFAULT_OPTIONS = PhantomOptions()


def generate(seed: int, options: PhantomOptions = DEFAULT_OPTIONS) -> PhantomCase:
    """Make the patient with this number: the same bytes for the same seed and options.

    seed: 0 or more; other seeds are other patients.
    Raises ValueError for a negative seed.
    """
    if seed < 0:
        raise ValueError(f"phantom seed: got {seed}, need 0 or more; choose another patient number")
    streams = {
        stage: np.random.default_rng(np.random.SeedSequence([seed, number])) for number, stage in enumerate(STAGES)
    }
    patient = draw_patient(streams["patient"])
    contrast = drinks_contrast(streams["patient"])
    frame = build_frame(streams["frame"], patient, options)
    canvas = Canvas(frame, paint_body(frame, patient))
    masks = _paint(canvas, patient, contrast, streams)
    grey = draw_grey_values(streams["grey"], patient, contrast)
    hu = render(streams["noise"], canvas.labels, grey, options)
    return PhantomCase(hu, masks, frame.spacing, patient.absent)


def _paint(
    canvas: Canvas,
    patient: Patient,
    contrast: bool,
    streams: dict[str, np.random.Generator],
) -> dict[str, BoolArray]:
    """Paint from the back wall forwards; who comes first keeps the space."""
    rng, around = streams["organs"], streams["neighbours"]
    here = {organ.key for organ in ORGANS} - patient.absent
    masks = {organ.key: np.zeros(canvas.labels.shape, bool) for organ in ORGANS}
    masks["aorta"] = paint_aorta(canvas, rng)
    paint_vessels(canvas, around)
    for key, side in (("kidney_right", -1), ("kidney_left", 1)):
        if key in here:
            masks[key] = paint_kidney(canvas, rng, patient, side)
    if "gallbladder" in here:
        masks["gallbladder"] = paint_gallbladder(canvas, rng, patient)
    masks["pancreas"] = paint_pancreas(canvas, rng, patient)
    paint_duodenum(canvas, around, contrast)
    if "spleen" in here:
        masks["spleen"] = paint_spleen(canvas, rng, patient)
    masks["stomach"] = paint_stomach(canvas, rng, patient)
    paint_adrenals(canvas)
    masks["liver"] = paint_liver(canvas, rng, patient)
    paint_liver_vessels(canvas, around, masks["liver"])
    if "liver_tumor" in here:
        masks["liver_tumor"] = paint_tumor(canvas, rng, masks["liver"])
    paint_colon(canvas, around)
    paint_small_bowel(canvas, around, contrast)
    add_gas_level(rng, canvas.labels)
    return masks
