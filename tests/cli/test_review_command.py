"""The command `review`: who may listen where, what is printed, and the checks that end with an exit code."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

Smiler = Callable[..., Any]


@pytest.fixture
def cohort(world: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world.phantom, tmp_path / "cohort"))


def refused(result: Any, *texts: str) -> None:
    assert result.code == 2
    assert "Traceback" not in result.err
    assert all(text in " ".join(result.err.split()) for text in texts)


def test_another_address_needs_permission_and_names(smiler: Smiler, cohort: Path, tmp_path: Path) -> None:
    refused(smiler("review", cohort, "--host", "0.0.0.0"), "can be reached from other machines", "--allow-remote")
    refused(smiler("review", cohort, "--host", "0.0.0.0", "--allow-remote"), "reviewers on other machines are named")
    for text in ("", "# nobody\n", "anna\nanna\n", "an\tna\n", "x" * 65):
        (tmp_path / "users").write_text(text)
        result = smiler("review", cohort, "--host", "0.0.0.0", "--allow-remote", "--users", tmp_path / "users")
        refused(result, "users")
    refused(smiler("review", cohort, "--users", tmp_path / "nowhere"), "the file can't be read")


def test_an_address_that_is_taken_or_not_ours(smiler: Smiler, cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("anna\nben\n")
    words = ["--host", "203.0.113.7", "--allow-remote", "--users", tmp_path / "users", "--no-browser"]
    refused(smiler("review", cohort, *words), "can't listen here", "203.0.113.7")


def test_what_is_no_cohort(smiler: Smiler, tmp_path: Path) -> None:
    refused(smiler("review", tmp_path, "--no-browser"), "not a cohort")
    refused(smiler("review", tmp_path, "--verify"), "nothing was reviewed here")
    assert not (tmp_path / "review").exists()


def test_verify_backup_and_history(smiler: Smiler, cohort: Path, tmp_path: Path) -> None:
    from smiler.review.desk import Remark, at_desk
    from smiler.review.errors import Pair
    from smiler.review.ledger import Asked
    from smiler.review.states import Decision

    with at_desk(cohort, print) as desk:
        pair = Pair(desk.cohort.cases[0].id, "liver")
        desk.decide(Asked("anna", "a-first-key", 1, "flag"), pair, Decision.FLAG, Remark("look"))
    result = smiler(
        "review", cohort, "--verify", "--backup", tmp_path / "copy", "--history", tmp_path / "h.csv", "--json"
    )
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert told["verify"]["faults"] == []
    assert told["history"]["revisions"] == told["verify"]["revisions"]
    assert (tmp_path / "copy/ledger.sqlite").exists()
    mask = next((cohort / "review/masks").glob("*.nii.gz"))
    mask.write_bytes(mask.read_bytes()[:-1])
    result = smiler("review", cohort, "--verify")
    assert result.code == 1
    assert "its stored mask was damaged and is in quarantine" in " ".join(result.err.split())
    assert "1 fault;" in result.out
    assert smiler("review", cohort, "--verify").code == 0


def test_a_smiler_without_its_page_says_how_to_get_it(cohort: Path, tmp_path: Path) -> None:
    words = ["review", str(cohort), "--no-browser", "--json", "--page", str(tmp_path / "no-page")]
    command = [sys.executable, "-m", "smiler", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout
        lines = [server.stdout.readline()]
        while not lines[-1].startswith("}"):
            lines.append(server.stdout.readline())
        (url,) = json.loads("".join(lines))["urls"].values()
        with pytest.raises(HTTPError) as answer:
            build_opener(HTTPCookieProcessor()).open(url)
        server.terminate()
        _, err = server.communicate()
    told = "This smiler has no review page. In a clone, with node and npm: make page"
    assert err.startswith(f"warning: {told}")
    assert answer.value.code == 503
    assert told in answer.value.read().decode()


def test_the_token_is_no_word_of_the_browsers_command(cohort: Path, tmp_path: Path) -> None:
    """Everybody on the machine can list commands; the file that leads the browser on is this user's alone, and goes."""
    told, script = tmp_path / "told", tmp_path / "browser"
    script.write_text(
        f"#!{sys.executable}\nimport json, os, pathlib, sys\nfrom urllib.parse import urlsplit\n"
        "path = pathlib.Path(urlsplit(sys.argv[1]).path)\n"
        "modes = [file.stat().st_mode & 0o777 for file in (path, path.parent)]\n"
        "row = [sys.argv, str(path), *modes, path.read_text()]\n"
        f"pathlib.Path({str(told)!r}).with_suffix('.new').write_text(json.dumps(row))\n"
        f"os.replace({str(told.with_suffix('.new'))!r}, {str(told)!r})\n"
    )
    script.chmod(0o755)
    environment = {**os.environ, "BROWSER": f"{script} %s", "PYTHONUNBUFFERED": "1"}
    words = [sys.executable, "-m", "smiler", "review", cohort, "--reviewer", "anna"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        address = process.stdout.readline().removeprefix("review page: ").strip()
        for _ in range(600):
            if told.exists():
                break
            time.sleep(0.1)
        command, path, mode, folder_mode, page = json.loads(told.read_text())
        token = address.split("token=")[1]
        assert token
        assert not any(token in word for word in command)
        assert (mode, folder_mode) == (0o600, 0o700)
        assert f'content="0;url={address}"' in page
        process.terminate()
    assert not Path(path).exists()
    assert not Path(path).parent.exists()
