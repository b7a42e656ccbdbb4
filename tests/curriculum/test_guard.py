"""The audit without truth: what it estimates is what the same selection gets right on pairs that were hidden."""

import os
import socket
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from shared_phantoms import Phantoms

from smiler.curriculum.calibration import HeldOut, hold_out
from smiler.curriculum.guard import FEWEST_PAIRS, LOWERED, Counts, Estimated, decide, guarded, shares
from smiler.curriculum.options import CurriculumOptions
from smiler.curriculum.relabel import RelabelStep, propose_case
from smiler.curriculum.rounds import Plan, fresh_network
from smiler.domain.cohort import Cohort
from smiler.domain.files import read_json, write_json
from smiler.losses.options import LossOptions
from smiler.networks.device import make_fabric, make_training_fabric
from smiler.networks.options import NetworkOptions
from smiler.prediction.model import Model, ModelFacts, as_model
from smiler.sampling.augment import Normalisation
from smiler.sampling.options import SamplingOptions
from smiler.store.options import DataOptions
from smiler.store.store import Store, StoreOptions, build_store
from smiler.training.options import TrainingOptions

GAMMA = 0.6


@pytest.fixture(scope="module")
def folder(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guard")
    phantoms(folder / "all", 12)
    return folder


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return open_store(folder)


def open_store(folder: Path) -> Store:
    cohort = Cohort.open(folder / "all")
    return build_store(cohort, folder / "cache", StoreOptions(DataOptions(spacing_xy_mm="native")))


@pytest.fixture(scope="module")
def model(store: Store) -> Model:
    return untrained(store, make_fabric("cpu", "32"))


def untrained(store: Store, fabric: Fabric) -> Model:
    """With every organ about as probable as not, so that all kinds of voxels are proposed."""
    torch.set_num_threads(1)
    network, loss = NetworkOptions(width=8), LossOptions()
    plan = Plan(network, loss, SamplingOptions(), TrainingOptions(prior=0.5), CurriculumOptions(rounds=1))
    facts = ModelFacts(store.organs, network, loss, store.data, Normalisation(40, 60, -160))
    return as_model(facts, fresh_network(plan, store), fabric, "untrained")


def counted(model: Model, store: Store, held: HeldOut, gamma: float) -> dict[str, float | None]:
    """Organ -> share of accepted voxels that the experts drew, counted case by case."""
    step = RelabelStep(1, gamma, CurriculumOptions(rounds=1))
    found: dict[str, list[bool]] = {}
    for index, (case, bits) in enumerate(zip(held.without(store).cases, held.bits, strict=True)):
        proposed = propose_case(model, case, index, step) if bits else np.zeros(1, np.int32)
        for k, key in enumerate(store.organs.keys):
            if bits >> k & 1:
                mine = (proposed >> k & 1).astype(bool)
                found.setdefault(key, []).extend((case.drawn[:] >> k & 1).astype(bool)[mine].tolist())
    return {key: float(np.mean(rows)) if rows else None for key, rows in found.items()}


def test_the_estimate_is_what_the_same_selection_gets_right(store: Store, model: Model, tmp_path: Path) -> None:
    held = hold_out(store, 0.4, seed=1)
    step = RelabelStep(1, GAMMA, CurriculumOptions(rounds=1))
    found = guarded(model, store, held, step, 0.0, tmp_path)
    wanted = counted(model, store, held, GAMMA)
    assert {key: row.precision for key, row in found.items() if row.pairs} == pytest.approx(wanted)
    assert all(row.share == GAMMA and not row.lowered for row in found.values())
    for k, key in enumerate(store.organs.keys):
        assert found[key].pairs == sum(bits >> k & 1 for bits in held.bits)
    assert guarded(model, store, held, step, 0.0, tmp_path) == found  # read from the file


def one_of_two(rank: int, folder: Path, out: Path, port: int) -> None:
    """A process of two: what it takes the estimate to be."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    fabric, store = make_training_fabric("cpu", "32", 2), open_store(folder)
    step = RelabelStep(1, GAMMA, CurriculumOptions(rounds=1))
    found = guarded(untrained(store, fabric), store, hold_out(store, 0.4, seed=1), step, 0.0, out)
    write_json(out / f"{rank}.json", [asdict(row) for row in found.values()])


def test_two_processes_share_the_cases_and_come_to_the_same(
    folder: Path, store: Store, model: Model, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(one_of_two, (folder, tmp_path, port), nprocs=2)
    step = RelabelStep(1, GAMMA, CurriculumOptions(rounds=1))
    alone = guarded(model, store, hold_out(store, 0.4, seed=1), step, 0.0, tmp_path / "alone")
    assert any(row.precision for row in alone.values())
    for rank in range(2):
        assert [Estimated(**row) for row in read_json(tmp_path / f"{rank}.json")] == list(alone.values())


def test_an_organ_below_the_floor_gets_less_or_nothing(store: Store, model: Model, tmp_path: Path) -> None:
    held = hold_out(store, 0.4, seed=1)
    step = RelabelStep(1, GAMMA, CurriculumOptions(rounds=1))
    by_part = [counted(model, store, held, part * GAMMA) for part in LOWERED]
    floor = float(np.median([row for row in by_part[0].values() if row is not None]))
    found = guarded(model, store, held, step, floor, tmp_path)
    for key, row in found.items():
        if row.pairs < FEWEST_PAIRS:
            assert row.share == 0.0
            continue
        reached = [part for part, told in zip(LOWERED, by_part, strict=True) if (told[key] or 0) >= floor]
        assert row.share <= GAMMA * max(reached, default=0.0)
        if row.share:
            assert row.precision - row.error >= floor
        elif row.precision is not None and row.error is not None:
            assert row.precision - row.error < floor
        assert row.lowered == (row.share < GAMMA)
    assert any(row.lowered for row in found.values())
    assert not all(row.lowered for row in found.values())


def test_the_share_of_an_organ_holds_in_relabelling(store: Store, model: Model) -> None:
    hidden = replace(store, cases=tuple(replace(case, known=0 * case.known) for case in store.cases))
    step = RelabelStep(1, GAMMA, CurriculumOptions(rounds=1))
    key = store.organs.keys[0]
    nothing = replace(step, shares=shares({key: Estimated(key, 0.0, 0.1, None, 3, lowered=True)}))
    usual, without = (propose_case(model, hidden.cases[0], 0, s) for s in (step, nothing))
    assert (usual & 1).any()
    assert not (without & 1).any()
    assert nothing.facts()["shares"] == {key: 0.0}
    assert "shares" not in step.facts()


def test_an_organ_with_too_few_pairs_to_tell_is_not_relabelled(store: Store, model: Model, tmp_path: Path) -> None:
    held = hold_out(store, 0.1, seed=1)
    step = RelabelStep(1, GAMMA, CurriculumOptions(rounds=1))
    found = guarded(model, store, held, step, 0.01, tmp_path)
    assert set(found) == set(store.organs.keys)
    assert max(row.pairs for row in found.values()) < FEWEST_PAIRS
    assert shares(found) == dict.fromkeys(store.organs.keys, 0.0)


@pytest.mark.parametrize(
    ("counts", "floor", "share"),
    [
        ([(9, 10), (5, 5), (2, 2)], 0.8, 1.0),
        ([(7, 10), (9, 10), (2, 2)], 0.8, 0.5),
        ([(1, 10), (1, 5), (0, 0)], 0.8, 0.0),  # nothing left to be judged is not a pass
        ([(0, 0), (0, 0), (0, 0)], 0.8, 0.0),
        ([(1, 10), (1, 5), (1, 2)], 0.0, 1.0),  # only told
    ],
)
def test_the_largest_share_that_reaches_the_floor(counts: list[tuple[int, int]], floor: float, share: float) -> None:
    rows = [Counts([right] * FEWEST_PAIRS, [accepted] * FEWEST_PAIRS) for right, accepted in counts]
    assert decide("liver", rows, 1.0, floor).share == share


def test_pairs_that_disagree_are_not_enough() -> None:
    alike, apart = Counts([9, 9, 9, 9], [10, 10, 10, 10]), Counts([30, 6, 0, 0], [30, 6, 2, 2])
    assert alike.precision == apart.precision == pytest.approx(0.9)
    assert alike.error == pytest.approx(0)
    assert alike.reaches(0.89)
    assert not apart.reaches(0.89)
    assert not Counts([1, 0, 0, 0], [1, 0, 0, 0]).reaches(0.5)  # one voxel of one pair
    assert not Counts([9, 9, 9, 0], [9, 9, 9, 0]).reaches(0.5)


@pytest.mark.parametrize("seed", range(3))
def test_the_standard_error_is_the_spread_over_samples_of_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def sample() -> Counts:
        accepted = rng.integers(50, 150, 40)
        return Counts(rng.binomial(accepted, rng.beta(8, 2, 40)).tolist(), accepted.tolist())

    drawn = [sample() for _ in range(400)]
    spread = np.std([counts.precision for counts in drawn])
    assert np.mean([counts.error for counts in drawn]) == pytest.approx(spread, rel=0.15)
