"""What looks wrong in annotations that can be read: sizes, sides, pieces, grey values far from what anatomy has.

The norms are measured on 18 portal-venous abdominal CT (docs/science.md); what lies far from them is a note, no fault.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from smiler.audit.case import CaseAudit, Coverage

SIDES = {
    "liver": "right",
    "gallbladder": "right",
    "kidney_right": "right",
    "adrenal_right": "right",
    "lung_right": "right",
    "spleen": "left",
    "kidney_left": "left",
    "adrenal_left": "left",
    "lung_left": "left",
}
"""On which side of the patient an organ's centre lies."""


@dataclass(frozen=True)
class Norm:
    """Usual volume in ml, and mean HU with its standard deviation over patients."""

    ml: float
    hu: float
    hu_sd: float


NORMS: Mapping[str, Norm] = {
    "liver": Norm(1838, 89, 30),
    "stomach": Norm(447, 49, 61),
    "pancreas": Norm(84, 76, 32),
    "spleen": Norm(250, 104, 29),
    "kidney_right": Norm(170, 124, 50),
    "kidney_left": Norm(171, 122, 52),
    "gallbladder": Norm(32, 32, 35),
    "aorta": Norm(118, 149, 47),
}
ONE_PIECE = frozenset(NORMS) | {"duodenum", "esophagus", "urinary_bladder", "adrenal_left", "adrenal_right", "heart"}
ABOVE = (("liver", "kidney_right"), ("spleen", "kidney_left"), ("liver", "urinary_bladder"), ("lung", "liver"))
"""Pairs whose first lies higher."""
TIMES = 5.0
"""A volume so many times the norm, or so small a part of it, is worth a look."""
FARTHEST_HU_SD = 5.0
LEAST_IN_ONE = 0.95
SMALLEST_IMAGE_ML = 5000.0
"""Smaller images hold no torso: norms say nothing of them."""
FEWEST_CASES = 8
FARTHEST_SD = 4.0
LEAST_SD = 0.1
"""Of log volumes: whatever the others' spread, a tenth more or less is never remarkable."""


def implausible(cases: Sequence[CaseAudit], organs: Sequence[str]) -> Iterator[str]:
    """One sentence per finding, each naming case, organ and the numbers."""
    for case in cases:
        yield from _wrong_sides(case)
        yield from _upside_down(case)
    for organ in organs:
        yield from _odd_volumes(cases, organ)
    for case in cases:
        if case.geometry and math.prod(case.geometry.shape) * case.geometry.voxel_ml >= SMALLEST_IMAGE_ML:
            yield from _far_from_norms(case)
    for organ in organs:
        yield from _cut(cases, organ)


def _whole(case: CaseAudit, organ: str) -> bool:
    """Whether the organ is drawn on all slices and no border of the image cuts it."""
    drawn = case.coverage[organ] is Coverage.ANNOTATED and bool(case.counts) and case.counts[organ].drawn > 0
    return drawn and not (organ in case.shapes and _ends(case, organ))


def _ends(case: CaseAudit, organ: str) -> bool:
    """Whether the organ reaches the image's first or last slice, in an image that could hold it."""
    large = case.geometry and math.prod(case.geometry.shape) * case.geometry.voxel_ml >= SMALLEST_IMAGE_ML
    return bool(large) and any("slice" in name for name in case.shapes[organ].borders)


def _odd_volumes(cases: Sequence[CaseAudit], organ: str) -> Iterator[str]:
    """Measured against the *other* cases: none of n values lies farther than (n-1)/sqrt(n) sd from their own mean."""
    volumes = {case.id: case.counts[organ].volume_ml for case in cases if _whole(case, organ)}
    if len(volumes) < FEWEST_CASES:
        return
    for case_id, volume in volumes.items():
        others = [math.log(other) for key, other in volumes.items() if key != case_id]
        middle, apart = fmean(others), max(stdev(others), LEAST_SD)
        distance = (math.log(volume) - middle) / apart
        if abs(distance) > FARTHEST_SD:
            side = "above" if distance > 0 else "below"
            yield (
                f"case {case_id}, organ {organ}: {volume:.4g} ml lies {abs(distance):.1f} sd {side}"
                f" the other {len(others)} cases (mean {math.exp(middle):.4g} ml)"
            )


def _cut(cases: Sequence[CaseAudit], organ: str) -> Iterator[str]:
    """One sentence an organ: chest and pelvis scans cut many, and nothing is wrong with that."""
    cut = [case.id for case in cases if organ in case.shapes and _ends(case, organ)]
    if cut:
        shown = ", ".join(cut[:8]) + (" ..." if len(cut) > 8 else "")
        many = f"{len(cut)} case{'s' * (len(cut) != 1)}"
        yield f"organ {organ}: reaches the first or last slice in {many} (volumes not judged): {shown}"


def _wrong_sides(case: CaseAudit) -> Iterator[str]:
    for organ, side in SIDES.items():
        if organ not in case.counts or case.coverage[organ] is Coverage.PARTIAL:
            continue
        x = case.counts[organ].x
        if (x > 0.5) if side == "right" else (x < 0.5):
            yield (
                f"case {case.id}, organ {organ}: may be mirrored: its centre is at {x:.2f} of the image's width"
                f" (0 = patient's right, 1 = left) and is expected on the {side}"
            )


def _upside_down(case: CaseAudit) -> Iterator[str]:
    """Told once a case, and only where every pair says so."""
    pairs = [(a, b) for a, b in ABOVE if a in case.shapes and b in case.shapes]
    if len(pairs) > 1 and all(case.shapes[a].middle < case.shapes[b].middle for a, b in pairs):
        told = ", ".join(f"{a} below {b}" for a, b in pairs)
        yield f"case {case.id}: may be upside down: {told}"


def _far_from_norms(case: CaseAudit) -> Iterator[str]:
    for organ, shape in case.shapes.items():
        norm = NORMS.get(organ)
        ml = case.counts[organ].volume_ml
        if norm and _whole(case, organ) and not norm.ml / TIMES <= ml <= norm.ml * TIMES:
            yield f"case {case.id}, organ {organ}: {ml:.4g} ml, where {norm.ml:.4g} ml are usual"
        if norm and shape.hu is not None and abs(shape.hu - norm.hu) > FARTHEST_HU_SD * norm.hu_sd:
            yield f"case {case.id}, organ {organ}: its mean is {shape.hu:.0f} HU, where {norm.hu:.0f} are usual"
        if organ in ONE_PIECE and shape.largest < LEAST_IN_ONE and case.coverage[organ] is Coverage.ANNOTATED:
            yield (
                f"case {case.id}, organ {organ}: in {shape.pieces} pieces,"
                f" the largest with {100 * shape.largest:.0f} % of its voxels"
            )
