"""The evidence rule against a plain voxel-by-voxel reading of its table, on random organ sets and fields."""

import itertools
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smiler.domain.cells import SliceRange, Status, annotated
from smiler.domain.errors import BadInput
from smiler.domain.evidence import Code, Fields, Relations, derive, from_masks, pack
from smiler.domain.organs import Organ, OrganSet

torch.set_num_threads(1)

LAW = settings(max_examples=60, deadline=None, derandomize=True)
VOXELS = 40


@dataclass(frozen=True)
class Voxel:
    """What is drawn, known and proposed at one voxel, as sets of organ keys."""

    drawn: frozenset[str]
    known: frozenset[str]
    pseudo: frozenset[str]
    cleared: frozenset[str] = frozenset()

    @property
    def positive(self) -> frozenset[str]:
        return self.drawn & self.known

    @property
    def negative(self) -> frozenset[str]:
        return self.known - self.drawn


def is_part(organs: OrganSet, part: str, whole: str) -> bool:
    parent = next(organ.part_of for organ in organs if organ.key == part)
    return parent is not None and (parent == whole or is_part(organs, parent, whole))


def exclude(organs: OrganSet, a: str, b: str) -> bool:
    overlaps = {frozenset((organ.key, other)) for organ in organs for other in organ.overlaps}
    return a != b and not is_part(organs, a, b) and not is_part(organs, b, a) and frozenset((a, b)) not in overlaps


def rule(organs: OrganSet, key: str, voxel: Voxel, pseudo_excludes: bool) -> Code:
    """The table, one row a line; the first that applies is the code."""
    if key in voxel.known:
        return Code.POSITIVE if key in voxel.drawn else Code.NEGATIVE
    if any(is_part(organs, other, key) for other in voxel.positive):
        return Code.IMPLIED
    if any(exclude(organs, key, other) for other in voxel.positive):
        return Code.EXCLUDED
    if any(is_part(organs, key, other) for other in voxel.negative):
        return Code.EXCLUDED
    if key in voxel.pseudo:
        return Code.PSEUDO
    if pseudo_excludes and any(exclude(organs, key, other) for other in voxel.pseudo):
        return Code.EXCLUDED
    return Code.CLEARED if key in voxel.cleared else Code.UNKNOWN


def expected(organs: OrganSet, fields: Fields, pseudo_excludes: bool) -> NDArray[np.uint8]:
    def keys(bits: int) -> frozenset[str]:
        return frozenset(key for k, key in enumerate(organs.keys) if bits >> k & 1)

    cleared = np.zeros_like(fields.drawn) if fields.cleared is None else fields.cleared
    voxels = [
        Voxel(keys(int(d)), keys(int(k)), keys(int(p)), keys(int(c)))
        for d, k, p, c in zip(fields.drawn, fields.known, fields.pseudo, cleared, strict=True)
    ]
    codes = [[rule(organs, key, voxel, pseudo_excludes) for voxel in voxels] for key in organs.keys]
    return np.array(codes, dtype=np.uint8)


@st.composite
def organ_sets(draw: st.DrawFn, least: int = 1, most: int = 6) -> OrganSet:
    """Organs in any order, some of them parts of others (of parts, too), some declared overlapping."""
    count = draw(st.integers(least, most))
    order = draw(st.permutations(range(count)))
    parents = [draw(st.none() | st.integers(0, i - 1)) if i else None for i in range(count)]
    pairs = draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=count))
    organs = [
        Organ(
            f"o{i}",
            part_of=None if parent is None else f"o{parent}",
            overlaps=frozenset(f"o{b}" for a, b in pairs if a == i != b),
        )
        for i, parent in enumerate(parents)
    ]
    return OrganSet(tuple(organs[i] for i in order))


def random_fields(organs: OrganSet, seed: int) -> Fields:
    """Any fields at all: sparse masks, also where nobody's word counts, and proposals on what is known."""
    rng = np.random.default_rng(seed)

    def bits(share: float) -> NDArray[np.int32]:
        chosen = rng.random((len(organs), VOXELS)) < share
        return np.sum([row.astype(np.int64) << k for k, row in enumerate(chosen)], axis=0).astype(np.int32)

    drawn, known, pseudo = (bits(rng.choice(shares)) for shares in ([0.05, 0.3], [0.1, 0.5, 0.9], [0.0, 0.3]))
    return Fields(drawn, known, pseudo, bits(0.4) if rng.random() < 0.5 else None)


def derived(fields: Fields, organs: OrganSet, xp: ModuleType, pseudo_excludes: bool) -> NDArray[np.uint8]:
    if xp is torch:
        given = (fields.drawn, fields.known, fields.pseudo, fields.cleared)
        fields = Fields(*(None if bits is None else torch.from_numpy(bits) for bits in given))
    codes: Any = derive(fields, Relations.of(organs), xp, pseudo_excludes=pseudo_excludes)
    codes = codes.numpy() if xp is torch else codes
    assert codes.dtype == np.uint8
    return np.asarray(codes)


LIBRARIES = pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])


@LIBRARIES
@LAW
@given(organs=organ_sets(), seed=st.integers(0, 2**32 - 1), pseudo_excludes=st.booleans())
def test_evidence_is_the_rule_table_voxel_by_voxel(
    xp: ModuleType, organs: OrganSet, seed: int, pseudo_excludes: bool
) -> None:
    fields = random_fields(organs, seed)
    np.testing.assert_array_equal(
        derived(fields, organs, xp, pseudo_excludes), expected(organs, fields, pseudo_excludes)
    )


@LIBRARIES
@settings(LAW, max_examples=4)
@given(organs=organ_sets(31, 31), seed=st.integers(0, 2**32 - 1), pseudo_excludes=st.booleans())
def test_the_rule_holds_for_as_many_organs_as_a_voxel_can_hold(
    xp: ModuleType, organs: OrganSet, seed: int, pseudo_excludes: bool
) -> None:
    fields = random_fields(organs, seed)
    np.testing.assert_array_equal(
        derived(fields, organs, xp, pseudo_excludes), expected(organs, fields, pseudo_excludes)
    )


@LAW
@given(organs=organ_sets(), seed=st.integers(0, 2**32 - 1), pseudo_excludes=st.booleans())
def test_proposals_never_change_what_is_known(organs: OrganSet, seed: int, pseudo_excludes: bool) -> None:
    fields = random_fields(organs, seed)
    without = derived(Fields(fields.drawn, fields.known, fields.pseudo * 0), organs, np, pseudo_excludes)
    codes = derived(fields, organs, np, pseudo_excludes)
    told = without != Code.UNKNOWN
    np.testing.assert_array_equal(codes[told], without[told])
    assert pseudo_excludes or set(np.unique(codes[~told])) <= {Code.UNKNOWN, Code.PSEUDO, Code.CLEARED}


@LIBRARIES
@LAW
@given(organs=organ_sets(), pseudo_excludes=st.booleans())
def test_padding_is_unknown_for_every_organ(xp: ModuleType, organs: OrganSet, pseudo_excludes: bool) -> None:
    nothing = np.zeros(3, dtype=np.int32)
    codes = derived(Fields(nothing, nothing, nothing), organs, xp, pseudo_excludes)
    assert codes.shape == (len(organs), 3)
    assert (codes == Code.UNKNOWN).all()


U, N, E, P, I, Q, C = Code  # noqa: E741
ABDOMEN = OrganSet(
    (
        Organ("liver"),
        Organ("tumour", part_of="liver"),
        Organ("core", part_of="tumour"),
        Organ("vessel", part_of="liver", overlaps=frozenset({"tumour", "core"})),
        Organ("stomach"),
    )
)


@pytest.mark.parametrize(
    ("drawn", "known", "pseudo", "codes"),
    [
        # liver, tumour, core, vessel, stomach
        ("", "", "", [U, U, U, U, U]),
        ("liver", "liver", "", [P, U, U, U, E]),
        ("core", "core", "", [I, I, P, U, E]),
        ("", "liver", "", [N, E, E, E, U]),
        ("stomach", "stomach", "", [E, E, E, E, P]),
        ("stomach", "", "", [U, U, U, U, U]),
        ("", "stomach", "tumour stomach", [U, Q, U, U, N]),
        ("liver", "liver", "liver stomach core", [P, U, Q, U, E]),
        ("tumour", "liver tumour", "", [N, P, E, E, E]),
    ],
)
def test_worked_examples(drawn: str, known: str, pseudo: str, codes: list[Code]) -> None:
    fields = Fields(*(np.full(1, ABDOMEN.bits(keys.split()), dtype=np.int32) for keys in (drawn, known, pseudo)))
    assert derived(fields, ABDOMEN, np, False)[:, 0].tolist() == codes


def test_a_proposal_excludes_its_rivals_only_where_that_is_asked_for() -> None:
    fields = Fields(*(np.full(1, ABDOMEN.bits(keys), dtype=np.int32) for keys in ([], [], ["stomach"])))
    assert derived(fields, ABDOMEN, np, False)[:, 0].tolist() == [U, U, U, U, Q]
    assert derived(fields, ABDOMEN, np, True)[:, 0].tolist() == [E, E, E, E, Q]


def test_outside_the_annotated_slices_nothing_is_known() -> None:
    cell = annotated("masks.nii.gz", ranges=[SliceRange(1, 3)])
    drawn = np.zeros((4, 2, 2), dtype=np.int32)
    drawn[:, 0] = ABDOMEN.bits(["liver"])
    known = cell.known_slices(4).astype(np.int32)[:, None, None] * ABDOMEN.bits(["liver"])
    codes = derive(Fields(drawn, known, np.zeros_like(drawn)), Relations.of(ABDOMEN), np)
    assert (codes[:, [0, 3]] == Code.UNKNOWN).all()
    assert (codes[0, 1:3, 0] == Code.POSITIVE).all()
    assert (codes[0, 1:3, 1] == Code.NEGATIVE).all()


@LAW
@given(organs=organ_sets(), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_masks_and_statuses_of_a_volume_follow_the_same_table(organs: OrganSet, seed: int, data: st.DataObject) -> None:
    statuses = {key: data.draw(st.sampled_from(Status)) for key in organs.keys}
    rng = np.random.default_rng(seed)
    masks = {k: rng.random((2, 3, 4)) < 0.3 for k, status in statuses.items() if status is Status.ANNOTATED}
    assume(masks)
    known = organs.bits(key for key, status in statuses.items() if status is not Status.UNANNOTATED)
    drawn = pack(masks, organs, (2, 3, 4)).ravel()
    fields = Fields(drawn, np.full_like(drawn, known), np.zeros_like(drawn))
    codes = from_masks(masks, statuses, organs)
    assert codes.shape == (len(organs), 2, 3, 4)
    np.testing.assert_array_equal(codes.reshape(len(organs), -1), expected(organs, fields, False))


@pytest.mark.parametrize("statuses", [{}, {"liver": Status.UNANNOTATED}, {"liver": Status.ABSENT}])
def test_a_mask_of_an_organ_that_nobody_annotated_is_refused(statuses: dict[str, Status]) -> None:
    with pytest.raises(BadInput, match="organ liver: the mask has voxels of an organ that isn't annotated"):
        from_masks({"liver": np.ones((1, 2, 2), dtype=bool)}, statuses, ABDOMEN)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.7, 1.0])
def test_shares_under_independent_removal_are_the_closed_form(alpha: float) -> None:
    """Positives (1-a) b_k, negatives (1-a)(1-b_k) + a (1-a) S_k, unknown a [1 - (1-a) S_k], over every annotation."""
    organs, truth = OrganSet.of("a", "b", "c"), np.array([0] * 10 + [1] * 5 + [2] * 3 + [3] * 2)
    beta = np.array([5, 3, 2]) / len(truth)
    shares = np.zeros((3, len(Code)))
    for choice in itertools.product([False, True], repeat=3):
        chance = float(np.prod([1 - alpha if there else alpha for there in choice]))
        known = sum(1 << k for k, there in enumerate(choice) if there)
        drawn = np.where(truth > 0, 1 << np.maximum(truth - 1, 0), 0)
        fields = Fields(drawn, np.full_like(drawn, known), np.zeros_like(drawn))
        codes = derived(fields, organs, np, False)
        shares += chance * np.stack([(codes == code).mean(axis=1) for code in Code], axis=1)
    others = beta.sum() - beta
    np.testing.assert_allclose(shares[:, P], (1 - alpha) * beta, atol=1e-12)
    negatives = (1 - alpha) * (1 - beta) + alpha * (1 - alpha) * others
    np.testing.assert_allclose(shares[:, N] + shares[:, E], negatives, atol=1e-12)
    np.testing.assert_allclose(shares[:, U], alpha * (1 - (1 - alpha) * others), atol=1e-12)


def test_a_round_rules_out_only_what_nobody_knows_or_proposes() -> None:
    def bits(keys: str) -> NDArray[np.int32]:
        return np.full(1, ABDOMEN.bits(keys.split()), dtype=np.int32)

    fields = Fields(bits("stomach"), bits("stomach"), bits("tumour"), bits("liver tumour core vessel stomach"))
    assert derived(fields, ABDOMEN, np, False)[:, 0].tolist() == [E, E, E, E, P]
    fields = Fields(bits(""), bits("stomach"), bits("tumour"), bits("liver tumour core vessel stomach"))
    assert derived(fields, ABDOMEN, np, False)[:, 0].tolist() == [C, Q, C, C, N]
