"""The JSON that a report reads: its shape, checked before anything is drawn."""

from enum import Enum
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from smiler.domain.errors import BadInput
from smiler.domain.files import read_json


class Coverage(Enum):
    """What the ledger says of one organ in one volume, as the coverage figure shows it."""

    ANNOTATED = "annotated"
    PARTIAL = "partial"
    ABSENT = "absent"
    AUTO = "auto"
    UNANNOTATED = "unannotated"


class _Input(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Voxels(_Input):
    """Voxels of one organ by what is known of them, over the whole cohort."""

    positive: int = Field(0, ge=0)
    implied: int = Field(0, ge=0)
    pseudo: int = Field(0, ge=0)
    negative: int = Field(0, ge=0)
    excluded: int = Field(0, ge=0)
    unknown: int = Field(0, ge=0)

    @property
    def total(self) -> int:
        """All voxels."""
        return self.positive + self.implied + self.pseudo + self.negative + self.excluded + self.unknown


class Audit(_Input):
    """`audit.json`: who annotated what, and what that means to a loss."""

    cases: tuple[str, ...]
    organs: tuple[str, ...]
    titles: dict[str, str] = {}
    coverage: tuple[tuple[Coverage, ...], ...]
    alpha: dict[str, float] = {}
    voxels: dict[str, Voxels] = {}
    expected_false_negatives: dict[str, float] = {}
    false_negatives: dict[str, float] | None = None
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        rows, columns = len(self.cases), len(self.organs)
        if len(self.coverage) != rows or any(len(row) != columns for row in self.coverage):
            raise ValueError(f"coverage must have {rows} rows (cases) of {columns} statuses (organs)")
        return self


class Relabelled(_Input):
    """How right the accepted voxels of one organ were in one round; null where none was accepted."""

    round: int = Field(ge=1)
    organ: str
    gamma: float = Field(ge=0, le=1)
    precision: float | None = Field(None, ge=0, le=1)
    recall: float | None = Field(None, ge=0, le=1)
    voxels: int = Field(0, ge=0)


class Summary(_Input):
    """`summary.json`: the few numbers that a comparison of arms comes down to. Dice in points, 0 to 100."""

    alpha: float | None = Field(None, ge=0, le=1)
    dice: dict[str, float] = {}
    relabel: tuple[Relabelled, ...] = ()
    seconds: float | None = Field(None, ge=0)
    n_train: int | None = None
    n_test: int | None = None
    steps: int | None = None
    machine: str | None = None
    versions: dict[str, str] = {}
    organs: dict[str, str] = {}

    @model_validator(mode="after")
    def _points(self) -> Self:
        if not all(0 <= value <= 100 for value in self.dice.values()):
            raise ValueError("dice is given in points from 0 to 100")
        return self


class Calibration(_Input):
    """How often a probability is right: per bin voxels, mean probability and frequency."""

    bins: tuple[tuple[int, float | None, float | None], ...]
    ece: float | None = None


class Risk(_Input):
    """Share of wrong voxels among the safest ones, at each coverage, and its mean."""

    risk: tuple[float | None, ...]
    area: float | None = None


class Uncertain(Calibration):
    """One organ in `uncertainty.json`."""

    risk: dict[str, Risk]


class SweepFacts(_Input):
    """What a sweep's `summary.json` tells besides numbers."""

    trials: int
    machine: str
    steps: int | None = None


Model = TypeVar("Model", bound=BaseModel)


def read_model(path: Path, model: type[Model]) -> Model | None:
    """The file's content as `model`, None where there is no such file, BadInput naming file and field otherwise."""
    if not path.exists():
        return None
    value = read_json(path)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadInput(
            first["msg"],
            where=f"{path}, {place}" if place else str(path),
            got=repr(first["input"])[:80],
            do=f"write the file again with the command that made it ({error.error_count()} such faults)",
        ) from error


def read_text(path: Path) -> str | None:
    """A text file as it is, None where there is none."""
    if not path.exists():
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("the file is not readable text", where=str(path), got=str(error)) from error
