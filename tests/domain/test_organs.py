"""Organ sets: which organs share voxels follows from part_of and overlaps alone, and a set that exists is valid."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smiler.domain.errors import BadInput
from smiler.domain.organs import MAX_ORGANS, Organ, OrganSet

ANATOMY = OrganSet(
    (
        Organ("liver"),
        Organ("segment", part_of="liver"),
        Organ("tumour", part_of="segment"),
        Organ("vein", overlaps=frozenset({"liver"})),
        Organ("spleen"),
    )
)


@st.composite
def organ_sets(draw: st.DrawFn) -> OrganSet:
    """Any forest of parts, in any order of channels, with any overlaps."""
    count = draw(st.integers(1, 8))
    keys = [f"o{i}" for i in range(count)]
    organs = []
    for i, key in enumerate(keys):
        whole = draw(st.sampled_from([None, *keys[:i]]))
        overlaps = draw(st.sets(st.sampled_from(keys), max_size=2)) - {key}
        organs.append(Organ(key, part_of=whole, overlaps=frozenset(overlaps)))
    return OrganSet(tuple(draw(st.permutations(organs))))


@settings(derandomize=True, deadline=None, max_examples=150)
@given(organ_sets())
def test_relations_are_consistent(organs: OrganSet) -> None:
    for a in organs.keys:
        assert not organs.exclusive(a, a)
        assert organs.excluders(a) == {b for b in organs.keys if organs.exclusive(a, b)}
        for b in organs.keys:
            assert organs.exclusive(a, b) == organs.exclusive(b, a)
            assert (b in organs.wholes(a)) == (a in organs.parts(b))
            if b in organs.wholes(a):
                assert organs.wholes(b) <= organs.wholes(a)
                assert not organs.exclusive(a, b)
    assert all(organs.bits([key]) == 1 << organs.index(key) for key in organs.keys)
    assert organs.bits([*organs.keys, *organs.keys]) == (1 << len(organs)) - 1


def test_part_of_is_transitive() -> None:
    assert ANATOMY.wholes("tumour") == {"segment", "liver"}
    assert ANATOMY.parts("liver") == {"segment", "tumour"}
    assert ANATOMY.excluders("tumour") == {"vein", "spleen"}
    assert ANATOMY.excluders("spleen") == {"liver", "segment", "tumour", "vein"}


def test_a_declared_overlap_holds_both_ways() -> None:
    assert not ANATOMY.exclusive("liver", "vein")
    assert not ANATOMY.exclusive("vein", "liver")
    assert ANATOMY.exclusive("vein", "segment")


def test_the_order_of_declaration_is_the_order_of_channels() -> None:
    organs = OrganSet.of("spleen", "liver")
    assert organs.keys == ("spleen", "liver")
    assert [organs.index(key) for key in organs.keys] == [0, 1]
    assert "liver" in organs
    assert "kidney" not in organs


@pytest.mark.parametrize("length", [2, 3, 5])
def test_circles_are_refused(length: int) -> None:
    organs = tuple(Organ(f"o{i}", part_of=f"o{(i + 1) % length}") for i in range(length))
    with pytest.raises(BadInput, match="part_of runs in a circle"):
        OrganSet(organs)


def test_a_circle_beside_an_organ_that_leads_into_it_is_refused() -> None:
    with pytest.raises(BadInput, match="circle"):
        OrganSet((Organ("a", part_of="b"), Organ("b", part_of="c"), Organ("c", part_of="b")))


def test_31_organs_fit_and_no_more() -> None:
    keys = [f"o{i}" for i in range(MAX_ORGANS + 1)]
    assert MAX_ORGANS == 31
    assert OrganSet.of(*keys[:-1]).bits(keys[:-1]) == 2**31 - 1
    with pytest.raises(BadInput, match=r"1 to 31 organs.*got 32"):
        OrganSet.of(*keys)
    with pytest.raises(BadInput, match="got 0"):
        OrganSet(())


@pytest.mark.parametrize(
    ("organs", "text"),
    [
        ((Organ("a"), Organ("a")), "organ a: the organ is declared twice"),
        ((Organ("a", part_of="b"),), "organ a: part_of and overlaps name other organs.*got 'b'.*choose among a"),
        ((Organ("a", part_of="a"),), "organ a: part_of and overlaps name other organs"),
        ((Organ("a", overlaps=frozenset({"b"})),), "got 'b'"),
        ((Organ("a", overlaps=frozenset({"a"})),), "got 'a'"),
    ],
)
def test_relations_to_nobody_or_oneself_are_refused(organs: tuple[Organ, ...], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        OrganSet(organs)


@pytest.mark.parametrize(
    "key", ["", "Liver", "1st", "a b", "a-b", "../evil", "<script>", "a\x00", "leber\u202e", "a\n", "x" * 64, "case"]
)
def test_keys_that_could_be_paths_markup_or_columns_are_refused(key: str) -> None:
    with pytest.raises(BadInput, match="not a usable organ key"):
        Organ(key)


@pytest.mark.parametrize("colour", ["red", "#fff", "#12345g", "#1234567", "#123456\n"])
def test_colours_are_six_hexadecimal_digits(colour: str) -> None:
    assert Organ("a", colour="#12aBf0").colour == "#12aBf0"
    with pytest.raises(BadInput, match="#rrggbb"):
        Organ("a", colour=colour)


@pytest.mark.parametrize("code", ["12", "1020000x", "1" * 19])
def test_snomed_codes_are_numbers(code: str) -> None:
    assert Organ("a", snomed="10200004").snomed == "10200004"
    with pytest.raises(BadInput, match="SNOMED"):
        Organ("a", snomed=code)


def test_an_unknown_organ_is_met_with_those_there_are() -> None:
    with pytest.raises(BadInput, match=r"got 'heart'.*choose among liver, segment, tumour, vein, spleen"):
        ANATOMY.index("heart")
