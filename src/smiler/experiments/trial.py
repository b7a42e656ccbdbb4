"""One trial: an arm at one share of missing annotations, on one fold with one seed; a folder that says all it needs.

`trial.json` is the order; the folder is a run folder, too, for what was trained; `scores.csv`, `shown/` and
`outcome.json` (written last) are what came out. A trial that was killed goes on where it was; one that is done is not
done again.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.files import write_json
from smiler.domain.progress import Progress, Silent
from smiler.domain.shaped import read_as
from smiler.evaluation.score_table import read_scores, write_scores
from smiler.evaluation.scores import Score, absence, mean_dice, points, score_case
from smiler.evaluation.truth import Truth
from smiler.experiments.round_audit import RoundAudit, audit_round
from smiler.experiments.uncertainty import measure_uncertainty
from smiler.networks.checkpoint import find_checkpoint
from smiler.networks.device import make_fabric
from smiler.prediction.model import Model, load_model
from smiler.recipe.recipe import Recipe
from smiler.report.inputs import Calibration, Risk
from smiler.store.arrays import open_array, save_array
from smiler.store.store import Store
from smiler.verbs.evaluate import measure, with_learned
from smiler.verbs.run import RunFolder, training_record
from smiler.verbs.train import TrainRequest, open_store, select_organs, train_rounds

SHOWN = 3


class Trial(BaseModel):
    """What to train on what, and what to measure it on.

    `cohort` and `cases`: trained on; `complete`: the same patients and those of `test` with every annotation;
    `validation`: a cohort of other patients, masked alike, to choose the round by. `trained_by`: folder of another
    trial whose network is used with another recipe's prediction options, so that nothing is trained.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: str
    alpha: float
    fold: int = 0
    seed: int = 0
    cohort: Path
    complete: Path
    cases: tuple[str, ...]
    validation: Path | None = None
    test: tuple[str, ...]
    cache: Path
    recipe: Recipe
    trained_by: Path | None = None
    threads: int = 1
    uncertainty: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.arm}, alpha {self.alpha:g}, fold {self.fold}" + (f", seed {self.seed}" if self.seed else "")


class _Row(BaseModel):
    """An organ in a round."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    round: int
    organ: str
    precision: float | None


class Accepted(_Row):
    """What truth says of its proposals: `relabel` of an outcome."""

    gamma: float
    recall: float | None
    voxels: int


class Guessed(_Row):
    """What held-out pairs say of them: `estimated` of an outcome."""

    share: float
    pairs: int


class Validated(BaseModel):
    """What validation patients say of a round: Dice, and by pair."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    round: int
    dice: float | None
    by_pair: dict[str, float]


class Uncertain(BaseModel):
    """What an organ's calibration and ranking by uncertainty came to."""

    reliability: Calibration
    risk: dict[str, Risk]


class Outcome(BaseModel):
    """`outcome.json` of a trial."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    dice: float | None
    round: int
    validation: list[Validated]
    relabel: list[Accepted]
    estimated: list[Guessed]
    train_seconds: float
    measure_seconds: float
    steps: int = Field(ge=0, lt=2**53)
    uncertainty: dict[str, Uncertain] = {}


@dataclass(frozen=True)
class TrialFolder:
    """Where everything of a trial lies."""

    path: Path

    @property
    def run(self) -> RunFolder:
        """The run that it trained, or whose network it uses."""
        return RunFolder(self.trial().trained_by or self.path)

    @property
    def ordered(self) -> bool:
        """Whether there is an order."""
        return (self.path / "trial.json").exists()

    @property
    def done(self) -> bool:
        """Whether the outcome is here."""
        return (self.path / "outcome.json").exists()

    def order(self, trial: Trial) -> None:
        """Write the order; one that is here already stays, but for how many threads it may use."""
        if self.ordered:
            old = self.trial()
            if old.model_copy(update={"threads": trial.threads}) != trial:
                raise BadInput(
                    "a trial with other options is here already", where=str(self.path), do="choose another folder"
                )
            return
        write_json(self.path / "trial.json", trial.model_dump(mode="json"))

    def trial(self) -> Trial:
        """The order."""
        return read_as(self.path / "trial.json", Trial)

    def outcome(self) -> dict[str, Any]:
        """What came out, besides the scores."""
        return read_as(self.path / "outcome.json", Outcome).model_dump(exclude_unset=True)

    def scores(self) -> list[Score]:
        """Every patient and organ."""
        return [score for _, score in read_scores(self.path / "scores.csv")]

    def proposals(self, number: int, case: str) -> Any:
        """Accepted proposals (z, y, x) of a round for a training case, as bits on the working grid."""
        return open_array(self.path / "rounds" / str(number) / "proposals" / f"{case}.b2nd")

    def shown(self, case: str) -> Any:
        """Predicted bits (z, y, x) of one of the first test cases."""
        return open_array(self.path / "shown" / f"{case}.b2nd")


def run_trial(folder: TrialFolder, progress: Progress | None = None) -> None:
    """Train, choose the round, measure; the outcome is written last."""
    trial, shown = folder.trial(), progress or Silent()
    torch.set_num_threads(trial.threads)
    complete = Truth.open(trial.complete)
    begin = time.monotonic()
    course = _train(folder, trial, complete, shown)
    trained = time.monotonic()
    model = _model(folder, trial, course.best)
    test = Truth(complete.cohort.only(trial.test))
    scores = list(_measure(folder, model, trial, test, shown))
    write_scores(folder.path / "scores.csv", scores)
    outcome: dict[str, Any] = {
        "dice": points(mean_dice(scores)),
        "absence": absence(scores).to_json(),
        "round": course.best,
        "validation": course.validation,
        "relabel": [audit.to_json() for audit in course.audits],
        "estimated": course.estimated,
        "train_seconds": round(trained - begin, 1),
        "measure_seconds": round(time.monotonic() - trained, 1),
        "steps": trial.recipe.training.steps,
        "threads": trial.threads,
    }
    if trial.uncertainty:
        outcome["uncertainty"] = measure_uncertainty(model, _store(test.cohort, trial))
    write_json(folder.path / "outcome.json", outcome)


@dataclass
class _Course:
    """How training went: what validation says of each round, the one chosen, what truth says of the proposals."""

    validation: list[dict[str, Any]] = field(default_factory=list)
    audits: list[RoundAudit] = field(default_factory=list)
    estimated: list[dict[str, Any]] = field(default_factory=list)
    best: int = 0


def choose_round(validation: Sequence[Mapping[str, Any]], last: int) -> int:
    """The last round, but for one that is better on the validation pairs by more than two standard errors of its gain.

    Only the last round's network has come to the end of its learning rate: a few pairs' luck must not choose another.
    """
    final: Mapping[str, float] = next((row["by_pair"] for row in validation if row["round"] == last), {})
    gains = {}
    for row in validation:
        gain = np.array([dice - final[pair] for pair, dice in row["by_pair"].items()])
        if row["round"] < last and len(gain) > 1 and gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(len(gain)):
            gains[row["round"]] = gain.mean()
    return max(gains, key=lambda number: (gains[number], number), default=last)


def _train(folder: TrialFolder, trial: Trial, complete: Truth, progress: Progress) -> _Course:
    if trial.trained_by:
        made = TrialFolder(trial.trained_by).outcome()
        return _Course(validation=list(made["validation"]), best=int(made["round"]))
    course = _Course()
    cohort = Cohort.open(trial.cohort).only(trial.cases)
    request = TrainRequest(cohort, folder.path, trial.recipe, trial.cache, folder.run.exists)
    for done in train_rounds(request, progress):
        if done.number:
            stores = (_store(part, trial) for part in (cohort, complete.cohort.only(trial.cases)))
            course.audits += audit_round(done, *stores)
            course.estimated += [{"round": done.number, **asdict(row)} for row in done.estimated.values()]
        if trial.validation:
            course.validation.append(_validate(_model(folder, trial, done.number), trial, done.number))
    course.best = choose_round(course.validation, trial.recipe.curriculum.rounds)
    return course


def _validate(model: Model, trial: Trial, number: int) -> dict[str, Any]:
    """Dice of the known pairs of the validation patients: what anyone could know without the truth.

    `by_pair`, by which the round is chosen, has absence too (1 where it is right, 0 for a false alarm): a round must
    not win by finding organs that are not there.
    """
    masked = Truth(Cohort.open(trial.validation or trial.cohort))
    found = [
        score
        for case in masked.cohort
        for score in score_case(masked, case, measure(model, trial.recipe, masked, case))
    ]
    by_pair = {f"{score.case} {score.organ}": score.dice for score in found}
    return {"round": number, "dice": mean_dice(found), "by_pair": by_pair}


def _store(cohort: Cohort, trial: Trial) -> Store:
    return open_store(select_organs(cohort, trial.recipe), trial.recipe, trial.cache, Silent())


def _model(folder: TrialFolder, trial: Trial, number: int) -> Model:
    checkpoint = find_checkpoint(folder.run.stage_folder(number))
    if checkpoint is None:
        raise BadInput("the trial's network is gone", where=str(folder.path), do="delete the folder and run it again")
    return load_model(checkpoint, make_fabric(trial.recipe.training.device, trial.recipe.training.precision))


def _measure(folder: TrialFolder, model: Model, trial: Trial, test: Truth, progress: Progress) -> Iterator[Score]:
    record = training_record(folder.run.path)
    for place, case in enumerate(progress.track(test.cohort, f"measuring {trial.name}", len(test.cohort))):
        found = measure(model, trial.recipe, test, case)
        if place < SHOWN:
            save_array(folder.path / "shown" / f"{case.id}.b2nd", found.bits)
        yield from with_learned(score_case(test, case, found), test, case, record)
