"""The paper's experiment: every arm at every share of missing annotations, on the same folds, steps and slices.

OUT/sweep.json                              what was asked
OUT/cohorts/fold-0/alpha-0.7/{train,validation}/   what is left of the annotations; the truth sealed apart
OUT/trials/ARM/alpha-0.7/fold-0/seed-0/     one trial each; killed and called again, only what is missing is run
OUT/scores.csv, summary.json, tables/, figures/, report.html
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from smiler.curriculum.estimate import estimate
from smiler.domain.checks import check_choice, check_number, check_once
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.files import write_json
from smiler.domain.folders import Kind, refuse_others
from smiler.domain.locks import writing
from smiler.domain.names import share_name
from smiler.domain.progress import Progress, Silent
from smiler.domain.shaped import read_as
from smiler.experiments.arms import ARMS, Arm
from smiler.experiments.jobs import LocalJobs, Runner, run_trials
from smiler.experiments.protocol import Fold, Masked, complete_cases, hide_fold, make_folds
from smiler.experiments.ray_jobs import RayJobs
from smiler.experiments.trial import Trial, TrialFolder
from smiler.networks.device import make_fabric, settled
from smiler.recipe.recipe import Recipe, load_recipe
from smiler.verbs.train import open_store, plan_of, select_organs
from smiler.workers.cores import usual_jobs
from smiler.workers.over_ray import OverRay

SWEEP = "sweep.json"
ALPHAS = (0.0, 0.3, 0.5, 0.7, 0.9)
USUAL = ("full", "baseline", "baseline-rethreshold", "smile", "marginal-dice", "smiler")
UNCERTAIN = frozenset({"full", "baseline", "smile", "marginal-dice", "smiler-ensemble", "smiler-confidence"})


@dataclass(frozen=True)
class SweepOptions:
    """Arms, shares, folds, seeds; `run_folds`: of `folds` only so many are run; `changes`: for every arm's recipe.

    `jobs` trials at a time, else by the cores, in processes of this machine, or over the Ray of that address.
    """

    arms: tuple[str, ...] = USUAL
    alphas: tuple[float, ...] = ALPHAS
    folds: int = 5
    run_folds: int | None = None
    seeds: tuple[int, ...] = (0,)
    validation: float = 0.1
    organs: tuple[str, ...] = ()
    recipe: Path | None = None
    changes: tuple[str, ...] = ()
    jobs: int | None = None
    budget_minutes: float | None = None
    ray: str = ""

    def __post_init__(self) -> None:
        for arm in self.arms:
            check_choice(arm, "--methods", "arm", ARMS)
        for alpha in self.alphas:
            if not 0 <= alpha < 1:
                raise BadInput("a share lies in [0, 1)", where="--alphas", got=str(alpha))
        if not (self.arms and self.alphas and self.seeds):
            raise BadInput("nothing to run", where="--methods, --alphas, --seeds", do="give at least one of each")
        for seed in self.seeds:
            check_number(seed, "--seeds", 0, whole=True)
        for names, where in ((self.arms, "--methods"), (self.alphas, "--alphas"), (self.seeds, "--seeds")):
            check_once(names, where)
        check_number(self.folds, "--folds", 2, whole=True)
        check_number(self.validation, "--validation", 0, 0.5)
        for value, where, low in (
            (self.run_folds, "--run-folds", 1), (self.jobs, "--jobs", 1), (self.budget_minutes, "--budget", 0.1)
        ):  # fmt: skip
            if value is not None:
                check_number(value, where, low, whole=low == 1)


@dataclass(frozen=True)
class Key:
    """Which trial."""

    arm: str
    alpha: float
    fold: int
    seed: int

    def folder(self, out: Path) -> TrialFolder:
        """Where it lies."""
        return TrialFolder(
            out / "trials" / self.arm / f"alpha-{share_name(self.alpha)}" / f"fold-{self.fold}" / f"seed-{self.seed}"
        )


@dataclass(frozen=True)
class Sweep:
    """What was run: each key with the folder of the trial that answers it (one trial may answer several)."""

    out: Path
    cohort: Cohort
    trials: Mapping[Key, TrialFolder]
    failed: Mapping[Path, str]

    def done(self) -> Iterator[tuple[Key, TrialFolder]]:
        """The keys whose trial has an outcome."""
        yield from ((key, folder) for key, folder in self.trials.items() if folder.done)


def run_sweep(cohort: Cohort, out: Path, options: SweepOptions, progress: Progress | None = None) -> Sweep:
    """Order every trial, say what it will cost, run what is not done. A trial that fails does not stop the rest."""
    shown = progress or Silent()
    out = out.resolve()
    cohort = _only_organs(replace(cohort, folder=cohort.folder.resolve()), options.organs)
    cohort = complete_cases(cohort, options.folds, shown)
    with writing(out), _runner(options) as runner:
        refuse_others(out, Kind.SWEEP)
        folds = make_folds(cohort, options.folds, options.validation, min(options.seeds))
        _check_same(out, cohort, options)
        prepared = _Prepared(cohort, out, options, runner, shown)
        steps = _steps(prepared, folds[0])
        trials = {key: prepared.order(key, fold, steps) for key, fold in _keys(options, folds)}
        begin = time.monotonic()
        failed = run_trials(list(dict.fromkeys(trials.values())), runner, shown)
        shown.note(f"{len(set(trials.values()))} trials, {(time.monotonic() - begin) / 60:.1f} min")
        earlier = {key: trial_of(key).folder(out) for asked in _asked_before(out) for key, _ in _keys(asked, folds)}
    return Sweep(out, cohort, {**earlier, **trials}, failed)


@contextmanager
def _runner(options: SweepOptions) -> Iterator[Runner]:
    if not options.ray:
        yield LocalJobs(options.jobs or usual_jobs())
        return
    device = load_recipe("smile", options.recipe, options.changes).training.device
    gpus = float(make_fabric(device, "32").device.type == "cuda")
    with RayJobs.joined(OverRay(options.ray, options.jobs, gpus)) as runner:
        yield runner


def _asked_before(out: Path) -> Iterator[SweepOptions]:
    """What earlier calls asked of the same sweep: their results belong to it, too."""
    for call in _read(out / SWEEP).asked:
        yield SweepOptions(arms=call.arms, alphas=call.alphas, seeds=call.seeds, run_folds=call.run_folds)


class _Call(BaseModel):
    """What one call asked of a sweep."""

    arms: tuple[str, ...]
    alphas: tuple[FiniteFloat, ...]
    seeds: tuple[int, ...]
    run_folds: int | None


class _Asked(BaseModel):
    """`sweep.json`: what decides the trials, what was settled once, and the calls."""

    model_config = ConfigDict(extra="allow")

    asked: list[_Call] = []
    precision: str | None = None
    steps: int | None = Field(default=None, ge=1, lt=2**53)


def _read(path: Path) -> _Asked:
    return read_as(path, _Asked)


def trial_of(key: Key) -> Key:
    """The trial that answers a key.

    An arm that sees every annotation does not depend on alpha. With nothing missing all readings are one, so that there
    the arms are the same training as `full` or `baseline` (a law that the tests hold).
    """
    arm = ARMS[key.arm]
    if arm.complete:
        return Key(key.arm, 0.0, key.fold, key.seed)
    if key.alpha == 0 and arm.at_zero:
        return Key(arm.at_zero, 0.0, key.fold, key.seed)
    return key


def _keys(options: SweepOptions, folds: tuple[Fold, ...]) -> Iterator[tuple[Key, Fold]]:
    """Fold by fold, so that a sweep which is stopped has whole folds."""
    for fold in folds[: options.run_folds or len(folds)]:
        for seed in options.seeds:
            for alpha in options.alphas:
                for arm in options.arms:
                    if alpha > 0 or ARMS[arm].at_zero:
                        yield Key(arm, alpha, fold.number, seed), fold


@dataclass
class _Prepared:
    """What all trials share."""

    cohort: Cohort
    out: Path
    options: SweepOptions
    runner: Runner
    progress: Progress
    masked: dict[tuple[int, float, int], Masked] = field(default_factory=dict)

    @property
    def precision(self) -> str:
        """Timed once, then the same for every trial."""
        path = self.out / SWEEP
        told = _read(path)
        if told.precision is not None:
            return told.precision
        recipe = load_recipe("smile", self.options.recipe, self.options.changes)
        precision = settled(recipe.training.precision, recipe.training.device, recipe.network.axes)
        write_json(path, {**told.model_dump(mode="json", exclude_unset=True), "precision": precision})
        return precision

    @property
    def cache(self) -> Path:
        return self.out / ".smiler" / "cache"

    def cohorts(self, fold: Fold, alpha: float, seed: int) -> Masked:
        """The masked cohorts of a fold, made when first wanted."""
        key = (fold.number, alpha, seed)
        if key not in self.masked:
            self.masked[key] = hide_fold(
                self.cohort, fold, alpha, seed, self.out / "cohorts" / f"seed-{seed}", Silent()
            )
        return self.masked[key]

    def recipe(self, arm: Arm, alpha: float, seed: int, steps: int | None = None) -> Recipe:
        """The arm's recipe: its method, then the user's options, then what the comparison fixes."""
        fixed = [f"training.seed={seed}", f"training.precision={self.precision}"]
        fixed += [f"training.steps={steps}"] if steps else []
        fixed += [f"organs={list(self.options.organs)!r}".replace("'", '"')] if self.options.organs else []
        return load_recipe(arm.method, self.options.recipe, [*self.options.changes, *fixed, *arm.changes(alpha)])

    def order(self, key: Key, fold: Fold, steps: int | None) -> TrialFolder:
        """Write the order of the trial that answers a key."""
        real = trial_of(key)
        arm, folder = ARMS[real.arm], real.folder(self.out)
        masked = self.cohorts(fold, real.alpha, real.seed)
        made_by = None
        if arm.of:
            made_by = self.order(Key(arm.of, real.alpha, real.fold, real.seed), fold, steps).path
        folder.order(
            Trial(
                arm=real.arm,
                alpha=real.alpha,
                fold=real.fold,
                seed=real.seed,
                cohort=masked.train,
                complete=self.cohort.folder,
                cases=fold.train,
                validation=masked.validation,
                test=fold.test,
                cache=self.cache,
                recipe=self.recipe(arm, real.alpha, real.seed, steps),
                trained_by=made_by,
                threads=self.runner.threads,
                uncertainty=real.arm in UNCERTAIN,
            )
        )
        return folder


def _steps(prepared: _Prepared, fold: Fold) -> int | None:
    """Time a few steps of every method, say what the sweep will cost, and fit the steps to the budget.

    A sweep that goes on keeps the steps it began with.
    """
    path = prepared.out / SWEEP
    if (told := _read(path)).steps:
        return told.steps
    options, jobs = prepared.options, prepared.runner.jobs
    seconds = _seconds_a_step(prepared, fold)
    folds = options.run_folds or options.folds
    keys = {trial_of(key) for key, _ in _keys(options, (fold,))}
    per_step = folds * sum(seconds[ARMS[key.arm].method] for key in keys if not ARMS[key.arm].of) / jobs
    asked = prepared.recipe(ARMS[options.arms[0]], 0.0, options.seeds[0]).training.steps
    steps = asked
    if options.budget_minutes is not None:
        steps = min(asked, int(options.budget_minutes * 60 / per_step))
        if steps < 10:
            raise BadInput(
                "the budget is too small for so many trials",
                where="--budget",
                got=f"{options.budget_minutes:g} min for {folds * len(keys)} trials",
                do=f"at least {10 * per_step / 60:.0f} min, or fewer arms, shares or folds",
            )
    prepared.progress.note(
        f"{folds * len(keys)} trials of {steps} steps: about {steps * per_step / 60:.0f} min of training with "
        f"{jobs} at a time; relabelling and measuring come on top"
    )
    found = {"steps": steps, "seconds_a_step": {k: round(v, 5) for k, v in seconds.items()}}
    write_json(path, told.model_dump(mode="json", exclude_unset=True) | found)
    return steps


def _seconds_a_step(prepared: _Prepared, fold: Fold) -> dict[str, float]:
    """Method -> seconds of one training step with the threads of one job, nothing else running."""
    import torch

    methods = {ARMS[arm].method for arm in prepared.options.arms}
    methods |= {ARMS[real].method for arm in prepared.options.arms if (real := ARMS[arm].at_zero)}
    threads = torch.get_num_threads()
    torch.set_num_threads(prepared.runner.threads)
    try:
        found = {}
        for method in sorted(methods):
            recipe = prepared.recipe(Arm("", method), 0.0, prepared.options.seeds[0])
            cohort = prepared.cohort.only(fold.train)
            store = open_store(select_organs(cohort, recipe), recipe, prepared.cache, prepared.progress)
            fabric = make_fabric(recipe.training.device, recipe.training.precision)
            found[method] = estimate(fabric, plan_of(recipe), store).seconds_a_step
        return found
    finally:
        torch.set_num_threads(threads)


def _only_organs(cohort: Cohort, organs: tuple[str, ...]) -> Cohort:
    for key in organs:
        cohort.organs.index(key)
    return select_organs(cohort, Recipe(organs=organs)) if organs else cohort


def _check_same(out: Path, cohort: Cohort, options: SweepOptions) -> None:
    """A sweep may go on with more arms, shares, folds and seeds; what decides each trial must stay."""
    asked: dict[str, Any] = {
        "cohort": str(cohort.folder),
        "folds": options.folds,
        "validation": options.validation,
        "organs": list(cohort.organs.keys),
        "first_seed": min(options.seeds),
        "changes": list(options.changes),
        "recipe": load_recipe("smile", options.recipe).model_dump(mode="json") if options.recipe else None,
    }
    path = out / SWEEP
    if path.exists():
        old = _read(path).model_dump(mode="json", exclude_unset=True)
        for name, value in asked.items():
            if old.get(name) != value:
                raise BadInput(
                    f"a sweep with another {name} is here already",
                    where=str(path),
                    got=f"{value}, then {old.get(name)}",
                    do="ask for the same, or choose another folder",
                )
        asked = dict(old)
    call = {
        "arms": list(options.arms),
        "alphas": list(options.alphas),
        "seeds": list(options.seeds),
        "run_folds": options.run_folds,
    }
    calls = [row for row in asked.get("asked", []) if row != call]
    write_json(path, {**asked, "asked": [*calls, call]})
