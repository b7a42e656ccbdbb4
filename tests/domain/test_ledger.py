"""The ledger on disk: exact round trips, every fault of a file at once with its row and column, sealed truth sealed."""

import random
import tempfile
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smiler.domain.cells import ABSENT, UNANNOTATED, Cell, SliceRange, annotated, proposed
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput, Faults, SmilerError
from smiler.domain.organs import Organ, OrganSet
from smiler.evaluation.truth import Truth

FILES = ("ct.nii.gz", "a folder/map, of 2.nii.gz", "mask.nii.gz")
TOML = 'format = 1\nname = "two organs"\n\n[[organ]]\nkey = "liver"\ntitle = "Liver"\n\n[[organ]]\nkey = "spleen"\n'
CSV = """\
case,patient,image,liver,spleen
p001,A,ct.nii.gz,mask.nii.gz#1,absent
p002,B,ct.nii.gz,,auto:mask.nii.gz
"""


def folder_with_files(folder: Path) -> Path:
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small valid cohort; the tests spoil one of its two files."""
    (tmp_path / "cohort.toml").write_text(TOML, encoding="utf-8")
    (tmp_path / "cases.csv").write_text(CSV, encoding="utf-8")
    return folder_with_files(tmp_path)


def refused(folder: Path) -> list[str]:
    with pytest.raises(BadInput) as caught:
        Cohort.open(folder)
    faults = caught.value.faults if isinstance(caught.value, Faults) else (caught.value,)
    assert str(caught.value).splitlines() == [str(fault) for fault in faults]
    return [str(fault).replace(f"{folder}/", "") for fault in faults]


def write_ledger(folder: Path, text: str, encoding: str = "utf-8", newline: str = "\n") -> None:
    (folder / "cases.csv").write_bytes(text.replace("\n", newline).encode(encoding))


# --- round trips

text = st.text(st.characters(codec="utf-8"), max_size=12)
shown = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(
    lambda value: value.isprintable() and value == value.strip()
)
cells = st.one_of(
    st.just(UNANNOTATED),
    st.just(ABSENT),
    st.sampled_from(FILES).map(proposed),
    st.builds(
        annotated,
        st.sampled_from(FILES),
        st.lists(st.integers(1, 99), max_size=3, unique=True),
        st.lists(st.builds(lambda a, n, step: SliceRange(a, a + n, step), *[st.integers(1, 40)] * 3), max_size=2),
    ),
)


@st.composite
def cohorts(draw: st.DrawFn) -> Cohort:
    keys = draw(st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True), min_size=1, max_size=4, unique=True))
    keys = [key for key in keys if key not in {"case", "patient", "image"}] or ["liver"]
    organs = tuple(
        Organ(
            key,
            draw(text),
            draw(st.sampled_from(["", "10200004"])),
            draw(st.sampled_from(["", "#12abEF"])),
            draw(st.sampled_from([None, *keys[:i]])),
            frozenset(draw(st.sets(st.sampled_from(keys), max_size=2)) - {key}),
        )
        for i, key in enumerate(keys)
    )
    ids = draw(st.lists(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True), max_size=4, unique=True))
    cases = tuple(
        Case(name, draw(shown), draw(st.sampled_from(FILES)), {k: c for k in keys if str(c := draw(cells))})
        for name in ids
    )
    return Cohort(Path(), OrganSet(organs), cases, draw(text))


@settings(derandomize=True, deadline=None, max_examples=50)
@given(cohorts())
def test_a_cohort_comes_back_from_disk_as_it_was(cohort: Cohort) -> None:
    with tempfile.TemporaryDirectory() as name:
        saved = replace(cohort, folder=folder_with_files(Path(name)))
        saved.save()
        assert Cohort.open(name) == saved
        before = {path: path.read_bytes() for path in saved.folder.glob("c*.*")}
        Cohort.open(name).save()
        assert {path: path.read_bytes() for path in before} == before


def test_what_is_written_is_what_a_person_would_write(folder: Path) -> None:
    Cohort.open(folder).save()
    assert tomllib.loads((folder / "cohort.toml").read_text(encoding="utf-8")) == tomllib.loads(TOML)
    assert (folder / "cases.csv").read_text(encoding="utf-8") == CSV


@pytest.mark.parametrize(
    ("patient", "image"),
    [("", "ct.nii.gz"), ("A", ""), ("A\rB", "ct.nii.gz"), (" A", "ct.nii.gz"), ("A", "ct\n.nii.gz"), ("A\u202e", "x")],
)
def test_a_case_that_the_ledger_could_not_hold_does_not_exist(patient: str, image: str) -> None:
    with pytest.raises(BadInput, match="case p1"):
        Case("p1", patient, image)


@pytest.mark.parametrize("path", ["scan#2.nii.gz", "absent", "auto:m.nii.gz", "m.nii.gz ", "m.nii.gz#3", "a\nb"])
def test_a_path_that_would_be_read_as_something_else_is_not_written(folder: Path, path: str) -> None:
    cohort = Cohort.open(folder)
    changed = cohort.cases[1].with_cells({"liver": annotated(path)})
    with pytest.raises(BadInput, match=r"case p002, organ liver: the cell can't stand in the ledger.*rename the file"):
        replace(cohort, cases=(cohort.cases[0], changed)).save()
    assert Cohort.open(folder) == cohort


# --- what a spreadsheet makes of it


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_spreadsheet_dialects_are_read(folder: Path, delimiter: str, encoding: str, newline: str) -> None:
    expected = Cohort.open(folder).cases
    write_ledger(folder, CSV.replace(",", delimiter), encoding, newline)
    assert Cohort.open(folder).cases == expected


def test_spreadsheet_quoting_empty_rows_and_blanks_are_read(folder: Path) -> None:
    rows = [
        'spleen,"case", patient ,image,liver',
        '"absent", p001 ,"A ""the first""","a folder/map, of 2.nii.gz","mask.nii.gz#1@0:4,6:8"',
        ",,,,",
        ",p002,B,ct.nii.gz,",
        "",
    ]
    write_ledger(folder, "\n".join(rows) + "\n")
    first, second = Cohort.open(folder)
    assert (first.id, first.patient, first.image) == ("p001", 'A "the first"', "a folder/map, of 2.nii.gz")
    assert first.cell("liver") == annotated("mask.nii.gz", (1,), (SliceRange(0, 4), SliceRange(6, 8)))
    assert first.cell("spleen") == ABSENT
    assert second.cells == {}


# --- faults, all at once


def test_all_faults_of_the_rows_are_listed_at_once_with_row_and_column(folder: Path) -> None:
    write_ledger(
        folder,
        """\
case,patient,image,liver,spleen
p001,A,ct.nii.gz,mask.nii.gz#0,absent
p001,B,gone.nii.gz,,

p003,,ct.nii.gz,gone_too.nii.gz#2,Absent?
P001,C,ct.nii.gz,,
p005,D,ct.nii.gz,
p006,E,,,auto:lost.nii.gz
""",
    )
    found = refused(folder)
    expected = [
        ("row 2, column liver", "not a cell of the ledger", "'mask.nii.gz#0'"),
        ("row 3, column case", "the case id is used twice", "row 2 has it too"),
        ("row 3, column image", "the file does not exist", "'gone.nii.gz'"),
        ("row 5, column patient", "the cell is empty", ""),
        ("row 5, column liver", "the file does not exist", "'gone_too.nii.gz'"),
        ("row 5, column spleen", "the file does not exist", "'Absent?'"),
        ("row 6, column case", "the case id is used twice", "row 2 has it too"),
        ("row 7", "the row has 4 columns, the header 5", ""),
        ("row 8, column image", "the cell is empty", ""),
        ("row 8, column spleen", "the file does not exist", "'lost.nii.gz'"),
    ]
    assert len(found) == len(expected)
    for fault, (where, what, more) in zip(found, expected, strict=True):
        assert fault.startswith(f"cases.csv, {where}: {what}")
        assert more in fault


def test_all_faults_of_the_header_are_listed_at_once(folder: Path) -> None:
    write_ledger(folder, "case,image,Leber,liver,liver,\np001,ct.nii.gz,,,,\n")
    found = refused(folder)
    assert [fault.split(";")[0] for fault in found] == [
        "cases.csv, row 1, column Leber: unknown column",
        "cases.csv, row 1, column liver: the column stands twice",
        "cases.csv, row 1, column liver: the column stands twice",
        "cases.csv, row 1: unknown column",
        "cases.csv, row 1, column patient: the column is missing",
        "cases.csv, row 1, column spleen: the column is missing",
    ]
    assert "use case, patient, image, liver, spleen, or declare the organ in cohort.toml" in found[0]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding_is_refused_with_its_row(folder: Path, encoding: str) -> None:
    write_ledger(folder, CSV.replace("p002,B", "p002,Müller"), encoding)
    (fault,) = refused(folder)
    assert fault.startswith(f"cases.csv, row {3 if encoding == 'latin-1' else 1}: the file is not UTF-8")
    assert fault.endswith("do: save it as CSV UTF-8")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "the ledger is empty"),
        (b"\n\n", "the ledger is empty"),
        (b"case,patient\x00", "NUL characters"),
        (b'case,patient,image,liver,spleen\np1,"A,ct.nii.gz,,\n', "the file is not CSV"),
        (b"case,patient,image,liver,spleen\np1," + b"A" * 200_000 + b",ct.nii.gz,,\n", "the file is not CSV"),
    ],
)
def test_files_that_are_no_table_are_refused(folder: Path, content: bytes, text: str) -> None:
    (folder / "cases.csv").write_bytes(content)
    (fault,) = refused(folder)
    assert text in fault


@pytest.mark.parametrize("name", ["cohort.toml", "cases.csv"])
def test_a_missing_file_or_a_folder_in_its_place_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert refused(folder) == [f"{name}: not a cohort: the file does not exist"]
    (folder / name).mkdir()
    assert refused(folder)[0].startswith(f"{name}: the file")


EVIL = {
    "../../../evil": "../../../evil",
    "markup": "<script>alert(1)</script>",
    "right-to-left": "p\u202e001",
    "zero width": "p\u200b001",
    "hidden": ".p001",
    "option": "-rf",
    "slash": "a/b",
    "backslash": "a\\b",
    "long": "p" * 129,
    "newline": "p\n1",
    "digits of another script": "p٣",
}


@pytest.mark.parametrize("name", EVIL.values(), ids=EVIL)
def test_ids_that_could_be_a_path_or_markup_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(BadInput, match="not a usable case id"):
        Case(name, "A", "ct.nii.gz")
    write_ledger(folder, CSV.replace("p002", f'"{name}"'))
    (fault,) = refused(folder)
    assert fault.startswith("cases.csv, row 3, column case: not a usable case id")
    assert "letters, digits" in fault


def test_nul_is_refused_in_ids_and_files(folder: Path) -> None:
    with pytest.raises(BadInput, match="not a usable case id"):
        Case("p\x00", "A", "ct.nii.gz")
    write_ledger(folder, CSV.replace("p002", "p\x00002"))
    assert "NUL characters" in refused(folder)[0]


@pytest.mark.parametrize("patient", ["A\u202eB", "A\x1b[31mB", "A\x07"])
def test_patients_with_marks_nobody_sees_are_refused(folder: Path, patient: str) -> None:
    write_ledger(folder, CSV.replace("p002,B", f"p002,{patient}"))
    (fault,) = refused(folder)
    assert fault.startswith("cases.csv, row 3, column patient")
    assert fault.isprintable()


# --- cohort.toml


def test_all_faults_of_the_manifest_are_listed_at_once(folder: Path) -> None:
    (folder / "cohort.toml").write_text(
        'format = 2\nalpha = 0.7\n[[organ]]\nkey = "liver"\ncolor = "#ff0000"\n[[organ]]\ntitle = "no key"\n',
        encoding="utf-8",
    )
    found = refused(folder)
    assert any("unknown key; got 'alpha'; do: use format, name, organ, sealed" in fault for fault in found)
    assert any("only format = 1 is known; got 2" in fault for fault in found)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('key = "spleen"', 'key = "spleen"\ncolor = "#ff0000"', "organ 2: unknown key or not a text; got color"),
        ('key = "spleen"', 'key = "spleen"\ncolour = "red"', "organ spleen: not a colour; got 'red'"),
        ('key = "spleen"', 'key = "spleen"\ntitle = 3', "organ 2: unknown key or not a text; got title = 3"),
        ('key = "spleen"', 'key = "spleen"\noverlaps = "liver"', "overlaps is a list of organ keys"),
        ('key = "spleen"', 'key = "spleen"\npart_of = "heart"', "organ spleen: part_of and overlaps name other organs"),
        ('key = "spleen"', 'key = "liver"', "organ liver: the organ is declared twice"),
        ('key = "spleen"', 'key = "../evil"', "not a usable organ key; got '../evil'"),
        ('key = "spleen"', 'title = "x"', "organ 2: an organ is a table with a key"),
        ('name = "two organs"', "name = 2", "name is a text; got 2"),
        ('name = "two organs"', 'sealed = "yes"', "sealed is true or false; got 'yes'"),
        ('name = "two organs"', "sealed = 1", "sealed is true or false; got 1"),
        ("format = 1", "", "only format = 1 is known; got None"),
        ('name = "two organs"', "name = ", "not readable TOML"),
    ],
)
def test_faults_of_the_manifest_are_named(folder: Path, old: str, new: str, text: str) -> None:
    (folder / "cohort.toml").write_text(TOML.replace(old, new), encoding="utf-8")
    faults = refused(folder)
    assert any(text in fault for fault in faults), faults


@pytest.mark.parametrize("organ", ["organ = 5", 'organ = "liver"', "organ = []", 'organ = ["liver"]', "organ = {}"])
def test_organs_that_are_no_tables_are_refused(folder: Path, organ: str) -> None:
    (folder / "cohort.toml").write_text(f"format = 1\n{organ}\n", encoding="utf-8")
    assert refused(folder)


def test_deeply_nested_toml_is_refused(folder: Path) -> None:
    (folder / "cohort.toml").write_text("name = " + "[" * 20_000, encoding="utf-8")
    assert "not readable TOML" in refused(folder)[0]


# --- sealed truth


def test_a_sealed_cohort_opens_as_truth_only(folder: Path) -> None:
    replace(Cohort.open(folder), sealed=True).save()
    with pytest.raises(BadInput, match="sealed truth: only evaluation may read it"):
        Cohort.open(folder)
    assert Truth.open(folder).cohort.sealed
    assert len(Truth.open(folder).cohort) == 2


def test_an_open_cohort_is_truth_too(folder: Path) -> None:
    assert Truth.open(folder).cohort == Cohort.open(folder)


# --- what a cohort answers


def test_a_cohort_with_two_cases_of_one_name_or_foreign_organs_does_not_exist(folder: Path) -> None:
    cohort = Cohort.open(folder)
    twice = replace(cohort.cases[0], id="P002")
    foreign = Case("p003", "C", "ct.nii.gz", {"heart": Cell()})
    with pytest.raises(Faults) as caught:
        replace(cohort, cases=(*cohort.cases, twice, foreign))
    assert len(caught.value.faults) == 2


def test_the_missing_share_counts_cases_in_which_nobody_looked(folder: Path) -> None:
    cohort = Cohort.open(folder)
    assert [cohort.missing_share(key) for key in cohort.organs.keys] == [0.5, 0.5]
    assert replace(cohort, cases=()).missing_share("liver") == 0
    assert [case.id for case in cohort.only(["p002"])] == ["p002"]
    with pytest.raises(BadInput, match=r"cases\.csv: no such case; got 'p009'"):
        cohort.only(["p001", "p009"])


# --- fuzz


def spoil(whole: bytes, draw: random.Random) -> bytes:
    """A few bytes changed, dropped, doubled or put in."""
    changed = bytearray(whole)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(changed))
        changes: list[Callable[[], object]] = [
            lambda at=at: changed.__setitem__(at, draw.randrange(256)),  # type: ignore[misc]
            lambda at=at: changed.pop(at),  # type: ignore[misc]
            lambda at=at: changed.insert(at, draw.choice(b',;"\n\r@#+:\x00[]={}')),  # type: ignore[misc]
            lambda at=at: changed.extend(changed[at : at + 30]),  # type: ignore[misc]
        ]
        draw.choice(changes)()
    return bytes(changed)


@pytest.mark.parametrize("name", ["cases.csv", "cohort.toml"])
def test_spoilt_bytes_give_a_cohort_or_our_errors(folder: Path, name: str) -> None:
    whole, draw = (folder / name).read_bytes(), random.Random(16)
    opened = 0
    for _ in range(300):
        (folder / name).write_bytes(spoil(whole, draw))
        with suppress(SmilerError):
            opened += len(Cohort.open(folder)) > 0
    assert 0 < opened < 300


def test_a_word_that_was_meant_as_a_status_is_explained(tmp_path: Path) -> None:
    (tmp_path / "cohort.toml").write_text('format = 1\n[[organ]]\nkey = "liver"\n')
    (tmp_path / "i.nii.gz").write_bytes(b"")
    for word in ("Absent", "unannotated", "N/A"):
        (tmp_path / "cases.csv").write_text(f"case,patient,image,liver\np1,A,i.nii.gz,{word}\n")
        with pytest.raises(BadInput, match="write absent, in small letters, if an expert looked"):
            Cohort.open(tmp_path)
