"""Plan a recipe: choices from the data, then a few real steps on this machine for batch, memory and time."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from smiler.curriculum.estimate import Estimate, estimate, seconds_relabelling
from smiler.domain.checks import check_number
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.progress import Progress, Silent
from smiler.networks.device import make_training_fabric
from smiler.planning.plan_file import PLAN, write_plan
from smiler.planning.rules import Choice, choices
from smiler.planning.survey import Survey, survey
from smiler.recipe.recipe import Recipe, load_recipe, read_toml
from smiler.verbs.train import LEAST_MINUTES, TrainRequest, open_store, plan_of, select_organs, steps_within, train
from smiler.workers.memory import available_bytes, peak_bytes
from smiler.workers.processes import Processes

MEMORY_FRACTION = 0.5
"""Of the memory that is available a training may take."""
TRIAL_STEPS, TRIAL_CASES = 8, 2


@dataclass(frozen=True)
class PlanRequest:
    """What to plan. `changes`: options that the user has decided, such as 'network.name=unet3d'.

    `out`: the file to write; None: `plan.toml` in the cohort's folder. One that is there stays: a person may have
    edited it.
    """

    cohort: Cohort
    method: str = "smiler"
    changes: tuple[str, ...] = ()
    cache: Path | None = None
    budget_minutes: float | None = None
    out: Path | None = None

    def __post_init__(self) -> None:
        if self.path.exists():
            do = "train with it, remove it to plan anew, or write another file with --out"
            raise BadInput("a plan is here already, and may have been edited", where=str(self.path), do=do)
        if self.budget_minutes is not None:
            check_number(self.budget_minutes, "--time-budget", LEAST_MINUTES)

    @property
    def path(self) -> Path:
        """Where the plan is written."""
        return self.out or self.cohort.folder / PLAN


@dataclass(frozen=True)
class Trial:
    """What a few real steps took. `memory_gb`: the peak of the whole process; `gpu_gb`: of it on a GPU, 0 without."""

    seconds_a_step: float
    seconds_relabelling: float
    memory_gb: float
    gpu_gb: float


@dataclass(frozen=True)
class Plan:
    """The choices, the recipe that they make, and what it cost in the trial."""

    survey: Survey
    choices: tuple[Choice, ...]
    recipe: Recipe
    trial: Trial

    @property
    def minutes(self) -> float:
        """Of the whole training, relabelling included."""
        return (self.recipe.training.steps * self.trial.seconds_a_step + self.trial.seconds_relabelling) / 60


def plan(request: PlanRequest, progress: Progress | None = None) -> Plan:
    """Choose by the data, then by trial, and write the choices.

    Without a time budget only the batch depends on the machine.

    Raises:
        BadInput: the cohort can't be trained on, or even a batch of one does not fit into the memory.
    """
    shown = progress or Silent()
    measured, chosen = _from_data(request.cohort, request.method, request.changes, shown)
    recipe = _recipe(request, chosen)
    trial, batch = _fitting(request, measured, recipe, shown)
    chosen += (batch,) if batch else ()
    if request.budget_minutes is not None:
        chosen += (_steps(trial, request.budget_minutes, recipe.curriculum.rounds),)
    write_plan(request.path, chosen, f"smiler plan for {len(request.cohort)} cases")
    return Plan(measured, chosen, _recipe(request, chosen), trial)


def _recipe(request: PlanRequest, chosen: Sequence[Choice]) -> Recipe:
    return load_recipe(request.method, None, [*(choice.change for choice in chosen), *request.changes])


def planned_recipe(cohort: Cohort, method: str, changes: Sequence[str], progress: Progress | None = None) -> Recipe:
    """The recipe of `smiler train`: by the cohort's `plan.toml`, else by the data; the user's changes come last."""
    shown, path = progress or Silent(), cohort.folder / PLAN
    wanted = load_recipe(method, None, changes).network.name
    if path.exists():
        if _network_of(path) in {wanted, None}:
            shown.note(f"planned by {path}")
            return load_recipe(method, path, changes)
        shown.note(f"{path} is for the network {_network_of(path)}, not for {wanted}: planned without it")
    try:
        _, chosen = _from_data(cohort, method, changes, shown)
    except BadInput as error:  # if the training can't go on with it either, it lists every fault at once
        shown.note(f"not planned, so that the method's own options are taken: {error.what} ({error.where})")
        return load_recipe(method, None, changes)
    planned = [choice.change for choice in chosen]
    shown.note(f"planned from the data (smiler plan says why): {', '.join(planned)}")
    return load_recipe(method, None, [*planned, *changes])


def _network_of(path: Path) -> object:
    network = read_toml(path).get("network")
    return network.get("name") if isinstance(network, dict) else None


def _from_data(
    cohort: Cohort, method: str, changes: Sequence[str], progress: Progress
) -> tuple[Survey, tuple[Choice, ...]]:
    """Survey and choices, without those that the user has made."""
    recipe = load_recipe(method, None, changes)
    measured = survey(select_organs(cohort, recipe), recipe.reading, recipe.labels, progress)
    decided = {change.partition("=")[0].strip() for change in changes}
    network = Choice("network.name", recipe.network.name, "asked for" if "network.name" in decided else "the usual one")
    made = (network, *choices(measured, recipe))
    return measured, tuple(choice for choice in made if choice.option not in decided - {"network.name"})


def _fitting(request: PlanRequest, measured: Survey, recipe: Recipe, progress: Progress) -> tuple[Trial, Choice | None]:
    """A trial of the largest batch that fits, and that batch if it is smaller than the recipe's."""
    limit, wanted = MEMORY_FRACTION * available_bytes() / 1e9, recipe.sampling.batch_size
    size = wanted
    while True:
        fitting = recipe.model_copy(update={"sampling": recipe.sampling.model_copy(update={"batch_size": size})})
        progress.note(f"trying {TRIAL_STEPS} steps of {size} patches")
        (trial,) = Processes(1).map(_Try(_trial_cohort(request.cohort, measured, recipe), request.cache, fitting), [0])
        if trial.memory_gb <= limit:
            break
        if size == 1 or any(change.startswith("sampling.batch_size") for change in request.changes):
            raise BadInput(
                "the training does not fit into the memory",
                where="sampling.batch_size",
                got=f"{trial.memory_gb:.1f} GB with {size} patches, {limit:.1f} GB may be used",
                do="take smaller patches (--set sampling.patch_size=64), or a larger machine",
            )
        size //= 2
    part = sum(_volume(measured, case) for case in _trial_ids(request.cohort, measured, recipe))
    whole = sum(_volume(measured, case) for case in measured.cases)
    trial = replace(trial, seconds_relabelling=trial.seconds_relabelling * whole / part)
    if size == wanted:
        return trial, None
    return trial, Choice("sampling.batch_size", size, f"{wanted} need more than the {limit:.1f} GB that may be used")


def _steps(trial: Trial, minutes: float, rounds: int) -> Choice:
    expected = Estimate(trial.seconds_a_step, trial.memory_gb)
    steps = steps_within(minutes, expected, trial.seconds_relabelling, rounds)
    relabelling = f"{trial.seconds_relabelling / 60:.1f} min of relabelling"
    why = f"{minutes:g} min: {trial.seconds_a_step:.3g} s a step" + (f", {relabelling}" if rounds else "")
    return Choice("training.steps", steps, why)


def _volume(measured: Survey, case: str) -> float:
    number = measured.cases.index(case)
    return float(np.prod(measured.shape[number] * measured.spacing_mm[number]))


def _trial_ids(cohort: Cohort, measured: Survey, recipe: Recipe) -> tuple[str, ...]:
    """The largest cases, and for each organ one in which an expert drew it."""
    ids = dict.fromkeys(measured.largest(TRIAL_CASES))
    for organ in recipe.organs or cohort.organs.keys:
        having = [case.id for case in cohort.cases if case.cell(organ).path and not case.cell(organ).auto]
        if having and not any(case in having for case in ids):
            ids[having[0]] = None
    return tuple(ids)


def _trial_cohort(cohort: Cohort, measured: Survey, recipe: Recipe) -> Cohort:
    return cohort.only(_trial_ids(cohort, measured, recipe))


@dataclass(frozen=True)
class _Try:
    """A training of a few steps with its rounds, in a process of its own, whose peak memory is its own."""

    cohort: Cohort
    cache: Path | None
    recipe: Recipe

    def __call__(self, _number: int) -> Trial:
        import torch

        training = self.recipe.training.model_copy(update={"steps": TRIAL_STEPS})
        short = self.recipe.model_copy(update={"training": training})
        with tempfile.TemporaryDirectory() as folder:
            train(TrainRequest(self.cohort, Path(folder) / "run", short, self.cache))
        peak = peak_bytes()
        fabric = make_training_fabric(training.device, training.precision, 1, short.network.axes)
        store = open_store(select_organs(self.cohort, short), short, self.cache, Silent())
        expected = estimate(fabric, plan_of(short), store)
        gpu = torch.cuda.max_memory_allocated() / 1e9 if fabric.device.type == "cuda" else 0.0
        relabelling = seconds_relabelling(fabric, plan_of(short), store)
        return Trial(expected.seconds_a_step, relabelling, peak / 1e9, gpu)

    def where(self, _number: int) -> str:
        """How an error names it."""
        return "the trial of a plan"
