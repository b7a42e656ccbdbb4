"""The arms of a comparison: what each is trained on and by which method; what they share is nobody's to change."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """One arm. `complete`: it sees every annotation. `of`: the arm whose network it uses, trained once for both."""

    title: str
    method: str
    complete: bool = False
    of: str | None = None


ARMS: dict[str, Arm] = {
    "full": Arm("full annotation: the level to reach", "smile", complete=True),
    "baseline": Arm("a missing organ is background", "baseline"),
    "smile": Arm("what nobody knows is ignored", "smile"),
    "smiler": Arm("SMILE and rounds of relabelling", "smiler"),
}
