"""Remembered hashes: never another than the file's, and no reading where nothing has changed."""

import json
import os
from pathlib import Path

import pytest

from smiler.domain.errors import BadInput
from smiler.formats.volumes import content
from smiler.store import hashes
from smiler.store.hashes import Hashes


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hashes:
    monkeypatch.setattr(hashes, "FRESH_NS", -1)  # files of a test are as fresh as can be
    return Hashes(tmp_path / "hashes")


def remembered(kept: Hashes) -> list[Path]:
    return sorted(kept.folder.glob("*.json"))


@pytest.fixture(params=["file", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """What is hashed, and a file of it."""
    if request.param == "file":
        file = tmp_path / "ct.nii.gz"
        file.write_bytes(b"first")
        return file, file
    (tmp_path / "series" / "deep").mkdir(parents=True)
    for name in ("1.dcm", "deep/2.dcm"):
        (tmp_path / "series" / name).write_bytes(b"first")
    return tmp_path / "series", tmp_path / "series" / "deep" / "2.dcm"


def test_what_is_remembered_is_not_read_again(kept: Hashes, place: tuple[Path, Path]) -> None:
    path, _ = place
    assert kept.of(path) == content(path)
    (about,) = remembered(kept)
    told = json.loads(about.read_text())
    about.write_text(json.dumps(told | {"content": "f" * 64}))  # so that it shows who answers
    assert kept.of(path) == "f" * 64


def test_a_change_is_noticed_even_of_the_same_size_and_time(kept: Hashes, place: tuple[Path, Path]) -> None:
    path, file = place
    before, times = kept.of(path), file.stat()
    tick(file.parent / "probe")
    file.write_bytes(b"other")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert kept.of(path) == content(path) != before


def tick(probe: Path) -> None:
    """Wait until the disk's clock has gone on."""
    probe.touch()
    first = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == first:
        probe.touch()
    probe.unlink()


def test_a_new_file_in_a_folder_is_noticed_also_behind_a_link(kept: Hashes, tmp_path: Path) -> None:
    folder, archive = tmp_path / "case", tmp_path / "archive"
    for made in (folder, archive):
        made.mkdir()
        (made / "1.dcm").write_bytes(b"first")
    (folder / "series").symlink_to(archive, target_is_directory=True)
    for changed in (folder / "2.dcm", archive / "2.dcm", archive / "1.dcm"):
        before = kept.of(folder)
        tick(tmp_path / "probe")
        changed.write_bytes(b"other")
        assert kept.of(folder) == content(folder) != before


def test_a_cache_that_can_only_be_read_is_used(kept: Hashes, tmp_path: Path) -> None:
    file = tmp_path / "ct.nii.gz"
    file.write_bytes(b"first")
    kept.folder.write_text("a file where the folder should be")  # also root can't write into it
    assert kept.of(file) == content(file)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state": 1, "content": 2}', "no json"])
def test_a_damaged_memory_is_no_memory(kept: Hashes, place: tuple[Path, Path], text: str) -> None:
    path, _ = place
    kept.of(path)
    (about,) = remembered(kept)
    about.write_text(text)
    assert kept.of(path) == content(path)


def test_what_has_just_changed_is_not_remembered(tmp_path: Path) -> None:
    file, kept = tmp_path / "ct.nii.gz", Hashes(tmp_path / "hashes")
    file.write_bytes(b"first")
    assert kept.of(file) == content(file)
    assert not remembered(kept)


def test_what_is_not_there_is_refused(kept: Hashes, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the file can't be read"):
        kept.of(tmp_path / "missing.nii.gz")
