"""Atomic files: whatever goes wrong, a name holds the old content or the new, and no rubbish stays beside it."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

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
