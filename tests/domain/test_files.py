"""Atomic files: whatever goes wrong, a name holds the old content or the new, and no rubbish stays beside it."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from killed import kill_a_writer

from smiler.domain.errors import BadInput
from smiler.domain.files import hash_json, read_json, replacing, sha256, write_json, write_text
from smiler.domain.locks import writing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def half_a_write(path: Path, error: BaseException) -> None:
    with replacing(path, ".nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("half of the n")
        raise error


def test_new_content_replaces_old_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.txt"
    for text in ("old", "new\r\nü"):
        write_text(path, text)
        assert path.read_bytes() == text.encode()
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_old_content_stays_when_the_block_raises(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)):
        half_a_write(path, error)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_is_read_in_any_encoding_of_unicode(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.json").write_bytes('{"Ü": [1, {"b": null}]}'.encode(encoding))
    assert read_json(tmp_path / "a.json") == {"Ü": [1, {"b": None}]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"a": 1, "b": {"c": 1, "c": 1}}', "a key stands twice in a table; got 'c'; do: keep the right one"),
        (b'{"a": 1, "\\u0061": 2}', "a key stands twice in a table; got 'a'"),
        (b"\xff\xfe", "the file is not readable JSON"),
        (b"[" * 100_000, "the file is not readable JSON"),
        (b"9" * 5000, "the file is not readable JSON"),
        (b'{"a": "\xed\xa0\x80"}', "the file is not readable JSON"),
    ],
    ids=range(6),
)
def test_json_that_says_two_things_or_nothing_is_refused_by_name(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(BadInput) as caught:
        read_json(tmp_path / "a.json")
    assert f"a.json: {words}" in str(caught.value)


def test_nothing_appears_when_the_first_write_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        half_a_write(tmp_path / "a.txt", ValueError())
    assert names(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_full_disk_is_one_error_and_the_old_content_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    text, full = r"a\.txt: cannot write the file.*No space left.*check space", Path("/dev/full")
    with pytest.raises(BadInput, match=text), replacing(path), full.open("wb", buffering=0) as stream:
        stream.write(b"new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_temporary_file_that_vanished_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(BadInput, match="cannot write the file"), replacing(path) as temporary:
        temporary.unlink()
    assert path.read_text() == "old"


def test_a_folder_in_the_files_place_is_one_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "a.txt" / "inside").mkdir(parents=True)
    with pytest.raises(BadInput, match="cannot write the file"):
        write_text(tmp_path / "a.txt", "new")
    assert names(tmp_path) == ["a.txt"]
    assert names(tmp_path / "a.txt") == ["inside"]


def test_a_file_in_the_folders_place_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(BadInput, match="cannot write the file"):
        write_text(tmp_path / "a" / "b.txt", "new")
    with pytest.raises(BadInput, match="cannot write the file"), writing(tmp_path / "a"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(BadInput, match=f"cannot write the file.*{os.strerror(errno.EACCES)}"):
            write_text(path, "new")
        assert names(tmp_path) == ["a.txt"]
    finally:
        tmp_path.chmod(0o700)
    assert path.read_text() == "old"


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_text(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_threads_that_write_at_once_leave_permissions_alone(tmp_path: Path) -> None:
    old, interval = os.umask(0o027), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: write_text(tmp_path / str(n), "x"), range(1000)))
    finally:
        sys.setswitchinterval(interval)
        left = os.umask(old)
    assert left == 0o027
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}


WRITER = """
import sys
from pathlib import Path
from smiler.domain.files import write_text
path, count = Path(sys.argv[1]), 0
while True:
    count += 1
    write_text(path, f"{count}\\n" * 20000 + "end")
    if count == 3:
        print("begun", flush=True)
"""


def test_a_killed_writer_leaves_the_old_or_the_new_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for attempt in range(6):
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            time.sleep(0.004 * attempt)
            process.send_signal(signal.SIGKILL)
        lines = path.read_text().split("\n")
        assert lines[-1] == "end"
        assert len(lines) == 20001
        assert len(set(lines[:-1])) == 1


def test_json_comes_back_and_damage_is_named(tmp_path: Path) -> None:
    path, value = tmp_path / "a.json", {"ä": [1, 2.5, None], "b": {"c": "x"}}
    write_json(path, value)
    assert read_json(path) == value
    assert list(json.loads(path.read_text(encoding="utf-8"))) == ["ä", "b"]
    whole = path.read_bytes()
    for content in (whole[:-4], b"", b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=r"a\.json: the file is not readable JSON"):
            read_json(path)
    path.unlink()
    with pytest.raises(BadInput, match="does not exist"):
        read_json(path)


def test_hashes_know_content_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_json({"a": 1, "b": [2]}) == hash_json({"b": [2], "a": 1})
    assert hash_json({"a": 1}) != hash_json({"a": "1"})


HOLDER = """
import sys
from pathlib import Path
from smiler.domain.locks import writing
with writing(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_refused_until_the_first_is_gone_even_if_it_was_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        text = r"run: another process is writing here.*choose another folder"
        with pytest.raises(BadInput, match=text), writing(tmp_path / "run"):
            pass
        assert first.poll() is None
        first.kill()
    with writing(tmp_path / "run"):
        pass


@pytest.mark.parametrize("there", ["nothing", "folder", "file", "lock"])
def test_who_is_refused_leaves_neither_a_lock_nor_an_empty_folder(tmp_path: Path, there: str) -> None:
    folder = tmp_path / "a" / "b"
    if there != "nothing":
        folder.mkdir(parents=True)
    if there in ("file", "lock"):
        (folder / {"file": "mine.txt", "lock": ".lock"}[there]).write_text("")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInput, match="no such organ"), writing(folder):
        raise BadInput("no such organ", where="organs")
    assert sorted(tmp_path.rglob("*")) == before


def test_what_was_written_before_a_fault_stays_and_the_folder_is_free(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with suppress(BadInput), writing(folder):
        write_text(folder / "recipe.toml", "begun")
        raise BadInput("no space", where="disk")
    assert (folder / "recipe.toml").read_text() == "begun"
    with writing(folder):
        pass


def test_a_lock_that_another_process_removed_while_we_waited_is_not_held_twice(tmp_path: Path) -> None:
    def refused() -> None:
        with suppress(BadInput), writing(tmp_path / "run"):
            raise BadInput("no such organ", where="organs")

    def count() -> None:
        nonlocal inside, most
        with suppress(BadInput), writing(tmp_path / "run", 0.05):
            inside += 1
            most = max(most, inside)
            time.sleep(0.0005)
            inside -= 1

    inside = most = 0
    with ThreadPoolExecutor(6) as pool:
        for _ in range(60):
            pool.submit(refused)
            pool.submit(count)
    assert most == 1


def test_the_only_writer_removes_what_killed_ones_left_in_its_folder_and_below(tmp_path: Path) -> None:
    run, theirs = tmp_path / "run", tmp_path / "run/review"
    left = kill_a_writer(run / "a.nii.gz", run / "deep/down" / f"{'b' * 200}.nii.gz")
    (other,) = kill_a_writer(theirs / "c.nii.gz")
    (theirs / ".lock").touch()
    for name in (".hidden.tmp", "a.12345678.tmp", ".a.12345678.tmp.nii.gz.bak~", ".a.tmp.nii.gz"):
        (run / name).touch()
    with writing(run, tidy=False):
        assert all(path.exists() for path in left)
    with writing(run):
        assert not any(path.exists() for path in left)
        assert other.exists()  # its folder has a writer of its own
    assert names(run) == [
        ".a.12345678.tmp.nii.gz.bak~", ".a.tmp.nii.gz", ".hidden.tmp", ".lock", "a.12345678.tmp", "deep", "review"
    ]  # fmt: skip
    with writing(theirs):
        assert not other.exists()


def test_where_several_write_what_was_left_alone_for_long_goes(tmp_path: Path) -> None:
    old, new = kill_a_writer(tmp_path / "old.nii.gz", tmp_path / "new.nii.gz")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    write_text(tmp_path / "a.txt", "new")
    assert (old.exists(), new.exists()) == (False, True)
