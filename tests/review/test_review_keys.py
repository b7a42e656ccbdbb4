"""The key that signs sign-ins: never in the cohort nor a backup, nobody else's to read, renewed on request."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from reviewing import Served, serving

from smiler.review.backup import back_up, write_history
from smiler.review.desk import at_desk
from smiler.review.keys import Keys
from smiler.review.server.guard import Access
from smiler.review.verify import verify

OLD = "5ec2e7" * 10 + "abcd"


def holding(folder: Path, *needles: bytes) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if any(needle in path.read_bytes() for needle in needles)]


def cookies(served: Served, reviewer: str = "anna") -> dict[str, str]:
    return dict(served.reviewer(reviewer).http.cookies)


def status(served: Served, cookie: dict[str, str]) -> int:
    header = "; ".join(f"{name}={value}" for name, value in cookie.items())
    return httpx.get(f"http://127.0.0.1:{served.port}/api/session", headers={"cookie": header}).status_code


def with_old_key(folder: Path) -> None:
    """The review as the first versions left it: the key in the database, and no other."""
    with at_desk(folder, lambda text: None):
        pass
    connection = sqlite3.connect(folder / "review/ledger.sqlite")
    connection.execute("INSERT INTO setting VALUES ('secret', ?)", (OLD,))
    connection.commit()
    connection.close()


def test_the_key_lies_outside_and_is_this_users_alone(folder: Path, tmp_path: Path, own_state: Path) -> None:
    with serving(folder) as served:
        signed_in = cookies(served)
        assert status(served, signed_in) == 200
        path = Keys(folder).path
        assert path is not None
        assert path.is_relative_to(own_state)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        key = path.read_bytes()
        assert len(key) == 32
        back_up(folder, tmp_path / "copy")
        write_history(folder, tmp_path / "history.csv")
    assert holding(folder, key, key.hex().encode()) == []
    assert holding(tmp_path / "copy", key, key.hex().encode()) == []
    assert key.hex() not in (tmp_path / "history.csv").read_text()
    rows = sqlite3.connect(folder / "review/ledger.sqlite").execute("SELECT key FROM setting").fetchall()
    assert rows == [("format",)]


def test_whoever_has_a_copy_of_the_cohort_signs_nobody_in(folder: Path, tmp_path: Path) -> None:
    with serving(folder) as served:
        signed_in = cookies(served)
    other = Path(shutil.copytree(folder, tmp_path / "copy of it"))
    assert Keys(other).secret() != Keys(folder).secret()
    with serving(folder) as served:
        assert status(served, signed_in) == 200


def test_the_key_of_an_old_review_is_gone_for_good_and_not_honoured(folder: Path, tmp_path: Path) -> None:
    with_old_key(folder)
    assert holding(folder, OLD.encode()) == [folder / "review/ledger.sqlite"]
    before = verify(folder)
    assert before.ok, before.faults
    with_old_key(folder)
    with serving(folder) as served:
        assert holding(folder, OLD.encode()) == []
        forged = Access.fresh(["anna"], [], OLD.encode(), served.port)
        value = forged.sign_in(forged.tokens["anna"]) or ""
        assert status(served, {forged.cookie: value}) == 401
    assert holding(folder, OLD.encode()) == []
    with_old_key(folder)
    back_up(folder, tmp_path / "copy")
    assert holding(tmp_path, OLD.encode()) == []
    after = verify(folder)
    assert (after.ok, after.last, after.events) == (True, before.last, before.events)


def test_signing_out_all_reaches_a_server_that_runs(folder: Path) -> None:
    with serving(folder) as served:
        signed_in = cookies(served)
        words = [sys.executable, "-m", "smiler", "review", str(folder), "--sign-out-all", "--json"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, json.loads(done.stdout)) == (0, {"signed_out": True}), done.stderr
        assert status(served, signed_in) == 401
        assert status(served, cookies(served)) == 200  # by the address, once more
    with serving(folder) as served:
        assert status(served, signed_in) == 401


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_a_key_that_others_could_read_is_renewed(folder: Path) -> None:
    keys = Keys(folder)
    key, path = keys.secret(), keys.path
    assert path is not None
    assert Keys(folder).secret() == key
    path.chmod(0o640)
    assert Keys(folder).secret() != key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"short")
    assert len(Keys(folder).secret()) == 32
    path.unlink()
    assert keys.secret() != key


def test_without_a_place_for_it_the_key_is_kept_in_memory_and_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with serving(folder) as served:
        assert status(served, cookies(served)) == 200
        assert any("must sign in again after a restart" in text for text in served.told)
    words = [sys.executable, "-m", "smiler", "review", str(folder), "--sign-out-all"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "cannot write the file" in done.stderr
    assert "Traceback" not in done.stderr
