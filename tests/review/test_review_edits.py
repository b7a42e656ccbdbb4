"""A spreadsheet saved over what people had decided: it comes in as one edit, it is told, and one step takes it back."""

import csv
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from reviewing import LIVER, MASKS, Reviewer, Served, box_mask, cells, serving, stored, write

from smiler.cli import main
from smiler.domain.cohort import Cohort
from smiler.domain.ledger import ledger_text
from smiler.domain.locks import writing
from smiler.review import sheet
from smiler.review.backup import write_history
from smiler.review.desk import at_desk
from smiler.review.errors import Pair, Refused
from smiler.review.undo import undo, undo_newest
from smiler.review.verify import verify

DRAWN = box_mask(1, 1, 1, 4, 4, 4)
Row = dict[str, str]
Smiler = Callable[..., tuple[int, str]]


def change(folder: Path, edit: Callable[[list[Row]], list[Row]]) -> None:
    """Open cases.csv in a spreadsheet, change its rows, save."""
    with (folder / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = list(rows[0])
    with (folder / "cases.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(edit(rows))


def set_cell(folder: Path, case: str, organ: str, text: str) -> None:
    change(folder, lambda rows: [row | {organ: text} if row["case"] == case else row for row in rows])


def without(folder: Path, *cases: str) -> None:
    change(folder, lambda rows: [row for row in rows if row["case"] not in cases])


@pytest.fixture
def smiler(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Smiler:
    """`smiler WORDS...` in this process: exit code and standard output, lines joined."""

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["smiler", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), " ".join(capsys.readouterr().out.split())

    return run


def states(folder: Path) -> dict[str, str]:
    """State of each organ that somebody decided, by 'case organ'."""
    with at_desk(folder, lambda _: None) as desk:
        return {f"{p.case} {p.organ}": str(head.state) for p, head in desk.ledger.heads().items()}


DECIDED = {"b liver": "accepted", "b spleen": "corrected", "c liver": "absent", "c spleen": "rejected"}


@pytest.fixture
def stale(folder: Path) -> str:
    """Four kinds of decisions; the file as it was before them."""
    before = (folder / "cases.csv").read_text()
    with serving(folder) as running:
        anna, ben = running.reviewer("anna"), running.reviewer("ben")
        assert anna.decide("b", "liver", "accept", note="sharp").status_code == 200
        assert ben.put("b", "spleen", box_mask(7, 2, 1, 10, 6, 4)).status_code == 200
        assert anna.decide("c", "liver", "absent").status_code == 200
        assert anna.decide("c", "spleen", "reject").status_code == 200
    assert states(folder).items() >= DECIDED.items()
    return before


def test_a_stale_spreadsheet_is_one_edit_that_is_told_and_undone_on_the_page(folder: Path, stale: str) -> None:
    decided = (folder / "cases.csv").read_text()
    with serving(folder) as running:
        anna = running.reviewer("anna")
        (folder / "cases.csv").write_text(stale)
        (edit,) = anna.http.get("/api/progress").json()["edits"]
        assert (edit["cells"], edit["cases"], edit["rows_gone"]) == (4, 2, 0)
        assert edit["changes"] == {f"{state} -> proposed": 1 for state in DECIDED.values()}
        assert edit["title"].startswith("edit of cases.csv at 20")
        assert edit["title"].endswith("UTC: 4 cells of 2 cases")
        assert any("edit of cases.csv, 4 cells of 2 cases" in text and "--undo-edit" in text for text in running.told)
        assert any("case b, organ spleen: cases.csv says 'auto:" in t and "corrected by ben" in t for t in running.told)
        assert anna.head("b", "spleen")["state"] == "proposed"

        done = anna.http.post(f"/api/edits/{edit['number']}/undo")
        assert done.json() == {"edit": edit["number"], "reviewer": "anna", "cells": 4, "rows": 0, "left": []}
        assert anna.http.post(f"/api/edits/{edit['number']}/undo").json() == done.json()
        assert anna.http.get("/api/progress").json()["edits"] == []
        assert (folder / "cases.csv").read_text() == decided
        newest = anna.history("b", "spleen")[-1]
        assert (newest["state"], newest["reviewer"], newest["source"], newest["parent"]) == (
            "corrected",
            "ben",
            "undo",
            2,
        )
        assert "undone by anna" in newest["note"]
        assert [row["note"] for row in anna.history("b", "liver")][1:3] == [
            "sharp",
            "edit of cases.csv, 4 cells of 2 cases",
        ]
    assert states(folder).items() >= DECIDED.items()
    found = verify(folder)
    assert (found.faults, found.edits) == ([], [])


def test_an_edit_while_the_server_is_not_running_is_told_at_the_next_start_and_undone_by_the_command(
    folder: Path, stale: str, tmp_path: Path, smiler: Smiler
) -> None:
    decided = (folder / "cases.csv").read_text()
    (folder / "cases.csv").write_text(stale)
    with serving(folder) as running:
        assert any("4 cells of 2 cases" in text for text in running.told)
    checked = json.loads(smiler("review", folder, "--verify", "--json")[1])["verify"]
    assert (checked["faults"], checked["edits"][0]["cells"]) == ([], 4)

    command = ("review", folder, "--undo-edit", "--reviewer", "carl", "--json")
    told = json.loads(smiler(*command)[1])["undone"]
    assert (told["cells"], told["rows"], told["left"], told["reviewer"]) == (4, 0, [], "carl")
    assert (folder / "cases.csv").read_text() == decided
    assert smiler(*command) == (2, "")

    write_history(folder, tmp_path / "history.csv")
    with (tmp_path / "history.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["case"] == "b" and row["organ"] == "spleen"]
    assert [(row["state"], row["source"], row["reviewer"]) for row in rows] == [
        ("proposed", "relabel", ""), ("corrected", "review", "ben"),
        ("proposed", "relabel", ""), ("corrected", "undo", "ben"),
    ]  # fmt: skip
    assert rows[2]["note"] == "edit of cases.csv, 4 cells of 2 cases"
    assert "undone by carl" in rows[3]["note"]


def test_an_edit_before_verify_is_told_there_and_can_still_be_undone(folder: Path, stale: str, smiler: Smiler) -> None:
    (folder / "cases.csv").write_text(stale)
    code, shown = smiler("review", folder, "--verify")
    assert code == 0
    assert "edit of cases.csv, 4 cells of 2 cases" in shown
    assert "smiler review COHORT --undo-edit" in shown
    with serving(folder) as running:
        assert [edit["cells"] for edit in running.reviewer().http.get("/api/progress").json()["edits"]] == [4]
    assert "4 cells and 0 rows are as before" in smiler("review", folder, "--undo-edit")[1]
    assert states(folder).items() >= DECIDED.items()


@pytest.mark.parametrize(
    ("case", "organ", "text", "state"),
    [
        ("b", "liver", "", "missing"), ("b", "liver", "absent", "absent"),
        ("b", "liver", "labels/a_liver.nii.gz", "expert"), ("b", "liver", "auto:completed/c_liver.nii.gz", "proposed"),
        ("c", "liver", "", "missing"), ("c", "liver", "labels/a_liver.nii.gz", "expert"),
        ("c", "spleen", "absent", "absent"), ("a", "liver", "", "missing"),
        ("a", "liver", "labels/a_spleen.nii.gz", "expert"),
        ("a", "tumour", "auto:completed/b_liver.nii.gz", "proposed"),
    ],
)  # fmt: skip
def test_any_cell_in_which_somebody_decided(
    folder: Path, stale: str, case: str, organ: str, text: str, state: str
) -> None:
    decided = (folder / "cases.csv").read_text()
    before = states(folder)[f"{case} {organ}"]
    set_cell(folder, case, organ, text)
    assert states(folder)[f"{case} {organ}"] == state
    with at_desk(folder, lambda _: None) as desk:
        (edit,) = desk.edits.open()
        assert dict(edit.changes) == {f"{before} -> {state}": 1}
        assert undo_newest(desk, "anna").cells == 1
    assert states(folder)[f"{case} {organ}"] == before
    assert (folder / "cases.csv").read_text() == decided


def test_a_flagged_organ_of_an_expert(folder: Path) -> None:
    with serving(folder) as running:
        ben = running.reviewer("ben")
        ben.ids["a"] = running.room.id_of("a")
        assert ben.decide("a", "liver", "flag", note="two livers?").status_code == 200
    set_cell(folder, "a", "liver", "auto:completed/b_liver.nii.gz")
    with at_desk(folder, lambda _: None) as desk:
        assert undo_newest(desk, "anna").cells == 1
        head = desk.ledger.head(Pair("a", "liver"))
        assert head is not None
        assert (head.state, head.reviewer, head.cell) == ("flagged", "ben", "labels/a_liver.nii.gz")
    assert cells(folder)["a"]["liver"] == "labels/a_liver.nii.gz"


def test_rows_that_are_gone_come_back_where_they_were(folder: Path, stale: str) -> None:
    decided = (folder / "cases.csv").read_text()
    with serving(folder) as running:
        anna = running.reviewer("anna")
        without(folder, "b", "c")  # an older file with fewer cases
        (edit,) = anna.http.get("/api/progress").json()["edits"]
        assert (edit["cells"], edit["rows_gone"]) == (0, 2)
        assert edit["title"].endswith("UTC: 2 rows gone")
        assert any("case b: its row is gone from cases.csv" in text for text in running.told)
        kept = [row for row in running.desk.ledger.history(Pair("b", "liver")) if row.kept]
        assert [row.note for row in kept] == ["edit of cases.csv, 2 rows gone"]
        assert anna.http.post(f"/api/edits/{edit['number']}/undo").json()["rows"] == 2
        assert (folder / "cases.csv").read_text() == decided
        assert anna.head("b", "liver")["state"] == "accepted"
    assert verify(folder).faults == []


def test_a_row_that_is_back_but_stale_is_an_edit_of_its_own(folder: Path, stale: str) -> None:
    decided = (folder / "cases.csv").read_text()
    without(folder, "b")
    assert states(folder)["b liver"] == "accepted"
    (folder / "cases.csv").write_text(stale)
    with at_desk(folder, lambda _: None) as desk:
        gone, edited = desk.edits.open()
        assert dict(edited.changes) == {f"{state} -> proposed": 1 for state in DECIDED.values()}
        assert undo(desk, edited.number, "anna").cells == 4
        done = undo(desk, gone.number, "anna")
        assert (done.rows, done.left) == (1, ())
    assert (folder / "cases.csv").read_text() == decided


def test_a_spreadsheets_own_ideas_of_patients_and_images(folder: Path, stale: str) -> None:
    decided = (folder / "cases.csv").read_text()
    change(folder, lambda rows: [row | {"patient": "1.00E+07", "image": "ct/a.nii.gz"} for row in rows])
    with at_desk(folder, lambda _: None) as desk:
        (edit,) = desk.edits.open()
        assert edit.short == "edit of cases.csv, another patient or image in 4 rows"
        assert undo_newest(desk, "anna").rows == 4
    assert (folder / "cases.csv").read_text() == decided


@pytest.mark.parametrize("heading", ["", "lever"])
def test_a_column_that_is_gone_or_renamed_is_refused_and_changes_nothing(
    folder: Path, stale: str, heading: str
) -> None:
    text = (folder / "cases.csv").read_text()
    rows = [line.split(",") for line in text.splitlines()]
    at = rows[0].index("liver")
    rows = [row[:at] + ([heading if row is rows[0] else row[at]] if heading else []) + row[at + 1 :] for row in rows]
    with serving(folder) as running:
        anna = running.reviewer("anna")
        (folder / "cases.csv").write_text("\n".join(map(",".join, rows)) + "\n")
        told = anna.http.get("/api/progress").json()
        assert ("the column is missing" in told["trouble"], told["edits"]) == (True, [])
        assert anna.head("b", "liver")["state"] == "accepted"
        (folder / "cases.csv").write_text(text)
        assert anna.http.get("/api/progress").json()["trouble"] is None
    assert states(folder).items() >= DECIDED.items()


def test_an_organ_that_is_taken_out_is_told_and_an_empty_column_is_an_edit(folder: Path, stale: str) -> None:
    decided, manifest = (folder / "cases.csv").read_text(), (folder / "cohort.toml").read_text()
    cohort = Cohort.open(folder)
    keys = [key for key in cohort.organs.keys if key != "spleen"]
    (folder / "cohort.toml").write_text(manifest.replace('    { key = "spleen" },\n', ""))
    change_columns(folder, keys)
    with serving(folder) as running:
        assert "organ spleen is not in cohort.toml any more; 3 decisions about it are kept" in running.told
        assert running.reviewer("anna").decide("b", "aorta", "accept").status_code == 200
        assert running.desk.sheet.trouble == ""
        running.reviewer("anna").decide("b", "aorta", "reopen")
    (folder / "cohort.toml").write_text(manifest)
    change_columns(folder, [*keys, "spleen"])
    with at_desk(folder, lambda _: None) as desk:
        assert undo_newest(desk, "anna").cells == 2  # the third cell was rejected: empty is what it should be
    assert {c: row["spleen"] for c, row in cells(folder).items()} == {
        row["case"]: row["spleen"] for row in csv.DictReader(decided.splitlines())
    }


def change_columns(folder: Path, organs: list[str]) -> None:
    """Save with these organs' columns only; one that was not there is empty."""
    rows = list(csv.DictReader((folder / "cases.csv").read_text().splitlines()))
    columns = ["case", "patient", "image", *organs]
    with (folder / "cases.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def test_two_edits_after_one_another_are_undone_in_either_order(folder: Path, stale: str, tmp_path: Path) -> None:
    decided = (folder / "cases.csv").read_text()
    with at_desk(folder, lambda _: None) as desk:
        (folder / "cases.csv").write_text(stale)
        desk.sheet.follow()
        set_cell(folder, "b", "liver", "absent")
        set_cell(folder, "c", "spleen", "")
        set_cell(folder, "a", "aorta", "")  # what an expert drew: of this one the second edit is made
        desk.sheet.follow()
        first, second = desk.edits.open()
        assert (len(first.cells), len(second.cells)) == (4, 3)
        halfway = undo(desk, first.number, "anna")
        assert (halfway.cells, len(halfway.left)) == (2, 2)
        assert "case b, organ liver: it is absent since; that stays" in halfway.left
        assert undo(desk, second.number, "anna").cells == 3
        assert desk.edits.to_undo() == []
        assert desk.ledger.head(Pair("b", "liver")).state == "proposed"  # type: ignore[union-attr]
        (folder / "cases.csv").write_text(decided)
        desk.sheet.follow()
        (folder / "cases.csv").write_text(stale)
        desk.sheet.follow()
        set_cell(folder, "b", "liver", "absent")
        set_cell(folder, "a", "aorta", "")
        desk.sheet.follow()
        assert undo_newest(desk, "anna").cells == 2
        newest = undo_newest(desk, "anna")
        assert (newest.cells, newest.left) == (4, ())
    assert (folder / "cases.csv").read_text() == decided
    assert verify(folder).faults == []


def test_what_was_decided_again_since_stays(folder: Path, stale: str) -> None:
    with serving(folder) as running:
        anna, ben = running.reviewer("anna"), running.reviewer("ben")
        (folder / "cases.csv").write_text(stale)
        (edit,) = anna.http.get("/api/progress").json()["edits"]
        assert ben.decide("b", "liver", "absent").status_code == 200
        told = anna.http.post(f"/api/edits/{edit['number']}/undo").json()
        assert (told["cells"], told["left"]) == (3, ["case b, organ liver: it is absent by ben since; that stays"])
        assert anna.head("b", "liver")["state"] == "absent"
        assert anna.head("b", "spleen")["state"] == "corrected"


def test_an_undo_makes_no_two_verified_organs_share_voxels(folder: Path, stale: str) -> None:
    with serving(folder) as running:
        anna = running.reviewer("anna")
        (folder / "cases.csv").write_text(stale)
        (edit,) = anna.http.get("/api/progress").json()["edits"]
        assert anna.put("b", "aorta", LIVER).status_code == 200
        told = anna.http.post(f"/api/edits/{edit['number']}/undo").json()
        assert (told["cells"], len(told["left"])) == (3, 1)
        assert "case b, organ liver: the mask takes voxels of aorta" in told["left"][0]


def test_a_file_that_is_gone_or_another_is_not_put_back(folder: Path, stale: str) -> None:
    set_cell(folder, "a", "liver", "")
    set_cell(folder, "a", "spleen", "")
    set_cell(folder, "a", "aorta", "")
    with at_desk(folder, lambda _: None) as desk:
        (folder / "labels/a_liver.nii.gz").unlink()
        write(folder / "labels/a_spleen.nii.gz", DRAWN, "RAS")
        told = undo_newest(desk, "anna")
        assert told.cells == 1
        assert sorted(told.left) == [
            "case a, organ liver: the file labels/a_liver.nii.gz is not what it was",
            "case a, organ spleen: the file labels/a_spleen.nii.gz is not what it was",
        ]
    assert cells(folder)["a"]["aorta"] == "labels/a_aorta.nii.gz"


def test_reopening_after_an_undo_goes_back_to_the_proposal_and_not_to_the_edit(folder: Path, stale: str) -> None:
    set_cell(folder, "b", "liver", "absent")
    with serving(folder) as running:
        anna = running.reviewer("anna")
        assert anna.http.post(f"/api/edits/{running.desk.edits.open()[0].number}/undo").json()["cells"] == 1
        assert anna.decide("b", "liver", "reopen").json()["state"] == "proposed"
        assert (anna.mask("b", "liver") == LIVER).all()
    assert cells(folder)["b"]["liver"] == "auto:completed/b_liver.nii.gz"


def test_an_undo_neither_teaches_the_queue_nor_counts_time_twice(folder: Path, stale: str) -> None:
    with at_desk(folder, lambda _: None) as desk:
        before = desk.ledger.judged(), desk.ledger.recent_seconds(50), len(desk.ledger.decided_by("anna"))
        (folder / "cases.csv").write_text(stale)
        desk.sheet.follow()
        undo_newest(desk, "ben")
        assert (desk.ledger.judged(), desk.ledger.recent_seconds(50), len(desk.ledger.decided_by("anna"))) == before


def test_a_new_round_of_proposals_is_no_edit(folder: Path, stale: str) -> None:
    newer = box_mask(2, 2, 2, 5, 5, 4)
    write(folder / "completed/second/c_spleen.nii.gz", newer, "LAS")
    write(folder / "completed/second/c_aorta.nii.gz", newer, "LAS")
    set_cell(folder, "c", "spleen", "auto:completed/second/c_spleen.nii.gz")  # it was rejected
    set_cell(folder, "c", "aorta", "auto:completed/second/c_aorta.nii.gz")
    set_cell(folder, "b", "aorta", "")
    with serving(folder) as running:
        assert running.desk.edits.open() == []
        assert "cases.csv: new proposals: 2, rejected organs proposed again: 1, proposals gone: 1" in running.told


def test_a_ledger_of_an_older_smiler_opens_and_knows_rows_from_then_on(folder: Path, stale: str) -> None:
    with closing(sqlite3.connect(folder / "review/ledger.sqlite")) as database:
        database.execute("DROP TABLE listed")
    without(folder, "c")
    with at_desk(folder, lambda _: None) as desk:
        assert desk.edits.open() == []
        without(folder, "b")
        desk.sheet.follow()
        assert [edit.short for edit in desk.edits.open()] == ["edit of cases.csv, 1 row gone"]
        assert undo_newest(desk, "anna").rows == 1
    assert verify(folder).faults == []


def test_an_edit_can_be_dismissed_and_is_undone_all_the_same(folder: Path, stale: str) -> None:
    with serving(folder) as running:
        anna = running.reviewer("anna")
        (folder / "cases.csv").write_text(stale)
        (edit,) = anna.http.get("/api/progress").json()["edits"]
        assert anna.http.post(f"/api/edits/{edit['number']}/dismissal").status_code == 204
        assert anna.http.get("/api/progress").json()["edits"] == []
        assert anna.http.post("/api/edits/1/undo").status_code == 404
    with at_desk(folder, lambda _: None) as desk:
        assert desk.edits.open() == []
        assert undo_newest(desk, "anna").cells == 4
        with pytest.raises(Refused, match="no such edit"):
            undo(desk, 10**6, "anna")


def test_an_undo_while_another_process_writes_reaches_the_file_later(
    folder: Path, stale: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, "PATIENCE_SECONDS", 0.2)
    decided = (folder / "cases.csv").read_text()
    (folder / "cases.csv").write_text(stale)
    with at_desk(folder, lambda _: None) as desk:
        with writing(folder):
            assert undo_newest(desk, "anna").cells == 4
            assert "another process is writing here" in desk.sheet.trouble
        desk.sheet.follow()
    assert (folder / "cases.csv").read_text() == decided


def test_a_save_while_the_file_is_about_to_be_replaced_is_not_overwritten(
    served: Served, anna: Reviewer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def saved_meanwhile(cohort: Cohort) -> str:
        monkeypatch.setattr(sheet, "ledger_text", ledger_text)
        set_cell(folder, "d", "liver", "labels/a_liver.nii.gz")
        return ledger_text(cohort)

    monkeypatch.setattr(sheet, "ledger_text", saved_meanwhile)
    assert anna.decide("b", "liver", "accept").status_code == 200
    assert cells(folder)["d"]["liver"] == "labels/a_liver.nii.gz"
    assert anna.head("d", "liver")["state"] == "expert"
    assert (stored(folder, "b", "liver") == MASKS["liver"]).all()
