"""smiler: train organ segmentation on partly annotated CT cohorts and complete their annotations.

The verbs of the command line, in Python: `Cohort.open`, `train`, `train_folds`, `predict`, `relabel`, `evaluate`.
Importing this package loads nothing else; each name is loaded when it is first used.
"""

import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
"""Read when numpy is loaded: its threads sleep as soon as a matrix product is done.

By default they turn for some 2^26 cycles, and take a core from the network that goes on meanwhile (decision 15).
"""

if TYPE_CHECKING:
    from smiler.api import evaluate, predict, relabel, train, train_folds
    from smiler.domain.cohort import Cohort

__all__ = ["Cohort", "evaluate", "predict", "relabel", "train", "train_folds"]


def __getattr__(name: str) -> Any:
    if name == "Cohort":
        from smiler.domain.cohort import Cohort

        return Cohort
    if name in __all__:
        from smiler import api

        return getattr(api, name)
    raise AttributeError(f"module 'smiler' has no attribute {name!r}")
