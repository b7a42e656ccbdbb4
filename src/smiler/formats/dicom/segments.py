"""What a segment or an ROI is written as: which organ, under which code, drawn by whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from smiler.domain.organs import OrganSet

TRACKING = "smiler:"
"""Before the organ's key in a segment's tracking id or an ROI's description: so it comes back as the same organ."""
Drawn = Literal["MANUAL", "SEMIAUTOMATIC", "AUTOMATIC"]


@dataclass(frozen=True)
class Segment:
    """One organ. kind: who drew it; region: SNOMED CT code and name of what it lies in."""

    key: str
    title: str
    snomed: str
    kind: Drawn
    region: tuple[str, str] = ("", "")


def segments_of(organs: OrganSet, keys: Sequence[str], kind: Drawn) -> list[Segment]:
    """Segments of some organs, in the order of `keys`."""
    return [segment_of(organs, key, kind) for key in keys]


def segment_of(organs: OrganSet, key: str, kind: Drawn) -> Segment:
    """The segment of an organ."""
    organ = organs[key]
    whole = organs[organ.part_of] if organ.part_of else None
    region = (whole.snomed, whole.title or whole.key) if whole and whole.snomed else ("", "")
    return Segment(key, organ.title or key, organ.snomed, kind, region)
