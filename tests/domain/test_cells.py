"""The grammar of a ledger cell: every form reads, prints back, and anything else is refused with what to write."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smiler.domain.cells import (
    ABSENT,
    UNANNOTATED,
    Cell,
    SliceRange,
    Status,
    annotated,
    parse_cell,
    proposed,
    reads_back,
)
from smiler.domain.errors import BadInput

repeatable = settings(derandomize=True, deadline=None, max_examples=300)

FORMS = {
    "": UNANNOTATED,
    "absent": ABSENT,
    "labels/p001.nii.gz": annotated("labels/p001.nii.gz"),
    "labels/p001.nii.gz#3": annotated("labels/p001.nii.gz", (3,)),
    "labels/p001.nii.gz#2+5": annotated("labels/p001.nii.gz", (2, 5)),
    "labels/p001.nii.gz#1@0:40": annotated("labels/p001.nii.gz", (1,), (SliceRange(0, 40),)),
    "m.nii.gz@0:200:5": annotated("m.nii.gz", (), (SliceRange(0, 200, 5),)),
    "m.nii.gz#7@3:4,9:12": annotated("m.nii.gz", (7,), (SliceRange(3, 4), SliceRange(9, 12))),
    "auto:completed/p003_pancreas.nii.gz": proposed("completed/p003_pancreas.nii.gz"),
    "auto:map.nii.gz#2": Cell(path="map.nii.gz", labels=(2,), auto=True),
    "/data/a folder/m.nii.gz#1": annotated("/data/a folder/m.nii.gz", (1,)),
    "me@clinic/m.nii.gz": annotated("me@clinic/m.nii.gz"),
    "C:/masks/m.nii.gz": annotated("C:/masks/m.nii.gz"),
}


@pytest.mark.parametrize("text", FORMS)
def test_every_form_of_the_grammar_reads_and_prints_back(text: str) -> None:
    assert parse_cell(text) == FORMS[text]
    assert str(FORMS[text]) == text


def test_a_step_of_one_is_the_default_and_blanks_around_a_cell_do_not_count() -> None:
    assert parse_cell("  m.nii.gz@0:4:1 ") == parse_cell("m.nii.gz@0:4")
    assert parse_cell("   ") is UNANNOTATED
    assert parse_cell(" absent\t") is ABSENT


paths = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
labels = st.lists(st.integers(1, 65535), max_size=4, unique=True).map(tuple)
ranges = st.lists(
    st.builds(
        lambda start, length, step: SliceRange(start, start + length, step),
        st.integers(0, 500),
        st.integers(1, 500),
        st.integers(1, 9),
    ),
    max_size=3,
).map(tuple)


usual = st.from_regex(r"/?[A-Za-z0-9_][A-Za-z0-9_./ -]{0,20}[A-Za-z0-9_]", fullmatch=True).filter(
    lambda path: path != "absent"
)


def cell_of(path: str, labels: tuple[int, ...], ranges: tuple[SliceRange, ...], auto: bool) -> Cell:
    return Cell(path=path, labels=labels, auto=True) if auto else annotated(path, labels, ranges)


@repeatable
@given(usual, labels, ranges, st.booleans())
def test_a_cell_comes_back_from_its_text(
    path: str, labels: tuple[int, ...], ranges: tuple[SliceRange, ...], auto: bool
) -> None:
    cell = cell_of(path, labels, ranges, auto)
    assert parse_cell(str(cell)) == cell
    assert reads_back(cell)


@repeatable
@given(paths, labels, ranges, st.booleans())
def test_a_cell_with_any_path_says_whether_it_reads_back(
    path: str, labels: tuple[int, ...], ranges: tuple[SliceRange, ...], auto: bool
) -> None:
    cell = cell_of(path, labels, ranges, auto)
    if reads_back(cell):
        assert parse_cell(str(cell)) == cell


@pytest.mark.parametrize(
    "path", ["scan#2.nii.gz", "absent", "auto:m", " m", "m ", "m#3", "m@1:2", "a\nb", "a\rb", "a\x00"]
)
def test_paths_that_mean_something_else_in_a_cell_do_not_read_back(path: str) -> None:
    assert not reads_back(annotated(path))


@repeatable
@given(st.text(max_size=40))
def test_any_text_is_a_cell_or_one_error(text: str) -> None:
    try:
        cell = parse_cell(text, "row 7, column liver")
    except BadInput:
        with pytest.raises(BadInput, match=r"row 7, column liver.*absent, PATH, PATH#3, PATH#2\+5") as caught:
            parse_cell(text, "row 7, column liver")
        assert caught.value.where == "row 7, column liver"
    else:
        assert parse_cell(str(cell)) == cell


@pytest.mark.parametrize(
    "text",
    [
        "m.nii.gz#",
        "m.nii.gz#0",
        "m.nii.gz#-1",
        "m.nii.gz#liver",
        "m.nii.gz#1+1",
        "m.nii.gz#1+",
        "m.nii.gz#1_0",
        "m.nii.gz#1.5",
        "m.nii.gz@",
        "m.nii.gz@5",
        "m.nii.gz@5:5",
        "m.nii.gz@9:5",
        "m.nii.gz@-1:5",
        "m.nii.gz@0:5:0",
        "m.nii.gz@0:5:1:1",
        "m.nii.gz@0:5,",
        "m.nii.gz@:5",
        "auto:",
        "auto:m.nii.gz@0:5",
        "auto:m.nii.gz#0",
        "m.nii.gz\x00",
        "m\n.nii.gz",
        "m.nii.gz#" + "9" * 5000,
    ],
)
def test_bad_cells_are_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(BadInput, match="not a cell of the ledger") as caught:
        parse_cell(text, "row 2, column liver")
    assert "row 2, column liver" in str(caught.value)
    assert "leave it empty or write absent" in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Cell(Status.ANNOTATED),
        lambda: Cell(Status.ABSENT, "m.nii.gz"),
        lambda: Cell(path="m.nii.gz"),
        lambda: Cell(auto=True),
        lambda: Cell(Status.ANNOTATED, "m.nii.gz", auto=True),
        lambda: Cell(Status.ABSENT, ranges=(SliceRange(0, 4),)),
        lambda: Cell(path="m.nii.gz", auto=True, ranges=(SliceRange(0, 4),)),
    ],
)
def test_contradictory_cells_do_not_exist(make: object) -> None:
    with pytest.raises(BadInput):
        make()  # type: ignore[operator]


def test_slice_ranges_count_from_the_feet_up_with_their_steps() -> None:
    assert np.flatnonzero(parse_cell("m@0:4").known_slices(10)).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(parse_cell("m@1:10:4").known_slices(10)).tolist() == [1, 5, 9]
    assert np.flatnonzero(parse_cell("m@0:2,4:9:3").known_slices(10)).tolist() == [0, 1, 4, 7]
    assert np.flatnonzero(parse_cell("m@8:40").known_slices(10)).tolist() == [8, 9]


@pytest.mark.parametrize(
    ("text", "known"), [("", False), ("absent", True), ("m.nii.gz#1", True), ("auto:m.nii.gz", False)]
)
def test_without_ranges_all_slices_are_known_or_none(text: str, known: bool) -> None:
    assert parse_cell(text).known_slices(7).tolist() == [known] * 7


@repeatable
@given(paths, labels)
def test_a_proposal_is_never_an_experts_word(path: str, labels: tuple[int, ...]) -> None:
    cell = cell_of(path, labels, (), auto=True)
    assert cell.status is Status.UNANNOTATED
    assert not cell.known_slices(5).any()


def test_a_proposal_with_an_ignored_label_never_becomes_an_annotation() -> None:
    with pytest.raises(BadInput, match="not a cell"):
        parse_cell("auto:x.nii.gz#2~9")
    assert parse_cell("x.nii.gz#2~9@0:4").ignored == 9
