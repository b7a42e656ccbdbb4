"""From scores to masks: an organ is where its score is above 0 and the best among the organs that exclude it."""

import numpy as np
from numpy.typing import NDArray

from smiler.domain.evidence import Relations


def compose(scores: NDArray[np.floating], relations: Relations) -> NDArray[np.int32]:
    """Bit field (*space) from scores (K, *space). Nested organs may overlap, exclusive ones never; first wins ties."""
    bits = np.zeros(scores.shape[1:], dtype=np.int32)
    present = [k for k in range(len(scores)) if scores[k].max(initial=-np.inf) > 0]
    for k in present:
        mask = scores[k] > 0
        for j in present:
            if relations.excluders[k] >> j & 1:
                mask &= (scores[k] > scores[j]) if j < k else (scores[k] >= scores[j])
        bits |= mask.astype(np.int32) << np.int32(k)
    return bits
