"""The demo: four networks on one phantom cohort, 70 % of whose annotations are hidden, and a report of what happens.

All arms have the same network, initial weights, steps, order of slices and test-time procedure; they differ in the
loss, in how evidence is read, and in whether the curriculum adds to it. `full` is SMILE on the complete annotations.
"""

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smiler.audit.audit import audit_cohort
from smiler.domain.cohort import LEDGER, Cohort
from smiler.domain.files import read_json, write_json, write_text
from smiler.domain.progress import Progress, Silent
from smiler.domain.provenance import tool_version
from smiler.evaluation.scores import Measured, Score, score_case, scores_table, summarise
from smiler.evaluation.truth import Truth
from smiler.experiments.hide import hide
from smiler.experiments.overlays import save_overlays
from smiler.experiments.phantom_cohort import make_phantom_cohort
from smiler.experiments.round_audit import RoundAudit, audit_round
from smiler.recipe.recipe import Recipe, load_recipe
from smiler.report.report import write_report
from smiler.verbs.evaluate import measure
from smiler.verbs.run import RunFolder, open_model
from smiler.verbs.train import TrainRequest, open_store, train_rounds

ALPHA = 0.7
ARMS = {"full": "smile", "baseline": "baseline", "smile": "smile", "smiler": "smiler"}


@dataclass(frozen=True)
class DemoOptions:
    """Size of the demo; `minutes` bounds each arm's training by time instead of steps."""

    seed: int = 0
    train_cases: int = 58
    test_cases: int = 14
    size: tuple[int, int, int] = (32, 96, 96)
    patch: int = 64
    steps: int = 2000
    minutes: float | None = None


@dataclass(frozen=True)
class _Cohorts:
    """Everything there is, what is trained on, what is measured on."""

    complete: Cohort
    hidden: Cohort
    test: Truth
    cache: Path


def run_demo(out: Path, options: DemoOptions, progress: Progress | None = None) -> dict[str, Any]:
    """Run all of it into `out`; a demo that was stopped goes on where it was. Returns what `summary.json` holds."""
    shown = progress or Silent()
    begin = time.monotonic()
    cohorts = _make_cohorts(out, options, shown)
    _write_audit(out, cohorts, shown)
    relabelled: list[RoundAudit] = []
    scores: dict[str, list[Score]] = {}
    predicted: dict[str, dict[str, Measured]] = {}
    for arm in ARMS:
        shown.note(f"arm {arm}")
        relabelled += _train(out, arm, cohorts, options, shown)
        scores[arm], predicted[arm] = _measure(out / "runs" / arm, cohorts.test, shown)
    write_text(out / "scores.csv", scores_table([({"arm": arm}, rows) for arm, rows in scores.items()]))
    save_overlays(out / "overlays.npz", cohorts.test, predicted)
    summary = _summary(out, cohorts, scores, relabelled) | {"seconds": round(time.monotonic() - begin, 1)}
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
    return _Cohorts(
        complete.only(train), Cohort.open(hidden / "cohort"), Truth(complete.only(test)), out / ".smiler" / "cache"
    )


def _write_audit(out: Path, cohorts: _Cohorts, progress: Progress) -> None:
    """The audit of what is left, and, since the truth is known here, exactly what the baseline is told wrongly."""
    left, all_of_it = (audit_cohort(cohort, progress=progress) for cohort in (cohorts.hidden, cohorts.complete))
    table = left.to_json()
    true = all_of_it.to_json()["voxels"]
    wrong = {key: true[key]["positive"] - table["voxels"][key]["positive"] for key in table["organs"]}
    write_json(out / "audit.json", table | {"false_negatives": wrong})


def _train(out: Path, arm: str, cohorts: _Cohorts, options: DemoOptions, progress: Progress) -> list[RoundAudit]:
    recipe = _recipe(ARMS[arm], options)
    cohort = cohorts.complete if arm == "full" else cohorts.hidden
    run = RunFolder(out / "runs" / arm)
    request = TrainRequest(cohort, run.path, recipe, cohorts.cache, run.exists, options.minutes)
    audits: list[RoundAudit] = []
    for done in train_rounds(request, progress):
        if done.number:
            stores = (open_store(c, run.recipe(), cohorts.cache, Silent()) for c in (cohorts.hidden, cohorts.complete))
            audits += audit_round(done, *stores)
    return audits


def _recipe(method: str, options: DemoOptions) -> Recipe:
    changes = [
        f"training.steps={options.steps}",
        f"training.seed={options.seed}",
        f"sampling.patch_size={options.patch}",
        "sampling.batch_size=8",
        "network.width=16",
        "data.spacing_xy_mm=native",
    ]
    return load_recipe(method, None, changes)


def _measure(run: Path, test: Truth, progress: Progress) -> tuple[list[Score], dict[str, Measured]]:
    model, recipe = open_model(run)
    scores: list[Score] = []
    predicted = {}
    for case in progress.track(test.cohort, "measuring", len(test.cohort)):
        predicted[case.id] = measure(model, recipe, test, case)
        scores += score_case(test, case, predicted[case.id])
    return scores, predicted


def _summary(
    out: Path,
    cohorts: _Cohorts,
    scores: Mapping[str, list[Score]],
    relabelled: list[RoundAudit],
) -> dict[str, Any]:
    dice = {arm: round(100 * summarise(rows)["mean"].mean, 2) for arm, rows in scores.items()}
    rounds = [row.to_json() for row in relabelled] or _earlier(out)
    return {
        "alpha": ALPHA,
        "dice": dice,
        "relabel": rounds,
        "n_train": len(cohorts.hidden),
        "n_test": len(cohorts.test.cohort),
        "steps": min(RunFolder(out / "runs" / arm).recipe().training.steps for arm in ARMS),
        "machine": f"{platform.system()} {platform.machine()}, {platform.processor() or 'CPU'}",
        "versions": {"smiler": tool_version(), "python": platform.python_version()},
    }


def _earlier(out: Path) -> list[dict[str, Any]]:
    """Round audits of a demo that had finished before."""
    path = out / "summary.json"
    return list(read_json(path)["relabel"]) if path.exists() else []
