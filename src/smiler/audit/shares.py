"""What share of an organ's voxels a loss is told when annotations go missing at random: exact, to check counts against.

For exclusive organs and independent removal at rate alpha (docs/science.md, section 2). S_k is the other organs' share.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from smiler.domain.errors import BadInput


@dataclass(frozen=True)
class Shares:
    """Shares of all voxels, together 1: told that the organ is there, told that it is not, told nothing."""

    positive: float
    negative: float
    ignored: float


def expected_shares(beta: Mapping[str, float], alpha: float) -> dict[str, Shares]:
    """Per organ, the expected shares under the SMILE reading. beta: organ -> its share of all voxels.

    BadInput unless alpha is in 0 to 1 and the shares of exclusive organs are not negative and at most 1 together.
    """
    if not 0 <= alpha <= 1:
        raise BadInput("a share is between 0 and 1", where="alpha", got=f"{alpha:g}")
    if min(beta.values(), default=0) < 0 or sum(beta.values()) > 1 + 1e-9:
        raise BadInput("shares of exclusive organs are at most 1 together", where="beta", got=str(dict(beta)))
    return {organ: _shares(own, sum(beta.values()) - own, alpha) for organ, own in beta.items()}


def _shares(own: float, others: float, alpha: float) -> Shares:
    kept = 1 - alpha
    return Shares(kept * own, kept * (1 - own) + alpha * kept * others, alpha * (1 - kept * others))
