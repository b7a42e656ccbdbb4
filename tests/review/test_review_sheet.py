"""cases.csv and the review: decisions go in, a person's edits come in, and neither overwrites the other unseen."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from reviewing import LIVER, MASKS, Reviewer, Served, box_mask, cells, serving, write

from smiler.domain.cohort import Cohort
from smiler.domain.locks import writing
from smiler.review import sheet
from smiler.review.desk import at_desk
from smiler.review.errors import Pair
from smiler.review.verify import verify


def edit(folder: Path, case: str, organ: str, text: str) -> None:
    """What a person does in a spreadsheet."""
    with (folder / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        if row["case"] == case:
            row[organ] = text
    with (folder / "cases.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_persons_edit_comes_in_as_a_revision(anna: Reviewer, served: Served, folder: Path) -> None:
    edit(folder, "b", "liver", "absent")
    edit(folder, "d", "spleen", "labels/a_spleen.nii.gz")
    stale = anna.decide("b", "liver", "accept", 1)
    assert (stale.status_code, stale.json()["head"]) == (412, 2)
    assert anna.head("b", "liver")["state"] == "absent"
    assert anna.head("d", "spleen") | {"draft": False} == {
        "key": "spleen", "state": "expert", "revision": 1, "voxels": None, "has_uncertainty": False, "draft": False,
        "leased_by": None,
    }  # fmt: skip
    assert anna.decide("c", "liver", "accept").status_code == 200
    found = cells(folder)
    assert (found["b"]["liver"], found["d"]["spleen"]) == ("absent", "labels/a_spleen.nii.gz")
    assert found["c"]["liver"].startswith("review/masks/")


def test_a_cell_that_changed_under_a_decision_is_not_overwritten_but_told(
    served: Served, anna: Reviewer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, "PATIENCE_SECONDS", 0.2)
    with writing(folder):  # another smiler works on the cohort: the file can't follow now
        assert anna.decide("b", "liver", "accept").status_code == 200
        assert "another process is writing here" in anna.http.get("/api/progress").json()["trouble"]
        edit(folder, "b", "liver", "labels/a_liver.nii.gz")
    assert anna.http.get("/api/progress").json()["trouble"] is None
    assert cells(folder)["b"]["liver"] == "labels/a_liver.nii.gz"
    assert [(row["state"], row["source"]) for row in anna.history("b", "liver")] == [
        ("proposed", "relabel"), ("accepted", "review"), ("expert", "cohort"),
    ]  # fmt: skip
    assert any("a person wrote 'labels/a_liver.nii.gz' into cases.csv" in text for text in served.told)


def test_decisions_go_on_while_the_file_is_broken_and_reach_it_later(
    served: Served, anna: Reviewer, folder: Path
) -> None:
    whole = (folder / "cases.csv").read_text()
    (folder / "cases.csv").write_text(whole.replace("patient", "patent"))
    assert anna.decide("b", "liver", "accept").status_code == 200
    assert anna.decide("b", "spleen", "absent").status_code == 200
    assert "unknown column" in anna.http.get("/api/progress").json()["trouble"]
    assert "patent" in (folder / "cases.csv").read_text()
    (folder / "cases.csv").write_text(whole)
    assert anna.http.get("/api/progress").json()["trouble"] is None
    found = cells(folder)
    assert found["b"]["spleen"] == "absent"
    assert found["b"]["liver"].startswith("review/masks/")


def test_rows_and_notes_that_a_person_adds_stay(anna: Reviewer, folder: Path) -> None:
    write(folder / "ct/e.nii.gz", box_mask(0, 0, 0, 3, 3, 3).astype("int16"), "RAS")
    with (folder / "cases.csv").open("a") as stream:
        stream.write("e,e,ct/e.nii.gz,,,,\n")
    anna.decide("b", "liver", "accept")
    assert set(cells(folder)) == set("abcde")
    found = anna.http.get("/api/queue", params={"organ": "liver", "state": "missing"}).json()["items"]
    assert {item["title"] for item in found} == {"d", "e"}
    rows = (folder / "cases.csv").read_text().splitlines()
    (folder / "cases.csv").write_text("\n".join(row for row in rows if not row.startswith("c,")) + "\n")
    assert anna.decide("b", "spleen", "reject").status_code == 200
    assert set(cells(folder)) == set("abde")
    assert anna.http.get(f"/api/cases/{anna.ids['c']}").status_code == 404


def test_a_new_round_of_proposals_comes_in(folder: Path) -> None:
    with serving(folder) as first:
        first.reviewer().decide("c", "liver", "reject")
    newer = box_mask(2, 2, 2, 5, 5, 4)
    for case in "bc":
        write(folder / f"completed/{case}_liver.nii.gz", newer, "RAS" if case == "b" else "LAS")
    write(folder / "completed/b_liver.nii.gz", newer, "LPS")
    with serving(folder) as second:
        anna = second.reviewer()
        assert [row["state"] for row in anna.history("b", "liver")] == ["proposed", "proposed"]
        assert (anna.mask("b", "liver") == newer).all()
        gone = anna.http.get(f"/api/cases/{anna.ids['b']}/masks/liver", params={"revision": 1})
        assert gone.status_code == 409
        assert (anna.mask("c", "liver", 1) == LIVER).all()  # it was decided on: kept


def test_a_flag_stays_on_an_organ_that_is_proposed_anew(folder: Path) -> None:
    newer = box_mask(2, 2, 2, 5, 5, 4)
    with serving(folder) as first:
        first.reviewer("ben").decide("b", "liver", "flag", note="two livers?")
    write(folder / "completed/second/b_liver.nii.gz", newer, "LPS")
    edit(folder, "b", "liver", "auto:completed/second/b_liver.nii.gz")
    with serving(folder) as second:
        anna = second.reviewer()
        states = [(row["state"], row["note"], row["reviewer"]) for row in anna.history("b", "liver")]
        assert states == [
            ("proposed", "", ""), ("flagged", "two livers?", "ben"),
            ("proposed", "", ""), ("flagged", "two livers?", "ben"),
        ]  # fmt: skip
        assert (anna.mask("b", "liver") == newer).all()
        assert anna.decide("b", "liver", "reopen").json()["state"] == "proposed"
        assert (anna.mask("b", "liver") == newer).all()
    assert verify(folder).ok


def test_a_proposal_replaced_while_the_page_is_open(anna: Reviewer, folder: Path) -> None:
    write(folder / "completed/b_liver.nii.gz", box_mask(2, 2, 2, 5, 5, 4), "LPS")
    answer = anna.decide("b", "liver", "accept", 1)
    assert (answer.status_code, "replaced meanwhile" in answer.json()["error"]["what"]) == (409, True)
    assert anna.decide("b", "liver", "accept").json()["revision"] == 3


def test_what_was_decided_is_written_at_the_next_start(folder: Path) -> None:
    before = (folder / "cases.csv").read_text()
    with serving(folder) as first:
        first.reviewer().decide("b", "spleen", "absent")
        after = (folder / "cases.csv").read_text()
        first.desk.ledger.mark_seen([(Pair("b", "spleen"), "auto:completed/b_spleen.nii.gz")])
    (folder / "cases.csv").write_text(before)  # as if killed between the ledger and the file
    assert verify(folder).ok
    assert (folder / "cases.csv").read_text() == after != before


def test_a_clock_that_jumps_back_leaves_the_history_in_order(folder: Path) -> None:
    times = [datetime(2026, 5, 1, 12, tzinfo=UTC) - timedelta(hours=hours) for hours in range(100)]
    clock = iter(times)
    with at_desk(folder, print, lambda: next(clock)) as desk:
        for number in range(3):
            desk.ledger.note("test", {"number": number})
        revisions = desk.ledger.all_revisions()
        assert len({revision.time for revision in revisions}) == 1
        rows = desk.ledger.database.rows("SELECT time FROM event ORDER BY number")
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    assert verify(folder).ok


def test_a_volume_with_all_masks_is_left_alone_until_somebody_decides(folder: Path) -> None:
    before = (folder / "cases.csv").read_bytes()
    with serving(folder) as running:
        for organ in MASKS:
            running.reviewer().mask("b", organ)
    assert (folder / "cases.csv").read_bytes() == before
    assert not (folder / "review/masks").exists()
    assert len(Cohort.open(folder)) == 4


@pytest.mark.parametrize("name", ["ledger.sqlite", "cases.csv"])
def test_a_review_that_can_not_be_opened_says_why(folder: Path, name: str) -> None:
    with serving(folder) as running:
        running.reviewer().decide("b", "liver", "accept")
    path = folder / "review" / name if name == "ledger.sqlite" else folder / name
    path.write_bytes(b"not what it was" * 400)
    with pytest.raises(Exception, match=r"can't be read|not UTF-8|unknown column|column"), serving(folder):
        pass
