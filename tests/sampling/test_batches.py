"""Batches of a small cohort on disk: replayable, drawn from what is known, and true to the store."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from smiler.domain.cells import ABSENT, Cell, SliceRange, annotated
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.geometry import Geometry
from smiler.domain.organs import Organ, OrganSet
from smiler.formats.nifti import grid_of, write_ct, write_labels
from smiler.phantom import PhantomOptions, generate
from smiler.sampling.augment import Batch
from smiler.sampling.batches import Batches, neighbours, read_slices
from smiler.sampling.draws import Draw, Plan, generator
from smiler.sampling.options import AugmentOptions, SamplingOptions
from smiler.store.options import DataOptions
from smiler.store.store import Store, StoreOptions, build_store

torch.set_num_threads(1)

CPU = torch.device("cpu")
STILL = AugmentOptions(rotate_deg=0, scale=0, shift=0, contrast=0, brightness=0, noise=0)
ORGANS = OrganSet(
    (Organ("liver"), Organ("stomach"), Organ("spleen"), Organ("liver_tumor", part_of="liver"), Organ("bladder"))
)
NATIVE = DataOptions(spacing_xy_mm="native")


def write_case(folder: Path, seed: int, shape: tuple[int, int, int], cells: dict[str, Cell]) -> Case:
    phantom = generate(seed, PhantomOptions(shape=shape))
    geometry = Geometry.canonical(shape, phantom.spacing)
    write_ct(folder / f"case{seed}.nii.gz", phantom.hu, geometry)
    for key, mask in phantom.masks.items():
        write_labels(folder / f"case{seed}_{key}.nii.gz", mask.astype(np.uint8), grid_of(geometry))
    return Case(f"case{seed}", f"patient{seed}", f"case{seed}.nii.gz", cells)


def mask(seed: int, key: str, *ranges: SliceRange) -> Cell:
    return annotated(f"case{seed}_{key}.nii.gz", ranges=ranges)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Every kind of word about an organ, and two sizes of slices."""
    folder = tmp_path_factory.mktemp("cohort")
    cases = (
        write_case(folder, 0, (12, 48, 48), {"liver": mask(0, "liver"), "stomach": ABSENT}),
        write_case(folder, 1, (12, 40, 56), {"stomach": mask(1, "stomach", SliceRange(5, 9))}),
        write_case(folder, 2, (12, 48, 48), {}),
        write_case(folder, 3, (12, 48, 48), {"spleen": mask(3, "spleen"), "bladder": ABSENT}),
    )
    return Cohort(folder, ORGANS, cases)


@pytest.fixture(scope="module")
def store(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build_store(cohort, tmp_path_factory.mktemp("store"), StoreOptions(data=NATIVE))


def batches(store: Store, seed: int = 7, stage: int = 0, context: int = 0, **options: object) -> Batches:
    chosen = SamplingOptions.model_validate({"batch_size": 6, "patch_size": 32, **options})
    return Batches(store, chosen, context, seed, stage)


def parts(batch: Batch) -> list[torch.Tensor]:
    return [batch.image, batch.fields.drawn, batch.fields.known, batch.fields.pseudo]


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(parts(one), parts(other), strict=True))


def draws(of: Batches, steps: int) -> Iterator[Draw]:
    """The draws of the first steps, replayed."""
    for step in range(steps):
        yield from Plan.of(of.store).draw(generator(of.seed, of.stage, step), of.options)


def test_a_batch_is_a_function_of_seed_stage_and_step(store: Store) -> None:
    whole = list(batches(store).steps(0, 6, CPU))
    resumed = list(batches(store).steps(3, 6, CPU))
    assert len(whole) == 6
    assert all(same(one, other) for one, other in zip(whole[3:], resumed, strict=True))
    assert not any(same(whole[i], whole[j]) for i in range(6) for j in range(i))


def test_no_step_gives_no_batch(store: Store) -> None:
    assert list(batches(store).steps(4, 4, CPU)) == []


def test_reading_may_stop_early(store: Store) -> None:
    steps = batches(store).steps(0, 1000, CPU)
    first = next(steps)
    steps.close()
    assert same(first, next(batches(store).steps(0, 1, CPU)))


def test_another_seed_or_stage_gives_other_batches(store: Store) -> None:
    first, *others = (
        list(batches(store, seed, stage).steps(0, 3, CPU)) for seed, stage in ((7, 0), (7, 1), (8, 0), (0, 7))
    )
    for other in others:
        assert not any(same(one, another) for one, another in zip(first, other, strict=True))


@pytest.mark.parametrize("context", [0, 2])
def test_a_batch_has_the_size_that_was_asked_for(store: Store, context: int) -> None:
    (batch,) = batches(store, context=context, batch_size=5, patch_size=64).steps(0, 1, CPU)
    assert batch.image.shape == (5, 2 * context + 1, 64, 64)
    assert batch.image.dtype == torch.float32
    assert batch.image.isfinite().all()
    for bits in parts(batch)[1:]:
        assert bits.shape == (5, 64, 64)
        assert bits.dtype == torch.int32
    assert not batch.fields.pseudo.any()


@pytest.mark.parametrize("foreground", [0.0, 0.5, 1.0])
def test_a_slice_about_which_nothing_is_known_is_never_drawn(store: Store, foreground: float) -> None:
    drawn = list(draws(batches(store, foreground=foreground), 60))
    assert all(store.cases[draw.case].known[draw.z] for draw in drawn)
    assert {draw.case for draw in drawn} == {0, 1, 3}
    assert {draw.z for draw in drawn if draw.case == 1} <= {5, 6, 7, 8}
    if foreground == 0:
        assert {(draw.case, draw.z) for draw in drawn} == {
            *((case, z) for case in (0, 3) for z in range(12)),
            *((1, z) for z in (5, 6, 7, 8)),
        }


@pytest.mark.parametrize(("foreground", "count"), [(0.0, 0), (0.3, 2), (0.5, 3), (1.0, 6)])
def test_the_share_of_slices_with_a_known_positive_is_the_one_asked_for(
    store: Store, foreground: float, count: int
) -> None:
    chosen = batches(store, foreground=foreground)
    for step in range(10):
        drawn = Plan.of(store).draw(generator(1, 2, step), chosen.options)
        assert len(drawn) == 6
        assert sum(draw.organ >= 0 for draw in drawn) == count


def test_an_organ_is_drawn_from_slices_in_which_an_expert_drew_it(store: Store) -> None:
    drawn = list(draws(batches(store, foreground=1.0), 60))
    for draw in drawn:
        assert (store.cases[draw.case].drawn[draw.z] >> draw.organ & 1).any()
    counts = np.bincount([draw.organ for draw in drawn], minlength=len(ORGANS))
    assert counts[3:].sum() == 0, "nobody drew these"
    assert counts[:3].min() > 0.25 * len(drawn), "organs in turn, however few slices they have"
    assert Plan.of(store).organs_without_positive() == [3, 4]


@pytest.mark.parametrize("spacing_z_mm", [9.0, 15.0, 40.0])
def test_so_it_is_where_slices_are_resampled_and_only_some_are_annotated(
    cohort: Cohort, tmp_path: Path, spacing_z_mm: float
) -> None:
    cells = {"liver": mask(0, "liver", SliceRange(4, 9)), "spleen": mask(0, "spleen")}
    partly = replace(cohort, cases=(replace(cohort.cases[0], cells=cells),))
    data = DataOptions(spacing_xy_mm="native", spacing_z_mm=spacing_z_mm)
    coarse = build_store(partly, tmp_path, StoreOptions(data=data))
    chosen = batches(coarse, foreground=1.0, augment=STILL)
    for draw in draws(chosen, 20):
        assert (coarse.cases[draw.case].drawn[draw.z] >> draw.organ & 1).any()
    assert len(list(chosen.steps(0, 20, CPU))) == 20


def test_the_organ_that_was_drawn_lies_in_its_patch(store: Store) -> None:
    chosen = batches(store, foreground=1.0, augment=STILL)
    steps = [batch.fields.drawn for batch in chosen.steps(0, 15, CPU)]
    for bits, draw in zip(torch.cat(steps), draws(chosen, 15), strict=True):
        assert (bits >> draw.organ & 1).any()


def test_nothing_annotated_is_nothing_to_learn_from(store: Store) -> None:
    with pytest.raises(BadInput, match="nothing is annotated in any slice: nothing to learn from"):
        Plan.of(replace(store, cases=store.cases[2:3]))


def middle(plane: NDArray[np.generic], patch: int = 64) -> NDArray[np.generic]:
    """A plane with even sides in the middle of a larger patch of zeros."""
    rows, columns = ((patch - n) // 2 for n in plane.shape)
    return np.pad(plane, ((rows, rows), (columns, columns)))


def test_without_changes_a_batch_is_what_the_store_holds(store: Store) -> None:
    chosen = replace(
        batches(store, context=1, patch_size=64, augment=STILL),
        proposals={"case3": np.arange(12 * 48 * 48, dtype=np.int32).reshape(12, 48, 48)},
    )
    grey = chosen.normalisation()
    (batch,) = chosen.steps(0, 1, CPU)
    for i, draw in enumerate(draws(chosen, 1)):
        case = store.cases[draw.case]
        assert torch.equal(batch.fields.drawn[i], torch.from_numpy(middle(case.drawn[draw.z])))
        inside = middle(np.ones(case.geometry.shape[1:], dtype=np.int32))
        assert torch.equal(batch.fields.known[i], torch.from_numpy(inside * case.known[draw.z]))
        proposed = chosen.proposals[case.case.id][draw.z] if case.case.id == "case3" else inside[:0]
        wanted = middle(proposed) if proposed.size else np.zeros_like(inside)
        assert torch.equal(batch.fields.pseudo[i], torch.from_numpy(wanted))
        image = neighbours(case.image, draw.z, 1)[1].astype(np.float64) - grey.air
        wanted_image = (middle(image) + grey.air - grey.mean) / grey.sd
        np.testing.assert_allclose(batch.image[i, 1].numpy(), wanted_image, atol=1e-4)


def test_smaller_slices_of_a_batch_are_surrounded_by_air(store: Store) -> None:
    """Also where the batch's arrays are larger than the slice: one and the same slice looks the same in any company."""
    of = batches(store)
    pair = [Draw(0, 6, -1), Draw(1, 6, -1)]
    slices = read_slices(of, pair, [generator(0), generator(1)])
    assert slices.image.shape == (2, 1, 48, 56)
    for i, draw in enumerate(pair):
        y, x = slices.extent[i]
        assert (y, x) == store.cases[draw.case].geometry.shape[1:]
        around = np.ones((48, 56), dtype=bool)
        around[:y, :x] = False
        assert (slices.image[i, 0][around] == NATIVE.window_hu[0]).all()
        assert slices.pseudo is None  # nothing is proposed
        assert slices.known[i] == store.cases[draw.case].known[6]
        assert not slices.drawn[i][around].any()


def test_grey_values_are_normalised_by_what_experts_drew(store: Store) -> None:
    drawn = np.concatenate([case.image[:][case.drawn[:] != 0] for case in store]).astype(np.float64)
    grey = batches(store).normalisation()
    assert (grey.mean, grey.sd) == (pytest.approx(drawn.mean()), pytest.approx(drawn.std()))
    assert grey.air == NATIVE.window_hu[0]


@pytest.mark.parametrize("context", [0, 1, 3])
def test_beyond_the_volume_the_outermost_slice_stands(context: int) -> None:
    volume = np.arange(5, dtype=np.int16)[:, None, None]
    for z in range(5):
        wanted = [min(max(at, 0), 4) for at in range(z - context, z + context + 1)]
        assert neighbours(volume, z, context).ravel().tolist() == wanted


def test_an_organ_is_also_drawn_where_it_was_proposed(store: Store) -> None:
    """Proposed slices count as often as drawn ones, and an organ that nobody drew comes in by them."""
    planes = np.zeros(store.cases[2].geometry.shape[0], dtype=np.int32)
    planes[[2, 5]] = 1 << 3 | 1
    proposed = {store.cases[2].case.id: planes}
    plan, plain = Plan.of(store, proposed), Plan.of(store)
    assert {(2, 2), (2, 5)} == set(map(tuple, plan.positive[3].tolist()))
    assert set(map(tuple, plan.positive[0].tolist())) == set(map(tuple, plain.positive[0].tolist())) | {(2, 2), (2, 5)}
    assert [len(plan.positive[k]) for k in (1, 2, 4)] == [len(plain.positive[k]) for k in (1, 2, 4)]
    assert np.array_equal(plan.trainable, plain.trainable)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_what_stays_in_memory_changes_no_batch(store: Store, share: float) -> None:
    size = sum(case.image.nbytes + case.drawn.nbytes for case in store)
    kept = store.in_memory(int(size * share))
    for wanted, got in zip(batches(store).steps(0, 6, CPU), batches(kept).steps(0, 6, CPU), strict=True):
        assert all(torch.equal(one, other) for one, other in zip(wanted.tensors, got.tensors, strict=True))
    arrays = [array for case in kept for array in (case.image, case.drawn) if isinstance(array, np.ndarray)]
    assert sum(array.nbytes for array in arrays) <= size * share
    assert (len(arrays) == 2 * len(kept)) == (share == 1)
    assert bool(arrays) == (share > 0)


def threads_here() -> int:
    """Threads of this process, those of libraries too."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted as Linux shows them")
def test_a_reader_has_no_team_of_threads_of_its_own(store: Store) -> None:
    """With a second team the threads of the network's would sleep after each operation, and be woken for the next."""

    def read() -> int:
        before = threads_here()
        slices = read_slices(batches, draws, [generator(n) for n in range(len(draws))])
        assert slices.image.size > 4 * torch_shares_out
        return threads_here() - before

    torch_shares_out, threads = 32768, torch.get_num_threads()
    batches = Batches(store, SamplingOptions(patch_size=32, batch_size=64), 0, 0)
    draws = Plan.of(store).draw(generator(0), batches.options)
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(1) as pool:
            assert max(pool.submit(read).result() for _ in range(2)) <= 0
    finally:
        torch.set_num_threads(threads)
