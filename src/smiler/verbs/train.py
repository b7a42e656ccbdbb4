"""Train a run: from a cohort and a recipe to checkpoints, round by round."""

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from smiler.curriculum.calibration import FEWEST, hold_out
from smiler.curriculum.estimate import Estimate, estimate, seconds_relabelling
from smiler.curriculum.rounds import Plan, Round, curriculum
from smiler.domain.checks import check_number
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.files import hash_json, write_json, write_text
from smiler.domain.folders import Kind, refuse_others
from smiler.domain.locks import writing
from smiler.domain.organs import OrganSet
from smiler.domain.progress import Progress, Silent
from smiler.domain.provenance import Provenance
from smiler.domain.remote import local
from smiler.domain.shaped import read_as
from smiler.networks import check_installed
from smiler.networks.device import is_first_process, make_training_fabric, precision_used
from smiler.recipe.recipe import Recipe
from smiler.sampling.draws import Plan as SlicePlan
from smiler.sampling.options import FEWER
from smiler.store.store import Store, StoreOptions, build_store
from smiler.verbs.run import RunFolder
from smiler.verbs.validation import validate
from smiler.workers.memory import lacking

STORE = "store.json"
LEAST_MINUTES = 1e-8
"""Above 0; what is too short for the data is said once their steps are timed."""


@dataclass(frozen=True)
class TrainRequest:
    """What to train, where to, and what bounds it. `cache` None: `.smiler/cache` in the cohort's folder.

    `left_out`: cases that the run never sees, as those of a fold that validate it; the run keeps them on record.
    """

    cohort: Cohort
    run: Path
    recipe: Recipe
    cache: Path | None = None
    resume: bool = False
    budget_minutes: float | None = None
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.budget_minutes is not None:
            check_number(self.budget_minutes, "--time-budget", LEAST_MINUTES)


def train(request: TrainRequest, progress: Progress | None = None) -> RunFolder:
    """Train to the end; a run that was stopped or killed goes on with `resume`, to the same weights.

    What the run held out (`training.hold_out`) is then scored into its `validation/scores.csv`.
    """
    for _ in train_rounds(request, progress):
        pass
    run = RunFolder(request.run)
    if run.recipe().training.hold_out and is_first_process():
        validate(run, request.cohort, progress or Silent())
    return run


def train_rounds(request: TrainRequest, progress: Progress | None = None) -> Iterator[Round]:
    """Train, handing out each finished round: who knows the truth may audit it."""
    run = RunFolder(request.run)
    recipe = run.recipe() if run.exists else request.recipe
    training = recipe.training
    check_installed(recipe.network)
    fabric = make_training_fabric(training.device, training.precision, training.devices, recipe.network.axes)
    shown = progress if progress and fabric.is_global_zero else Silent()
    _check_shares(recipe.sampling.batch_size, fabric)
    with lacking(f"training in {run.path}", FEWER), writing(run.path) if fabric.is_global_zero else nullcontext():
        recipe, store = _in_turn(fabric, lambda: _prepared(run, request, fabric, shown))
        yield from curriculum(fabric, store, plan_of(recipe), run.path, shown)


def _in_turn(fabric: Fabric, prepare: Callable[[], tuple[Recipe, Store]]) -> tuple[Recipe, Store]:
    """The first process begins the run and makes the store; then, where machines have caches of their own, the first of
    each makes it there; the others find all of it.
    """
    with fabric.rank_zero_first():
        mine = prepare() if fabric.is_global_zero else None
    with fabric.rank_zero_first(local=True):
        return mine or prepare()


def _prepared(run: RunFolder, request: TrainRequest, fabric: Fabric, progress: Progress) -> tuple[Recipe, Store]:
    """The resolved recipe and the data; the first process makes what the others then find."""
    if fabric.is_global_zero:
        _check_folder(run, resume=request.resume)
    begun = run.exists
    recipe = run.recipe() if begun else request.recipe
    if begun and fabric.is_global_zero:
        progress.note(f"going on with {run.recipe_path}; options given now are not used")
    left_out = read_as(run.path / STORE, _Data).left_out if begun else request.left_out
    cohort = without(select_organs(request.cohort, recipe), left_out)
    store = open_store(cohort, recipe, request.cache, progress)
    for case in store:
        for note in case.notes:
            progress.note(f"case {case.case.id}: {note}")
    store = _without_held_out(store, recipe, progress)
    _check_annotations(store, progress)
    if not begun:
        recipe = _begin(run, request, recipe, store, fabric, progress)
    _check_same_data(run, store)
    return recipe, store


def _without_held_out(store: Store, recipe: Recipe, progress: Progress) -> Store:
    """The store as if nobody had annotated what the run holds out; only mean and spread of grey values know of it."""
    share = recipe.training.hold_out
    if not share:
        return store
    held = hold_out(store, share, recipe.training.seed)
    if held.pairs:
        progress.note(f"{held.pairs} annotations (case, organ) are held out: nothing is learned from them")
    else:
        progress.note(f"nothing is held out: no organ is annotated in as many as {FEWEST} volumes")
    return held.without(store)


def _check_shares(batch: int, fabric: Fabric) -> None:
    if batch % fabric.world_size:
        raise BadInput(
            "the batch can't be shared equally among the processes",
            where="sampling.batch_size",
            got=f"{batch} images for {fabric.world_size} processes",
            do="take a multiple of the number of processes",
        )


def plan_of(recipe: Recipe) -> Plan:
    """The part of a recipe that decides what is computed."""
    facts = {"method": recipe.method, "recipe": hash_json(recipe.model_dump(mode="json"))}
    return Plan(recipe.network, recipe.loss, recipe.sampling, recipe.training, recipe.curriculum, facts)


def open_store(cohort: Cohort, recipe: Recipe, cache: Path | None, progress: Progress) -> Store:
    """The cohort on the recipe's working grid."""
    options = StoreOptions(recipe.data, recipe.reading, recipe.labels)
    kept = local(cache or cohort.folder / ".smiler" / "cache", "what --cache names (else it is in the cohort's folder)")
    return build_store(cohort, kept, options, progress)


def without(cohort: Cohort, left_out: Collection[str]) -> Cohort:
    """The cohort but for some of its cases."""
    return replace(cohort, cases=tuple(case for case in cohort if case.id not in left_out)) if left_out else cohort


def select_organs(cohort: Cohort, recipe: Recipe) -> Cohort:
    """The cohort with only the organs that the recipe trains, in its order."""
    if not recipe.organs:
        return cohort
    kept = [cohort.organs[key] for key in recipe.organs]
    keys = {organ.key for organ in kept}
    organs = OrganSet(
        tuple(replace(o, part_of=o.part_of if o.part_of in keys else None, overlaps=o.overlaps & keys) for o in kept)
    )
    cases = (replace(c, cells={k: cell for k, cell in c.cells.items() if k in keys}) for c in cohort)
    return replace(cohort, organs=organs, cases=tuple(cases))


def _check_folder(run: RunFolder, *, resume: bool) -> None:
    if run.exists and not resume:
        raise BadInput("a run is here already", where=str(run.path), do="go on with --resume, or choose another folder")
    if run.path.exists() and not run.path.is_dir():
        raise BadInput("the run's place is taken by a file", where=str(run.path))
    refuse_others(run.path, Kind.RUN)


def _check_annotations(store: Store, progress: Progress) -> None:
    """Before anything is computed: every organ must be drawn somewhere, and every case should teach something."""
    if not len(store):
        raise BadInput("the cohort has no case", where="cohort", do="smiler import SOURCE COHORT")
    keys = store.organs.keys
    empty = [keys[k] for k in SlicePlan.of(store).organs_without_positive()]
    if empty:
        rest = [key for key in keys if key not in empty]
        raise BadInput(
            "no case has a voxel drawn of the organ, so that it can't be learned",
            where=f"organ {', '.join(empty)}",
            do=f"annotate it somewhere, or leave it out with --organs {','.join(rest)}",
        )
    silent = [case.case.id for case in store if not case.known.any()]
    if silent:
        progress.note(
            f"nothing is learned at first from cases without any annotation ({len(silent)}): {', '.join(silent[:5])}"
        )


def _begin(
    run: RunFolder, request: TrainRequest, recipe: Recipe, store: Store, fabric: Fabric, progress: Progress
) -> Recipe:
    """Estimate, fit the steps to the budget, write recipe and provenance: from here on the run can be resumed."""
    expected = estimate(fabric, plan_of(recipe), store)
    relabelling = seconds_relabelling(fabric, plan_of(recipe), store)
    decided: dict[str, Any] = {"precision": precision_used(fabric)}
    if request.budget_minutes is not None:
        decided["steps"] = steps_within(request.budget_minutes, expected, relabelling, recipe.curriculum.rounds)
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update=decided)})
    progress.note(_tell(expected, recipe.training.steps, relabelling))
    parents = {"cohort": hash_json([str(request.cohort.folder.resolve()), store.fingerprint])}
    data = {"fingerprint": store.fingerprint, "cohort": str(request.cohort.folder.resolve())}
    write_json(run.path / STORE, {**data, "left_out": list(request.left_out)})
    keys = store.organs.keys
    seen = {c.case.id: [key for k, key in enumerate(keys) if (c.known >> k & 1).any()] for c in store}
    images = {case.case.id: case.content for case in store}
    notes = {case.case.id: list(case.notes) for case in store if case.notes}
    facts = {"method": recipe.method, "cases": len(store), "annotated": seen, "images": images, "notes": notes}
    Provenance("train", parents, facts).save(run.provenance_path)
    write_text(run.recipe_path, recipe.to_toml())
    return recipe


def steps_within(minutes: float, expected: Estimate, relabelling: float, rounds: int) -> int:
    """Steps that fit into the minutes beside relabelling; a round without a step would teach nothing."""
    steps = expected.steps_within(60 * minutes - relabelling)
    if steps > rounds:
        return steps
    least = math.ceil(11 * (relabelling + (rounds + 1) * expected.seconds_a_step) / 60) / 10  # timings vary
    part = f"; relabelling alone takes about {relabelling / 60:.1f} min" if rounds else ""
    fewer = ", or fewer rounds (--set curriculum.rounds=1)" if rounds > 1 else ""
    raise BadInput(
        "the time is too short",
        where="--time-budget",
        got=f"{minutes:g} min{part}",
        do=f"at least {least:g} min{fewer}",
    )


def _tell(expected: Estimate, steps: int, relabelling: float) -> str:
    minutes = (steps * expected.seconds_a_step + relabelling) / 60
    part = f" ({relabelling / 60:.1f} of them relabelling)" if relabelling else ""
    return f"{steps} steps, about {minutes:.1f} min{part} and {expected.memory_gb:.1f} GB for network and batch"


@dataclass(frozen=True)
class _Data:
    """`store.json`: what a run learns from."""

    fingerprint: str
    left_out: tuple[str, ...] = ()


def _check_same_data(run: RunFolder, store: Store) -> None:
    if read_as(run.path / STORE, _Data).fingerprint != store.fingerprint:
        raise BadInput(
            "the cohort has changed since the run began",
            where=str(run.path),
            do="begin a new run: what is resumed must see the same data",
        )
