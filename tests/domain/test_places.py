"""A path of the ledger leads to a file, a folder, into a zip, into a zip in a zip, or to several by a pattern."""

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smiler.domain import places
from smiler.domain.errors import BadInput
from smiler.domain.places import content, exists, natural, split_series, walk
from smiler.store.hashes import Hashes


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder and a zip file with the same things in them; the zip has another in it."""
    inner = zipped({"masks/tumor1/a": b"1", "masks/tumor2/a": b"2", "masks/liver/a": b"3"})
    files = {"p1/image_10": b"x", "p1/image_2": b"y", "p1/masks.zip": inner, "__MACOSX/._p1": b"", "p1/.DS_Store": b""}
    for name, data in files.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "all.zip").write_bytes(zipped(files))
    return tmp_path


@pytest.mark.parametrize("base", ["folder", "all.zip"])
def test_everything_below_is_found_in_natural_order_without_hidden_files(tree: Path, base: str) -> None:
    found = [(entry.path.relative_to(tree / base).as_posix(), entry.read()) for entry in walk(tree / base)]
    masks = [("masks/liver/a", b"3"), ("masks/tumor1/a", b"1"), ("masks/tumor2/a", b"2")]
    expected = [("p1/image_2", b"y"), ("p1/image_10", b"x"), *((f"p1/masks.zip/{name}", data) for name, data in masks)]
    assert found == expected


@pytest.mark.parametrize("base", ["folder", "all.zip"])
@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("p1/image_2", ["image_2"]),
        ("p1/masks.zip", ["a", "a", "a"]),
        ("p1/masks.zip/masks/tumor1", ["a"]),
        ("p1/masks.zip/masks/tumor*", ["a", "a"]),
        ("p1/SeriesInstanceUID=1.2.3", ["image_2", "image_10", "a", "a", "a"]),
        ("p2", []),
        ("p1/masks.zip/masks/kidney*", []),
        ("p1/image_2/deeper", []),
    ],
)
def test_a_path_leads_where_it_says(tree: Path, base: str, path: str, names: list[str]) -> None:
    assert [entry.path.name for entry in walk(tree / base / path)] == names
    assert exists(tree / base / path) == bool(names)


def test_content_knows_what_lies_there_and_nothing_else(tree: Path) -> None:
    one = content(tree / "all.zip" / "p1" / "masks.zip" / "masks" / "tumor1")
    assert one == content(tree / "folder" / "p1" / "masks.zip" / "masks" / "tumor1")
    assert one != content(tree / "folder" / "p1" / "masks.zip" / "masks" / "tumor2")
    with pytest.raises(FileNotFoundError):
        content(tree / "nothing")


def test_two_series_of_one_folder_have_different_contents(tree: Path) -> None:
    assert split_series(Path("a/SeriesInstanceUID=1.2")) == (Path("a"), "1.2")
    one, other = (content(tree / "folder" / f"SeriesInstanceUID=1.{n}") for n in (2, 3))
    assert one != other


def test_names_with_a_dot_and_zips_in_zips_in_zips(tmp_path: Path) -> None:
    data = zipped({"./p/x": b"x"})
    (tmp_path / "z.zip").write_bytes(data)
    assert [entry.read() for entry in walk(tmp_path / "z.zip" / "p")] == [b"x"]
    for _ in range(3):
        data = zipped({"n.zip": data})
    (tmp_path / "deep.zip").write_bytes(data)
    with pytest.raises(BadInput, match="nested more than 3 deep"):
        list(walk(tmp_path / "deep.zip"))


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "a\\..\\b"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "z.zip").write_bytes(zipped({name: b""}))
    with pytest.raises(BadInput, match="leads out of it"):
        list(walk(tmp_path / "z.zip"))


def test_a_zip_bomb_is_refused_from_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 10_000_000)
    monkeypatch.setattr(places, "MOST_BYTES", 9_999_999)
    with pytest.raises(BadInput, match="too large to be read in place; got 1 entries, 10000000 bytes"):
        list(walk(tmp_path / "z.zip"))


def test_links_that_lead_back_are_walked_once(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "slice").write_bytes(b"x")
    for name in ("one", "two"):
        (folder / name).symlink_to(folder, target_is_directory=True)
        (folder / "b" / name).symlink_to(tmp_path, target_is_directory=True)
    assert [entry.path for entry in walk(folder)] == [folder / "b" / "slice"]
    assert len(content(folder)) == 64
    hashes = Hashes(tmp_path / "hashes")
    assert hashes.of(folder) == content(folder)


def test_folders_that_link_to_each_other_are_walked_once(tmp_path: Path) -> None:
    names = [f"d{n}" for n in range(9)]  # 9! ways through them
    for name in names:
        (tmp_path / "s" / name).mkdir(parents=True)
        (tmp_path / "s" / name / "file").write_bytes(name.encode())
    for name in names:
        for other in names:
            (tmp_path / "s" / name / f"to_{other}").symlink_to(tmp_path / "s" / other, target_is_directory=True)
    assert [entry.read().decode() for entry in walk(tmp_path / "s")] == names


def test_a_linked_folder_is_read_under_the_links_name(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_bytes(b"x")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "case").symlink_to(tmp_path / "data", target_is_directory=True)
    assert [entry.path for entry in walk(tmp_path / "s")] == [tmp_path / "s" / "case" / "file"]


def test_zip_files_in_a_zip_file_have_one_limit_over_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = zipped({f"{n}": b"x" * 1000 for n in range(10)})
    (tmp_path / "z.zip").write_bytes(zipped({f"{n}.zip": inner for n in range(10)}))
    assert len(list(walk(tmp_path / "z.zip"))) == 100
    monkeypatch.setattr(places, "MOST_ENTRIES", 50)
    with pytest.raises(BadInput, match=r"z.zip: the zip file is too large to be read in place; got 60 entries"):
        list(walk(tmp_path / "z.zip"))
    monkeypatch.setattr(places, "MOST_ENTRIES", 500)
    monkeypatch.setattr(places, "MOST_BYTES", 50_000)
    with pytest.raises(BadInput, match="too large to be read in place"):
        list(walk(tmp_path / "z.zip"))


def test_zip_files_beside_each_other_have_a_limit_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(4):
        (tmp_path / f"{n}.zip").write_bytes(zipped({"a": b"x", "b": b"y"}))
    monkeypatch.setattr(places, "MOST_ENTRIES", 3)
    assert len(list(walk(tmp_path))) == 8


def test_one_large_entry_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "z.zip").write_bytes(zipped({"a": b"x" * 1001}))
    monkeypatch.setattr(places, "MOST_NESTED_BYTES", 1000)
    (entry,) = walk(tmp_path / "z.zip")
    assert entry.head(3) == b"xxx"
    with pytest.raises(BadInput, match="an entry is too large to be read in place; got 1001 bytes"):
        entry.read()


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.data())
def test_a_damaged_zip_file_is_read_or_refused(data: st.DataObject) -> None:
    import tempfile

    whole = bytearray(zipped({"a/b": b"hello" * 40, "c.zip": zipped({"d": b"e"})}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "z.zip"
        path.write_bytes(whole[: data.draw(st.integers(10, len(whole)))])
        told = str(path)
        try:
            for entry in walk(path):
                entry.read()
        except BadInput as error:
            told = str(error)
        assert str(path) in told


def test_numbers_in_names_count_as_numbers() -> None:
    names = ["b", "image_10", "image_9", "image_09", "a" + "9" * 40, "a2"]
    assert sorted(map(Path, names), key=natural)[:2] == [Path("a2"), Path("a" + "9" * 40)]
    assert sorted(map(Path, ["image_10", "image_9"]), key=natural) == [Path("image_9"), Path("image_10")]
