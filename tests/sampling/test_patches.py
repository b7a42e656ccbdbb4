"""3-D patches of a small cohort on disk: replayable, around what was drawn, and true to the store to the last voxel."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from smiler.domain.cells import ABSENT, SliceRange, annotated
from smiler.domain.cohort import Case, Cohort
from smiler.domain.evidence import Code, Relations, derive
from smiler.domain.geometry import Geometry
from smiler.domain.organs import Organ, OrganSet
from smiler.formats.nifti import grid_of, write_ct, write_labels
from smiler.losses import LOSSES, LossOptions, build_loss
from smiler.losses.targets import READINGS
from smiler.phantom import PhantomOptions, generate
from smiler.sampling.augment import Batch, Slices, apply, sample
from smiler.sampling.batches import Batches
from smiler.sampling.draws import Draw, Plan, generator
from smiler.sampling.options import SamplingOptions
from smiler.sampling.patches import cut, first_voxel
from smiler.store.options import DataOptions
from smiler.store.store import Store, StoreOptions, build_store
from smiler.training.fit import Objective

torch.set_num_threads(1)

CPU = torch.device("cpu")
LAW = settings(max_examples=40, deadline=None, derandomize=True)
STILL = {"rotate_deg": 0, "scale": 0, "shift": 0, "contrast": 0, "brightness": 0, "noise": 0}
WILD = {"rotate_deg": 180, "scale": 0.5, "shift": 0.3, "contrast": 0, "brightness": 0, "noise": 0}
ORGANS = OrganSet((Organ("liver"), Organ("stomach"), Organ("spleen")))
SHAPES = ((24, 48, 56), (10, 40, 40), (40, 36, 64))
AIR = -160


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three sizes: larger than a patch along some axes, smaller along others; known in part, and in some slices."""
    folder = tmp_path_factory.mktemp("volumes")
    cells = (
        {"liver": annotated("0_liver.nii.gz"), "stomach": ABSENT},
        {"stomach": annotated("1_stomach.nii.gz", ranges=(SliceRange(3, 8),))},
        {"spleen": annotated("2_spleen.nii.gz"), "liver": annotated("2_liver.nii.gz")},
    )
    cases = []
    for seed, shape in enumerate(SHAPES):
        phantom = generate(seed, PhantomOptions(shape=shape))
        geometry = Geometry.canonical(shape, phantom.spacing)
        write_ct(folder / f"{seed}.nii.gz", phantom.hu, geometry)
        for key in ORGANS.keys:
            write_labels(folder / f"{seed}_{key}.nii.gz", phantom.masks[key].astype(np.uint8), grid_of(geometry))
        cases.append(Case(f"case{seed}", f"patient{seed}", f"{seed}.nii.gz", cells[seed]))
    options = StoreOptions(data=DataOptions(spacing_xy_mm="native"))
    return build_store(Cohort(folder, ORGANS, tuple(cases)), tmp_path_factory.mktemp("store"), options)


def batches(store: Store, **options: object) -> Batches:
    table = {"batch_size": 4, "patch_size": 32, "patch_depth": 16, "augment": STILL, **options}
    return Batches(store, SamplingOptions.model_validate(table), 0, seed=7, axes=3)


def parts(batch: Batch) -> list[torch.Tensor]:
    return [batch.image, batch.fields.drawn, batch.fields.known, batch.fields.pseudo]


def by_hand(array: NDArray[np.generic], first: Sequence[int], size: Sequence[int], outside: int) -> NDArray[np.generic]:
    """The box out of a copy with so much around it that no box reaches beyond."""
    wide = np.pad(array, 99, constant_values=outside)  # type: ignore[call-overload]
    return wide[tuple(slice(99 + a, 99 + a + s) for a, s in zip(first, size, strict=True))]


def places(of: Batches, step: int) -> tuple[list[Draw], list[tuple[int, int, int]]]:
    """What a step draws, and where its patches begin."""
    rng = generator(of.seed, of.stage, step)
    draws = Plan.of(of.store).draw(rng, of.options)
    rngs = [generator(int(seed)) for seed in rng.integers(2**62, size=len(draws))]
    return draws, [tuple(first_voxel(of, draw, one).tolist()) for draw, one in zip(draws, rngs, strict=True)]


@LAW
@given(
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    first=st.tuples(*[st.integers(-7, 7)] * 3),
    size=st.tuples(*[st.integers(1, 6)] * 3),
)
def test_a_box_is_the_array_and_outside_it_what_was_asked_for(
    shape: tuple[int, ...], first: tuple[int, ...], size: tuple[int, ...]
) -> None:
    array = 1 + np.arange(np.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(cut(array, first, size, -9), by_hand(array, first, size, -9))


def test_without_changes_a_patch_is_the_stores_voxels_and_beyond_the_borders_nothing_is_known(store: Store) -> None:
    rng = np.random.default_rng(3)
    proposals = {case.case.id: rng.integers(0, 8, case.geometry.shape).astype(np.int32) for case in store}
    chosen = replace(batches(store, foreground=0.5), proposals=proposals, cleared=proposals)
    grey, size, beyond = chosen.normalisation(), chosen.options.box, 0
    for step, batch in enumerate(chosen.steps(0, 6, CPU)):
        assert batch.image.shape == (4, 1, *size)
        codes = derive(batch.fields, Relations.of(ORGANS), torch).numpy()
        for i, (draw, first) in enumerate(zip(*places(chosen, step), strict=True)):
            case = store.cases[draw.case]
            proposed, known = proposals[case.case.id], np.broadcast_to(case.known[:, None, None], case.geometry.shape)
            arrays = {"drawn": case.drawn[:], "known": known, "pseudo": proposed, "cleared": proposed}
            for name, array in arrays.items():
                got = getattr(batch.fields, name)[i].numpy()
                assert got.dtype == np.int32
                np.testing.assert_array_equal(got, by_hand(array, first, size, 0))
            wanted = (by_hand(case.image[:].astype(np.float64), first, size, AIR) - grey.mean) / grey.sd
            np.testing.assert_allclose(batch.image[i, 0].numpy(), wanted, atol=1e-4)
            outside = by_hand(np.ones(case.geometry.shape), first, size, 0) == 0
            assert (codes[:, i, outside] == Code.UNKNOWN).all()
            beyond += int(outside.sum())
    assert beyond, "no patch reached beyond its volume: nothing was tested there"


def test_a_patch_lies_in_the_volume_where_it_fits_and_around_it_where_it_does_not(store: Store) -> None:
    for step in range(20):
        for draw, first in zip(*places(batches(store), step), strict=True):
            for begin, side, length in zip(first, (16, 32, 32), store.cases[draw.case].geometry.shape, strict=True):
                assert min(0, length - side) <= begin <= max(0, length - side)
                assert length >= side or begin == -((side - length + 1) // 2)
            assert first[0] <= draw.z < first[0] + 16


@pytest.mark.parametrize(("foreground", "count"), [(0.0, 0), (0.5, 2), (1.0, 4)])
def test_so_many_patches_as_asked_for_hold_the_organ_that_was_drawn(
    store: Store, foreground: float, count: int
) -> None:
    chosen = batches(store, foreground=foreground)
    organs = []
    for step, batch in enumerate(chosen.steps(0, 12, CPU)):
        drawn = places(chosen, step)[0]
        organs += [draw.organ for draw in drawn if draw.organ >= 0]
        assert sum(draw.organ >= 0 for draw in drawn) == count
        for bits, draw in zip(batch.fields.drawn, drawn, strict=True):
            assert draw.organ < 0 or (bits >> draw.organ & 1).any()
    if count == 4:
        assert np.bincount(organs, minlength=3).min() > 0.2 * len(organs), "organs in turn, equally likely"


@pytest.mark.parametrize("augment", [STILL, WILD, {**WILD, "noise": 0.5}])
def test_a_batch_is_a_function_of_seed_stage_and_step(store: Store, augment: dict[str, float]) -> None:
    chosen = batches(store, augment=augment)
    whole, resumed = list(chosen.steps(0, 4, CPU)), list(chosen.steps(2, 4, CPU))
    for one, other in zip(whole[2:], resumed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(parts(one), parts(other), strict=True))
    for one, other in [*pairwise(whole), (whole[0], next(replace(chosen, stage=1).steps(0, 1, CPU)))]:
        assert not torch.equal(one.image, other.image)


def test_only_what_the_patch_needs_is_read_and_it_is_enough(store: Store) -> None:
    """The patch cut from its small box is the patch cut from the whole volume."""
    chosen = batches(store, augment=WILD, batch_size=3)
    grey = chosen.normalisation()
    for step, batch in enumerate(chosen.steps(0, 8, CPU)):
        rng = generator(chosen.seed, chosen.stage, step)
        drawn = Plan.of(store).draw(rng, chosen.options)
        rngs = [generator(int(seed)) for seed in rng.integers(2**62, size=len(drawn))]
        first = np.stack([first_voxel(chosen, draw, one) for draw, one in zip(drawn, rngs, strict=True)])
        changes = sample(rng, (first[:, 1:] + 15.5).astype(np.float64), 32, chosen.options.augment)
        changes.matrix[:, :, 2] += 99
        for i, draw in enumerate(drawn):
            case, z = store.cases[draw.case], slice(99 + first[i, 0], 99 + first[i, 0] + 16)
            known = np.broadcast_to(case.known[:, None, None], case.geometry.shape)
            fields = [np.pad(array, 99)[None, z] for array in (case.drawn[:], 0 * case.drawn[:], known)]
            image = np.pad(case.image[:], 99, constant_values=AIR)[None, z]
            whole = Slices(image, *fields, np.array([image.shape[2:]]), np.zeros((1, 2)))
            mine = replace(changes.part(slice(i, i + 1)), noise=np.zeros(1, dtype=np.float32))
            expected = apply(whole, mine, 32, grey, CPU)
            torch.testing.assert_close(batch.image[i], expected.image, atol=2e-3, rtol=0)
            for name in ("drawn", "known"):
                differing = getattr(batch.fields, name)[i] != getattr(expected.fields, name)[0]
                assert differing.float().mean() < 1e-3  # half way between two voxels either may be taken


def test_a_patch_moved_out_of_its_volume_is_air_about_which_nothing_is_known(store: Store) -> None:
    chosen = batches(store, augment={**STILL, "shift": 0.5}, batch_size=16)
    (batch,) = chosen.steps(0, 1, CPU)
    grey = chosen.normalisation()
    unknown = batch.fields.known == 0
    assert unknown.any()
    assert not (batch.fields.drawn[unknown] & 7).any()
    assert batch.image.min() >= (AIR - grey.mean) / grey.sd - 1e-4


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_are_blind_where_nothing_is_known_in_a_patch(store: Store, name: str) -> None:
    (batch,) = batches(store, batch_size=6, augment=WILD).steps(0, 1, CPU)
    loss = build_loss(LossOptions.model_validate({"name": name}), ORGANS)
    objective = Objective(loss, READINGS["smile"], Relations.of(ORGANS))
    codes = derive(batch.fields, Relations.of(ORGANS), torch)
    deaf = (codes == Code.UNKNOWN).all(dim=0)[:, None]
    assert 0 < deaf.float().mean() < 1
    logits = torch.randn(6, loss.outputs, 16, 32, 32, generator=torch.Generator().manual_seed(1))
    told = []
    for said in (logits, torch.where(deaf, 50 - 3 * logits, logits)):
        leaf = said.clone().requires_grad_()
        value = objective(Says(leaf), batch)
        (gradient,) = torch.autograd.grad(value, leaf)
        assert (gradient[deaf.expand_as(gradient)] == 0).all()
        assert gradient.any()
        told.append((value.detach(), gradient))
    assert torch.equal(told[0][0], told[1][0])
    assert torch.equal(told[0][1], told[1][1])


class Says(nn.Module):
    """A network that says the same of every image."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logits
