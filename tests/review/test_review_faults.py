"""What may happen to a review: killed, a full disk, a flipped bit, an edited database; nothing acknowledged is lost."""

import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from killed import kill_a_writer
from reviewing import LIVER, SPLEEN, Reviewer, Served, box_mask, cells, serving, stored

from smiler.domain.errors import BadInput
from smiler.review.backup import back_up, write_history
from smiler.review.desk import at_desk
from smiler.review.errors import Pair
from smiler.review.verify import verify

KILLS = 3
ORGANS = ("liver", "spleen", "aorta")
DECISIONS = ("accept", "reject", "absent", "flag", "reopen")


@contextmanager
def process(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`smiler review` in a process of its own, and the address that it printed."""
    words = ["review", str(folder), "--no-browser", "--json", "--reviewer", "anna"]
    command = [sys.executable, "-c", "from smiler.cli import main; main()", *words]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        assert running.stdout
        text = ""
        while not text.endswith("\n}\n"):
            line = running.stdout.readline()
            assert line, "the server ended before it told its address"
            text += line
        yield running, json.loads(text)["urls"]["anna"]
    finally:
        running.kill()
        running.wait()
        assert running.stdout
        running.stdout.close()


def test_with_json_an_edit_is_told_as_it_comes(folder: Path) -> None:
    before = (folder / "cases.csv").read_text()
    with process(folder) as (running, url), closing(Reviewer(url)) as anna:
        assert anna.decide("b", "liver", "accept").status_code == 200
        (folder / "cases.csv").write_text(before)
        assert anna.head("b", "liver")["state"] == "accepted"  # the file is read when the queue is asked for
        (edit,) = anna.http.get("/api/progress").json()["edits"]
        assert running.stdout
        told = json.loads(running.stdout.readline())
        assert "edit of cases.csv, 1 cell of 1 case (1 accepted -> proposed)" in told["note"]
        assert told["edits"] == [edit]


@dataclass(frozen=True)
class Request:
    """A decision, or a mask's box, on the revision that was the newest; under a key of its own."""

    case: str
    organ: str
    base: int
    key: str
    decision: str | tuple[int, ...]

    def send(self, reviewer: Reviewer) -> httpx.Response:
        if isinstance(self.decision, str):
            return reviewer.decide(self.case, self.organ, self.decision, self.base, key=self.key)
        return reviewer.put(self.case, self.organ, box_mask(*self.decision), self.base, key=self.key)


Answered = list[tuple[Request, dict[str, Any]]]


class Load:
    """Four reviewers who decide as fast as they can; what was acknowledged, and what was asked and never answered."""

    def __init__(self, url: str, seed: int) -> None:
        self.acknowledged: Answered = []
        self.flying: list[Request] = []
        self._threads = [threading.Thread(target=self._work, args=(url, seed * 10 + n)) for n in range(4)]
        for thread in self._threads:
            thread.start()

    def _work(self, url: str, seed: int) -> None:
        choose = random.Random(seed)
        try:
            with closing(Reviewer(url)) as reviewer:
                while True:
                    self._decide(reviewer, choose)
        except httpx.HTTPError:
            return

    def _decide(self, reviewer: Reviewer, choose: random.Random) -> None:
        case, organ = choose.choice("bcd"), choose.choice(ORGANS)
        start = ORGANS.index(organ) * 4
        drawn = (start, choose.randrange(5), choose.randrange(3), start + 3, 8, 6)
        said = choose.choice([*DECISIONS, *[drawn] * len(DECISIONS)])
        asked = Request(case, organ, reviewer.head(case, organ)["revision"], f"key-{choose.getrandbits(60)}", said)
        self.flying.append(asked)
        answer = asked.send(reviewer)
        self.flying.remove(asked)
        assert answer.status_code in (200, 409, 412), answer.text
        if answer.status_code == 200:
            self.acknowledged.append((asked, answer.json()))

    def join(self) -> None:
        """Wait until all of them noticed that the server is gone."""
        for thread in self._threads:
            thread.join(timeout=60)


def asked_again(url: str, said: Answered, flying: list[Request]) -> Answered:
    """The answers to what got none, asked twice under its key; what was acknowledged gets its first answer again."""
    acknowledged: Answered = []
    with closing(Reviewer(url)) as reviewer:
        for request, answer in said:
            assert request.send(reviewer).json() == answer
        for request in flying:
            first, second = request.send(reviewer), request.send(reviewer)
            assert first.status_code in (200, 409, 412)
            assert (first.status_code, first.json()) == (second.status_code, second.json())
            if first.status_code == 200:
                acknowledged.append((request, first.json()))
    return acknowledged


def test_killed_at_random_moments_it_loses_nothing_that_was_acknowledged(folder: Path) -> None:
    said: Answered = []
    flying: list[Request] = []
    for seed in range(KILLS):
        with process(folder) as (running, url):
            said += asked_again(url, said, flying)
            load = Load(url, seed)
            deadline = time.monotonic() + 60
            while len(load.acknowledged) < 10 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(random.Random(seed).random() / 5)
            running.send_signal(signal.SIGKILL)
            load.join()
            said, flying = said + load.acknowledged, load.flying
    assert len(said) >= 10 * KILLS
    found = verify(folder)
    assert found.faults == []
    with serving(folder) as running:
        anna = running.reviewer("anna")
        histories = {(c, o): {row["revision"]: row for row in anna.history(c, o)} for c in "bcd" for o in ORGANS}
        heads = running.desk.ledger.heads()
    for request, told in said:
        assert histories[request.case, request.organ][told["revision"]] == told
    assert len({(request.case, request.organ, told["revision"]) for request, told in said}) == len(said)
    for pair, head in heads.items():
        assert cells(folder)[pair.case][pair.organ] == head.cell


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may become longer than `size` bytes: writes beyond it fail as they do on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 64, 4096, 20000])
def test_a_full_disk_is_told_and_what_was_there_stays(anna: Reviewer, folder: Path, size: int) -> None:
    assert anna.decide("b", "liver", "accept").status_code == 200
    before = cells(folder)
    answers = []
    with room_for(size):
        for key in range(4):
            answers.append(anna.put("c", "liver", box_mask(1, 1, 1, 5, 5, 2 + key), 1, key=f"on-a-full-disk-{key}"))
    told = [answer for answer in answers if answer.status_code == 507]
    assert told
    assert all(answer.json()["error"]["what"] == "cannot write the file" for answer in told)
    assert all(str(folder) not in answer.text for answer in told)
    if size == 0:
        assert cells(folder) == before
    assert anna.put("c", "liver", LIVER, key="and-then-there-is-room").status_code == 200  # room again
    assert np.array_equal(stored(folder, "c", "liver"), LIVER)
    assert not list((folder / "review").rglob(".*.tmp*"))


@pytest.mark.parametrize("size", [0, 4096, 20000, 70000])
def test_a_first_review_on_a_full_disk_says_so(folder: Path, size: int) -> None:
    with (
        room_for(size),
        pytest.raises(BadInput, match=r"ledger\.sqlite: cannot write the file.*check space") as refused,
    ):
        serving(folder).__enter__()
    assert "backup" not in str(refused.value)
    with at_desk(folder, print) as desk:  # room again
        assert desk.ledger.head(Pair("b", "liver")) is not None
    assert verify(folder).faults == []


def test_what_a_killed_server_left_half_written_goes_at_the_next_start(folder: Path) -> None:
    inside = [folder / "review" / name for name in ("masks/a.nii.gz", "drafts/b.draft", "ledger.sqlite")]
    outside = [folder / "fixed/c.nii.gz", folder / "cases.csv"]
    assert len(kill_a_writer(*inside, *outside)) == 5
    with serving(folder) as running:
        assert not list((folder / "review").rglob(".*.tmp*"))
        assert running.reviewer().decide("b", "liver", "accept").status_code == 200
        assert not list(folder.rglob(".*.tmp*"))


def flip(path: Path) -> None:
    """One bit of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def test_a_flipped_bit_is_found_quarantined_and_the_organ_flagged(folder: Path) -> None:
    with serving(folder) as running:
        anna = running.reviewer()
        anna.decide("b", "liver", "accept")
        anna.put("b", "spleen", SPLEEN)
    blob = folder / cells(folder)["b"]["liver"]
    flip(blob)
    with serving(folder) as running:
        anna = running.reviewer()
        answer = anna.http.get(f"/api/cases/{anna.ids.get('b')}/masks/liver")
        assert (answer.status_code, answer.json()["error"]["what"]) == (410, "a stored mask is damaged")
        copied = folder.parent / "copy"
        with pytest.raises(Exception, match="1 masks are damaged and not in the copy"):
            back_up(folder, copied)
    found = verify(folder)
    assert [fault.split(";")[0] for fault in found.faults] == [
        "case b, organ liver: its stored mask was damaged and is in quarantine"
    ]
    assert not blob.exists()
    assert (folder / "review/quarantine" / blob.name).exists()
    assert cells(folder)["b"]["liver"] == "auto:completed/b_liver.nii.gz"
    assert np.array_equal(stored(folder, "b", "spleen"), SPLEEN)
    assert verify(folder).ok
    with serving(folder) as running:
        anna = running.reviewer()
        assert anna.head("b", "liver")["state"] == "flagged"
        assert anna.decide("b", "liver", "reopen").json()["state"] == "proposed"
        assert np.array_equal(anna.mask("b", "liver"), LIVER)  # the cohort's own file still has it
        assert anna.decide("b", "liver", "accept").status_code == 200
    assert np.array_equal(stored(folder, "b", "liver"), LIVER)
    assert verify(folder).ok


def test_a_mask_that_is_written_again_mends_a_damaged_one(anna: Reviewer, folder: Path) -> None:
    anna.put("b", "liver", LIVER)
    flip(folder / cells(folder)["b"]["liver"])
    anna.put("c", "liver", LIVER)  # the same voxels on another grid: another file
    assert anna.put("b", "liver", LIVER).status_code == 200
    assert np.array_equal(stored(folder, "b", "liver"), LIVER)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "UPDATE event SET body = replace(body, 'anna', 'eve') WHERE kind = 'revision' AND body LIKE '%anna%'",
            "it was changed after it was written",
        ),
        ("DELETE FROM event WHERE number = 5", "an event before it is missing or was changed"),
        ("UPDATE revision SET reviewer = 'eve' WHERE number = 2", "not what its event says"),
        ("DELETE FROM revision WHERE number = 2", "gone from the ledger"),
        ("UPDATE head SET number = 1", "the head is not its newest revision"),
        ("UPDATE stored SET mask = replace(mask, 'a', 'b')", "its stored mask is not what its event says"),
    ],
)
def test_an_edited_database_is_found(folder: Path, change: str, told: str) -> None:
    with serving(folder) as running:
        running.reviewer().decide("b", "liver", "accept")
    with sqlite3.connect(folder / "review/ledger.sqlite") as database:
        for name in ("revision_stays", "revision_kept", "event_stays", "event_kept"):
            database.execute(f"DROP TRIGGER {name}")
        database.execute(change)
    database.close()
    assert any(told in fault for fault in verify(folder).faults)


def test_the_database_itself_refuses_to_forget(folder: Path) -> None:
    with at_desk(folder, print) as desk:
        for statement in ("DELETE FROM event", "UPDATE revision SET note = 'x'", "DELETE FROM revision"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                desk.ledger.database.run(statement)


def test_a_backup_made_while_reviewers_work_is_a_review(served: Served, folder: Path, tmp_path: Path) -> None:
    anna = served.reviewer()
    anna.decide("b", "liver", "accept")
    anna.put("c", "liver", box_mask(1, 1, 1, 3, 3, 3), note="=1+1")
    assert back_up(folder, tmp_path / "copy") == 3
    anna.decide("b", "spleen", "accept")
    assert back_up(folder, tmp_path / "copy") == 4  # only what is new is copied
    assert write_history(folder, tmp_path / "history.csv") == 13
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert len(rows) == 14
    assert "'=1+1" in rows[-2]

    restored = tmp_path / "restored"
    shutil.copytree(folder, restored, ignore=shutil.ignore_patterns("review"))
    shutil.copytree(tmp_path / "copy", restored / "review")
    assert verify(restored).ok


def test_a_backup_is_written_over_no_other_review(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    for place in (folder, other):
        with serving(place) as running:
            running.reviewer().decide("b", "liver", "accept" if place == folder else "absent")
    before = (other / "review/ledger.sqlite").read_bytes()
    with pytest.raises(BadInput, match=r"another review lies there|a review was opened there"):
        back_up(folder, other / "review")
    with pytest.raises(BadInput, match="a copy is another folder"):
        back_up(folder, folder / "review")
    with serving(other), pytest.raises(BadInput, match="another process is writing here"):
        back_up(folder, other / "review")
    assert verify(other).ok
    assert len(before) <= (other / "review/ledger.sqlite").stat().st_size


def test_a_history_is_written_over_no_other_file(folder: Path, tmp_path: Path) -> None:
    with serving(folder) as running:
        running.reviewer().decide("b", "liver", "accept")
    ledger = (folder / "cases.csv").read_bytes()
    with pytest.raises(BadInput, match=r"cases\.csv: another file lies there; do: choose another name"):
        write_history(folder, folder / "cases.csv")
    assert (folder / "cases.csv").read_bytes() == ledger
    assert write_history(folder, tmp_path / "h.csv") == write_history(folder, tmp_path / "h.csv")


def test_nothing_to_verify(folder: Path) -> None:
    with pytest.raises(BadInput, match="nothing was reviewed here"):
        verify(folder)
    assert not (folder / "review/ledger.sqlite").exists()


def test_a_mask_of_the_review_that_is_gone_is_told_with_the_cell_to_write(folder: Path) -> None:
    with serving(folder) as running:
        running.reviewer().decide("b", "liver", "accept")
    blob = folder / cells(folder)["b"]["liver"]
    blob.unlink()
    found = "\n".join(verify(folder).faults)
    assert "the file is gone" in found
    assert "case b, organ liver: the cell should be 'auto:completed/b_liver.nii.gz'" in found
    text = (folder / "cases.csv").read_text()
    (folder / "cases.csv").write_text(text.replace(f"review/masks/{blob.name}", "auto:completed/b_liver.nii.gz"))
    assert verify(folder).ok
