"""What looks wrong in annotations that can be read: volumes far from the others', organs on the wrong side."""

import math
from collections.abc import Iterator, Sequence
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
FEWEST_CASES = 8
FARTHEST_SD = 4.0
LEAST_SD = 0.1
"""Of log volumes: whatever the others' spread, a tenth more or less is never remarkable."""


def implausible(cases: Sequence[CaseAudit], organs: Sequence[str]) -> Iterator[str]:
    """One sentence per finding, each naming case, organ and the numbers."""
    for organ in organs:
        yield from _odd_volumes(cases, organ)
    for case in cases:
        yield from _wrong_sides(case)


def _odd_volumes(cases: Sequence[CaseAudit], organ: str) -> Iterator[str]:
    """Measured against the *other* cases: none of n values lies farther than (n-1)/sqrt(n) sd from their own mean."""
    volumes = {
        case.id: case.counts[organ].volume_ml
        for case in cases
        if case.coverage[organ] is Coverage.ANNOTATED and case.counts and case.counts[organ].drawn
    }
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
