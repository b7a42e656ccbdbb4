"""Truth: annotations that only evaluation and experiments may read."""

from dataclasses import dataclass
from pathlib import Path

from smiler.domain.cohort import Cohort
from smiler.domain.ledger import read_cohort
from smiler.domain.remote import place


@dataclass(frozen=True)
class Truth:
    """A cohort against which predictions are measured. Training can't import this type, nor open a sealed cohort."""

    cohort: Cohort

    @classmethod
    def open(cls, folder: str | Path) -> "Truth":
        """Open a cohort, sealed or not, to measure against it."""
        return cls(read_cohort(place(folder), sealed=True))
