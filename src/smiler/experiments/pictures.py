"""A sweep's pictures: the same slices under every arm, relabelling round by round, and the figures as files."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from smiler.domain.cells import Status
from smiler.domain.cohort import Cohort
from smiler.domain.progress import Silent
from smiler.evaluation.truth import Truth
from smiler.experiments.overlays import Overlay, save_overlays
from smiler.experiments.sweep import Key, Sweep
from smiler.experiments.trial import TrialFolder
from smiler.report.comparison import save_pictures as save_figures
from smiler.report.names import Organs
from smiler.store.store import Store
from smiler.verbs.train import open_store, select_organs

USUAL_ALPHA = 0.7
ROUND_CASES = 2


def save_pictures(sweep: Sweep, done: Mapping[Key, TrialFolder]) -> None:
    """Write overlays.npz, rounds.npz and figures/ into the sweep's folder."""
    organs = Organs(sweep.cohort.organs.keys, {organ.key: organ.title for organ in sweep.cohort.organs})
    save_figures(sweep.out, organs)
    chosen = _chosen(done)
    if not chosen:
        return
    trial = next(iter(chosen.values())).trial()
    save_overlays(sweep.out / "overlays.npz", Truth(sweep.cohort.only(trial.test)), chosen)
    relabelled = chosen.get("smiler") or next((f for f in chosen.values() if f.outcome()["relabel"]), None)
    if relabelled:
        _rounds(sweep, relabelled)


def _chosen(done: Mapping[Key, TrialFolder]) -> dict[str, TrialFolder]:
    """The arms of one fold and seed at the share that most of them ran, the nearest to 70 % of several."""
    places: dict[tuple[int, int, float], dict[str, TrialFolder]] = {}
    for key, folder in done.items():
        places.setdefault((key.fold, key.seed, key.alpha), {})[key.arm] = folder
    if not places:
        return {}
    return places[max(places, key=lambda p: (len(places[p]), -abs(p[2] - USUAL_ALPHA), -p[0], -p[1]))]


def _rounds(sweep: Sweep, folder: TrialFolder) -> None:
    """The slices of training volumes on which most is hidden: truth, what is left, and what each round accepted."""
    trial = folder.trial()
    left, complete = (
        open_store(select_organs(cohort, trial.recipe), trial.recipe, trial.cache, Silent())
        for cohort in (Cohort.open(trial.cohort), sweep.cohort.only(trial.cases))
    )
    hidden = [sum(case.case.status(k) is Status.UNANNOTATED for k in left.organs.keys) for case in left]
    overlay = Overlay()
    for index in np.argsort(np.negative(hidden), kind="stable")[:ROUND_CASES]:
        _add(overlay, folder, left, complete, int(index))
    overlay.save(sweep.out / "rounds.npz")


def _add(overlay: Overlay, folder: TrialFolder, left: Store, complete: Store, index: int) -> None:
    case = left.cases[index]
    known = case.known[:, None, None]
    volumes: dict[str, Any] = {"truth": complete.cases[index].drawn[:], "annotated": case.drawn[:] & known}
    for number in range(1, folder.trial().recipe.curriculum.rounds + 1):
        path = folder.path / "rounds" / str(number) / "proposals" / f"{case.case.id}.b2nd"
        if path.exists():
            volumes[f"round {number}"] = folder.proposals(number, case.case.id)[:]
    missing = volumes["truth"] & ~known
    z = int((missing != 0).sum(axis=(1, 2)).argmax())
    overlay.add(case.case.id, z, case.geometry.spacing[1:], case.image[:], volumes)
