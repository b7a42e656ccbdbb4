"""Ranking rules: from a prediction to a rank per organ and voxel, higher is safer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Half = NDArray[np.float16]
Ranks = NDArray[np.float32]


class Said(Protocol):
    """What a rule may look at, arrays of one shape (n, z, y, x), the optional ones only where the rule asked for them.

    `score`: above 0 where the organ is predicted; `mean`, `spread`: of the probability over several opinions;
    `confidence`: learned, from 0 to 1.
    """

    @property
    def score(self) -> Half: ...  # noqa: D102
    @property
    def mean(self) -> Half | None: ...  # noqa: D102
    @property
    def spread(self) -> Half | None: ...  # noqa: D102
    @property
    def confidence(self) -> Half | None: ...  # noqa: D102


Rule = Callable[[Said], Ranks]
Need = Literal["dropout", "members", "confidence"]


@dataclass(frozen=True)
class Needing:
    """A rule that looks at more than the score: opinions of dropout or of an ensemble's members, or the confidence."""

    need: Need
    rank: Rule

    @property
    def title(self) -> str:
        """What it ranks by, and of whom."""
        return f"{(self.rank.__doc__ or '').partition(chr(10))[0].rstrip('.')} (needs {self.need})"

    def __call__(self, said: Said) -> Ranks:
        """Ranks (n, z, y, x)."""
        return self.rank(said)


def score(said: Said) -> Ranks:
    """The logit itself: saturated probabilities tie at 1, logits don't (Petit et al. 2018, section 2.2)."""
    return said.score.astype(np.float32)


def least_spread(said: Said) -> Ranks:
    """Lowest standard deviation over opinions first (Gal and Ghahramani 2016; Lakshminarayanan et al. 2017)."""
    return -_given(said.spread).astype(np.float32)


def entropy(said: Said) -> Ranks:
    """Lowest entropy of the mean probability over opinions first (Gal, thesis 2016, section 3.3.1).

    Of a single opinion's probability it would order a network's positives exactly as `score` does.
    """
    p = np.clip(_given(said.mean).astype(np.float32), 1e-6, 1 - 1e-6)
    ranks: Ranks = p * np.log(p) + (1 - p) * np.log1p(-p)
    return ranks


def confidence(said: Said) -> Ranks:
    """Highest learned confidence first (INERRANT: Petit et al. 2021)."""
    return _given(said.confidence).astype(np.float32)


def _given(values: Half | None) -> Half:
    if values is None:
        raise ValueError("the rule needs a prediction with what it ranks by: see Needing")
    return values
