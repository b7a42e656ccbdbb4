"""The demo: four networks on one phantom cohort, 70 % of whose annotations are hidden, and a report of what happens.

All arms have the same network, initial weights, steps, order of slices and test-time procedure; they differ in the
loss, in how evidence is read, and in whether the curriculum adds to it. `full` is SMILE on the complete annotations.
"""

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smiler.audit.audit import audit_cohort
from smiler.domain.checks import check_number
from smiler.domain.cohort import LEDGER, Cohort
from smiler.domain.errors import CheckFailed
from smiler.domain.files import write_json, write_text
from smiler.domain.folders import refuse_others
from smiler.domain.locks import writing
from smiler.domain.progress import Progress, Silent
from smiler.domain.provenance import tool_version
from smiler.evaluation.score_table import scores_table
from smiler.evaluation.scores import Score, absence, mean_dice, points
from smiler.evaluation.truth import Truth
from smiler.experiments.arms import ARMS
from smiler.experiments.hide import hide
from smiler.experiments.jobs import LocalJobs, run_trials
from smiler.experiments.overlays import save_overlays
from smiler.experiments.phantom_cohort import make_phantom_cohort
from smiler.experiments.trial import Trial, TrialFolder
from smiler.networks.device import settled
from smiler.recipe.recipe import Recipe, load_recipe
from smiler.report.report import write_report
from smiler.workers.cores import threads_each, usual_jobs

ALPHA = 0.7
SHOWN_ARMS = ("smiler", "full", "baseline", "smile")


@dataclass(frozen=True)
class DemoOptions:
    """Size of the demo, and how many trainings run side by side."""

    seed: int = 0
    train_cases: int = 58
    test_cases: int = 14
    size: tuple[int, int, int] = (32, 96, 96)
    patch: int = 64
    steps: int = 2800
    jobs: int = field(default_factory=usual_jobs)

    def __post_init__(self) -> None:
        for value, where, low in ((self.seed, "--seed", 0), (self.steps, "--steps", 10), (self.jobs, "--jobs", 1)):
            check_number(value, where, low, whole=True)


@dataclass(frozen=True)
class _Cohorts:
    """Everything there is, what of it is trained on, what is left of that, and what is measured on."""

    complete: Cohort
    hidden: Cohort
    test: Truth
    cache: Path


def run_demo(out: Path, options: DemoOptions, progress: Progress | None = None) -> dict[str, Any]:
    """Run all of it into `out`; a demo that was stopped goes on where it was. Returns what `summary.json` holds."""
    with writing(out.resolve()):
        refuse_others(out)
        return _run(out.resolve(), options, progress or Silent())


def _run(out: Path, options: DemoOptions, shown: Progress) -> dict[str, Any]:
    begin = time.monotonic()
    cohorts = _make_cohorts(out, options, shown)
    _write_audit(out, cohorts, shown)
    trials = _order(out, cohorts, options)
    failed = run_trials(list(trials.values()), LocalJobs(options.jobs), shown)
    if failed:
        raise CheckFailed("\n".join(f"{path}: {text}" for path, text in failed.items()))
    scores = {arm: trials[arm].scores() for arm in ARMS if arm in trials}
    write_text(out / "scores.csv", scores_table([({"arm": arm}, rows) for arm, rows in scores.items()]))
    save_overlays(out / "overlays.npz", cohorts.test, trials)
    summary = scores_of(scores) | _summary(cohorts, trials) | {"seconds": round(time.monotonic() - begin, 1)}
    write_json(out / "summary.json", summary)
    write_report(out)
    return summary


def _make_cohorts(out: Path, options: DemoOptions, progress: Progress) -> _Cohorts:
    folder, hidden = out / "cohort", out / "hidden"
    if not (folder / LEDGER).exists():
        count = options.train_cases + options.test_cases
        make_phantom_cohort(folder, count, options.size, options.seed, progress)
    complete = Cohort.open(folder)
    ids = [case.id for case in complete]
    train, test = ids[: options.train_cases], ids[options.train_cases :]
    if not (hidden / "cohort" / LEDGER).exists():
        hide(complete.only(train), hidden, ALPHA, options.seed, progress)
    left = Cohort.open(hidden / "cohort")
    return _Cohorts(complete.only(train), left, Truth(complete.only(test)), out / ".smiler" / "cache")


def _write_audit(out: Path, cohorts: _Cohorts, progress: Progress) -> None:
    """The audit of what is left, and, since the truth is known here, exactly what the baseline is told wrongly."""
    left, all_of_it = (audit_cohort(cohort, progress=progress) for cohort in (cohorts.hidden, cohorts.complete))
    table = left.to_json()
    true = all_of_it.to_json()["voxels"]
    wrong = {key: true[key]["positive"] - table["voxels"][key]["positive"] for key in table["organs"]}
    write_json(out / "audit.json", table | {"false_negatives": wrong})


def _order(out: Path, cohorts: _Cohorts, options: DemoOptions) -> dict[str, TrialFolder]:
    """The trials, the longest first. Which precision is faster is timed once, for all of them."""
    trials = {}
    ordered = [folder for name in SHOWN_ARMS if (folder := TrialFolder(out / "runs" / name)).ordered]
    precision = ordered[0].trial().recipe.training.precision if ordered else settled("auto")
    for name in SHOWN_ARMS:
        arm = ARMS[name]
        trials[name] = TrialFolder(out / "runs" / name)
        trials[name].order(
            Trial(
                arm=name,
                alpha=ALPHA,
                seed=options.seed,
                cohort=(cohorts.complete if arm.complete else cohorts.hidden).folder,
                complete=cohorts.complete.folder,
                cases=tuple(case.id for case in cohorts.hidden),
                test=tuple(case.id for case in cohorts.test.cohort),
                cache=cohorts.cache,
                recipe=_recipe(arm.method, options, precision),
                threads=threads_each(options.jobs),
            )
        )
    return trials


def _recipe(method: str, options: DemoOptions, precision: str) -> Recipe:
    changes = [
        f"training.steps={options.steps}",
        f"training.seed={options.seed}",
        f"training.precision={precision}",
        f"sampling.patch_size={options.patch}",
        "sampling.batch_size=8",
        "network.width=16",
        "data.spacing_xy_mm=native",
    ]
    return load_recipe(method, None, changes)


def scores_of(scores: Mapping[str, Sequence[Score]]) -> dict[str, Any]:
    """The part of `summary.json` that follows from the scores by arm: mean Dice in points where an organ is present."""
    return {
        "dice": {arm: points(mean_dice(rows)) for arm, rows in scores.items()},
        "absence": {arm: absence(rows).to_json() for arm, rows in scores.items()},
    }


def _summary(cohorts: _Cohorts, trials: Mapping[str, TrialFolder]) -> dict[str, Any]:
    outcomes = {arm: trials[arm].outcome() for arm in ARMS if arm in trials}
    return {
        "alpha": ALPHA,
        "relabel": [row for outcome in outcomes.values() for row in outcome["relabel"]],
        "n_train": len(cohorts.hidden),
        "n_test": len(cohorts.test.cohort),
        "steps": next(iter(outcomes.values()))["steps"],
        "machine": f"{platform.system()} {platform.machine()}, {platform.processor() or 'CPU'}",
        "versions": {"smiler": tool_version(), "python": platform.python_version()},
    }
