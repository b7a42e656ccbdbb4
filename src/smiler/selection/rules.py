"""Ranking rules: from a prediction to a rank per voxel, higher is safer."""

import numpy as np
from numpy.typing import NDArray

Half = NDArray[np.float16]


def score(scores: Half, spread: Half | None) -> NDArray[np.float32]:  # noqa: ARG001
    """The logit itself: saturated probabilities tie at 1, logits don't (Petit et al. 2018, section 2.2)."""
    return scores.astype(np.float32)


def mc_dropout(scores: Half, spread: Half | None) -> NDArray[np.float32]:
    """Lowest standard deviation over stochastic passes first (Gal and Ghahramani 2016)."""
    if spread is None:
        raise ValueError("mc_dropout ranks by spread: predict with stochastic passes")
    return -spread.astype(np.float32) + 0 * scores.astype(np.float32)
