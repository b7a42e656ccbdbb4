"""The server as the page drives it, over a real socket: every decision, every conflict, and the cohort that follows."""

import gzip
import json
import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from reviewing import AORTA, LIVER, MASKS, SHAPE, SPLEEN, Reviewer, Served, box_mask, cells, serving, stored, write

from smiler.domain.cells import Status
from smiler.domain.cohort import Cohort
from smiler.export.pieces import origin_of
from smiler.formats.labels import read_case_labels
from smiler.formats.volumes import read_header
from smiler.review.verify import verify


def test_what_the_page_reads(anna: Reviewer) -> None:
    assert anna.session["reviewer"] == "anna"
    organs = {organ["key"]: organ for organ in anna.session["organs"]}
    assert organs["tumour"]["part_of"] == "liver"
    assert organs["liver"]["exclusive"] == ["aorta", "spleen"]
    queue = anna.http.get("/api/queue").json()
    assert queue["matching"] == 12
    assert queue["progress"] | {"by_organ": {}} == {
        "total": 12, "verified": 0, "rejected": 0, "left": 12, "flagged": 0, "per_hour": None, "hours_left": None,
        "by_organ": {}, "repeated": 0, "alike": None, "trouble": None, "edits": [],
    }  # fmt: skip
    assert {item["lane"] for item in queue["items"]} == {"fast", "correct", "redo"}
    only = anna.http.get("/api/queue", params={"organ": "liver", "state": "proposed", "limit": 1}).json()
    assert (len(only["items"]), only["matching"]) == (1, 2)
    case = anna.http.get(f"/api/cases/{anna.ids['b']}").json()
    assert (case["title"], case["shape"]) == ("b", list(SHAPE))
    assert np.allclose(case["spacing_mm"], (2, 2, 3))


@pytest.mark.parametrize("case", "bcd")
def test_image_and_masks_come_on_the_ras_grid(anna: Reviewer, folder: Path, case: str) -> None:
    answer = anna.http.get(f"/api/cases/{anna.ids[case]}/image")
    image = nib.Nifti1Image.from_bytes(answer.content)
    wanted = nib.as_closest_canonical(nib.load(folder / f"ct/{case}.nii.gz"))
    assert image.get_data_dtype() == np.int16
    assert np.array_equal(np.asarray(image.dataobj), np.asarray(wanted.dataobj))
    assert np.allclose(image.affine, wanted.affine)
    again = anna.http.get(f"/api/cases/{anna.ids[case]}/image", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    for organ, mask in MASKS.items():
        assert np.array_equal(anna.mask(case, organ), mask * (case != "d"))
        assert np.array_equal(anna.box(case, organ), mask * (case != "d"))


def test_only_a_browser_elsewhere_gets_volumes_packed(anna: Reviewer) -> None:
    """A reverse proxy on this machine says whom it asks for."""
    for what in ("image", "masks/liver"):
        url = f"/api/cases/{anna.ids['b']}/{what}"
        here, there = anna.http.get(url), anna.http.get(url, headers={"x-forwarded-for": "203.0.113.9"})
        assert "content-encoding" not in here.headers
        assert there.headers["content-encoding"] == "gzip"
        assert there.content == here.content


def test_accept_makes_the_proposal_knowledge(anna: Reviewer, folder: Path) -> None:
    answer = anna.decide("b", "liver", "accept", note="fine", active_seconds=4.5)
    assert answer.status_code == 200
    made = answer.json()
    assert (made["state"], made["parent"], made["reviewer"], made["note"]) == ("accepted", 1, "anna", "fine")
    assert (made["round"], made["model"], made["dice_to_parent"]) == (2, "0f" * 32, 1.0)
    assert np.array_equal(stored(folder, "b", "liver"), LIVER)
    cohort = Cohort.open(folder)
    assert cohort.case("b").status("liver") is Status.ANNOTATED
    assert origin_of(cohort, cohort.case("b"), "liver")[0] == "accepted"
    assert cells(folder)["c"]["liver"] == "auto:completed/c_liver.nii.gz"


@pytest.mark.parametrize("case", "bcd")
def test_a_correction_lies_on_the_files_own_grid(anna: Reviewer, folder: Path, case: str) -> None:
    drawn = box_mask(2, 1, 1, 6, 5, 4)
    made = anna.put(case, "liver", drawn, note="moved").json()
    assert made["state"] == "corrected"
    assert (made["voxels"], made["added"]) == (48, 12 if case != "d" else 48)
    assert np.array_equal(stored(folder, case, "liver"), drawn)
    native = nib.load(folder / cells(folder)[case]["liver"])
    assert np.array_equal(native.affine, nib.load(folder / f"ct/{case}.nii.gz").affine)
    cohort = Cohort.open(folder)
    assert origin_of(cohort, cohort.case(case), "liver")[0] == ("expert" if case == "d" else "corrected")
    grid = read_header(folder / f"ct/{case}.nii.gz")
    labels = read_case_labels(cohort, cohort.case(case), grid.geometry)
    assert np.array_equal(grid.own(labels.drawn & 1), np.asarray(native.dataobj))
    assert np.array_equal(anna.mask(case, "liver"), drawn)
    assert np.array_equal(anna.mask(case, "liver", 1), LIVER) or case == "d"


def test_only_a_box_may_travel(anna: Reviewer, folder: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 2, (3, 2, 4)).astype(np.uint8)
    answer = anna.put("d", "spleen", voxels, box="4,5,1,7,7,5")
    assert answer.status_code == 200
    whole = np.zeros(SHAPE, np.uint8)
    whole[4:7, 5:7, 1:5] = voxels
    assert np.array_equal(stored(folder, "d", "spleen"), whole)


def test_absent_rejected_and_flagged_cells(anna: Reviewer, folder: Path) -> None:
    assert anna.decide("b", "spleen", "absent").json()["state"] == "absent"
    assert anna.decide("b", "aorta", "reject").json()["state"] == "rejected"
    assert anna.decide("c", "aorta", "flag", note="is this a stent?").json()["state"] == "flagged"
    assert anna.decide("d", "aorta", "absent").json()["state"] == "absent"
    found = cells(folder)
    assert (found["b"]["spleen"], found["b"]["aorta"], found["d"]["aorta"]) == ("absent", "", "absent")
    assert found["c"]["aorta"] == "auto:completed/c_aorta.nii.gz"
    assert np.array_equal(anna.mask("b", "aorta"), AORTA)  # still to be seen
    flagged = anna.http.get("/api/queue", params={"state": "flagged"}).json()["items"]
    assert [item["reason"] for item in flagged] == ["flagged by anna: is this a stent?"]
    progress = anna.http.get("/api/progress").json()
    assert (progress["verified"], progress["rejected"], progress["flagged"], progress["left"]) == (2, 1, 1, 8)


@pytest.mark.parametrize("decision", ["accept", "reject", "absent", "flag", "correct"])
def test_reopening_undoes_every_decision_and_keeps_it(anna: Reviewer, folder: Path, decision: str) -> None:
    before = cells(folder)
    if decision == "correct":
        anna.put("b", "liver", box_mask(0, 0, 0, 2, 2, 2))
    else:
        anna.decide("b", "liver", decision)
    decided = anna.history("b", "liver")[-1]
    opened = anna.decide("b", "liver", "reopen").json()
    assert (opened["revision"], opened["state"], opened["parent"]) == (3, "proposed", 2)
    assert cells(folder) == before
    assert np.array_equal(anna.mask("b", "liver"), LIVER)
    history = anna.history("b", "liver")
    assert [row["revision"] for row in history] == [1, 2, 3]
    assert history[1] == decided
    assert anna.decide("b", "liver", "accept").status_code == 200  # and on it goes


def test_what_an_expert_drew_is_corrected_or_flagged_only(anna: Reviewer, folder: Path) -> None:
    anna.ids["a"] = anna.http.get("/api/queue", params={"state": "expert"}).json()["items"][0]["case"]
    for decision in ("accept", "reject", "absent", "reopen"):
        answer = anna.decide("a", "liver", decision)
        assert (answer.status_code, answer.json()["error"]["what"]) == (409, f"{decision} does not follow expert")
    assert anna.decide("a", "liver", "flag").json()["state"] == "flagged"
    assert cells(folder)["a"]["liver"] == "labels/a_liver.nii.gz"
    assert anna.put("a", "liver", LIVER).json()["dice_to_parent"] == 1.0
    assert anna.decide("a", "liver", "reopen").json()["state"] == "expert"
    assert cells(folder)["a"]["liver"] == "labels/a_liver.nii.gz"


def test_a_verified_mask_takes_no_voxel_of_another_that_excludes_it(anna: Reviewer, folder: Path) -> None:
    assert anna.decide("b", "liver", "accept").status_code == 200
    answer = anna.put("b", "spleen", LIVER | SPLEEN)
    assert answer.status_code == 409
    assert answer.json()["error"]["what"] == "the mask takes voxels of liver, which is verified and excludes it"
    assert answer.json()["error"]["got"] == "48 voxels"
    assert anna.put("b", "tumour", box_mask(2, 2, 2, 3, 3, 3)).status_code == 200  # a part of the liver
    assert verify_cohort(folder)


def verify_cohort(folder: Path) -> bool:
    """Whether every case can be trained on."""
    cohort = Cohort.open(folder)
    for case in cohort:
        read_case_labels(cohort, case, read_header(cohort.image_path(case)).geometry)
    return True


# --- conflicts


def test_a_stale_mask_is_kept_and_a_stale_decision_refused(anna: Reviewer, ben: Reviewer, folder: Path) -> None:
    anns, bens = box_mask(1, 1, 1, 4, 4, 4), box_mask(2, 2, 1, 5, 5, 4)
    assert anna.put("b", "liver", anns, 1).status_code == 200
    stale = ben.put("b", "liver", bens, 1)
    assert stale.status_code == 412
    assert stale.json()["head"] == 2
    assert stale.json()["kept"] == 3
    assert ben.decide("b", "liver", "reject", 1).json()["kept"] is None
    assert np.array_equal(stored(folder, "b", "liver"), anns)
    assert np.array_equal(ben.mask("b", "liver", 3), bens)
    assert [(row["kept"], row["parent"], row["reviewer"]) for row in ben.history("b", "liver")] == [
        (False, None, ""), (False, 1, "anna"), (True, 1, "ben"),
    ]  # fmt: skip
    assert ben.put("b", "liver", bens, 2).json()["revision"] == 4  # having looked, ben decides again
    assert np.array_equal(stored(folder, "b", "liver"), bens)


def test_a_write_done_twice_is_done_once(anna: Reviewer, folder: Path) -> None:
    first = anna.put("b", "liver", LIVER, 1, key="a-key-of-mine")
    again = anna.put("b", "liver", LIVER, 1, key="a-key-of-mine")
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert len(anna.history("b", "liver")) == 2
    stale = [anna.put("b", "liver", SPLEEN, 1, key="another-key").json() for _ in range(2)]
    assert stale[0] == stale[1]
    assert len(anna.history("b", "liver")) == 3
    other = anna.decide("b", "spleen", "accept", key="a-key-of-mine")
    assert (other.status_code, other.json()["error"]["what"]) == (422, "the key belongs to another request")


def test_a_double_click_at_the_same_moment(anna: Reviewer) -> None:
    answers: list[dict[str, object]] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(anna.decide("b", "liver", "accept", 1, key="one-click-two-threads").json())
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert all(answer == answers[0] for answer in answers)
    assert len(anna.history("b", "liver")) == 2


def test_of_two_reviewers_exactly_one_wins_a_hundred_times(anna: Reviewer, ben: Reviewer, folder: Path) -> None:
    masks = (box_mask(1, 1, 1, 4, 4, 4), box_mask(2, 2, 1, 5, 5, 4))
    base, wins = 1, {"anna": 0, "ben": 0}
    for _ in range(100):
        start, answers = threading.Barrier(2), {}

        def put(who: Reviewer, mask: np.ndarray, start: threading.Barrier, answers: dict, base: int) -> None:
            start.wait()
            answers[who.session["reviewer"]] = who.put("b", "liver", mask, base)

        pair = [
            threading.Thread(target=put, args=(who, mask, start, answers, base))
            for who, mask in zip((anna, ben), masks, strict=True)
        ]
        for thread in pair:
            thread.start()
        for thread in pair:
            thread.join()
        won = [name for name, answer in answers.items() if answer.status_code == 200]
        lost = [answer for answer in answers.values() if answer.status_code == 412]
        assert (len(won), len(lost)) == (1, 1)
        wins[won[0]] += 1
        base = lost[0].json()["head"]
        assert lost[0].json()["kept"] is not None
    assert len(anna.history("b", "liver")) == 201
    assert sum(not row["kept"] for row in anna.history("b", "liver")) == 101


# --- drafts, leases, tools


def test_a_draft_comes_back_after_the_server_was_gone(folder: Path) -> None:
    drawn = box_mask(3, 3, 3, 5, 5, 5)
    body = gzip.compress(drawn.tobytes(order="F"))
    with serving(folder) as first:
        anna = first.reviewer()
        url = f"/api/cases/{anna.ids['b']}/drafts/liver"
        assert anna.http.get(url).status_code == 404
        assert anna.http.put(url, content=body, headers={"if-match": '"1"'}).json()["voxels"] == 8
    with serving(folder) as second:
        anna, ben = second.reviewer("anna"), second.reviewer("ben")
        found = anna.http.get(url)
        assert (found.content, found.headers["x-base-revision"]) == (body, "1")
        assert found.headers["x-box"] == "0,0,0,12,10,6"
        assert anna.head("b", "liver")["draft"]
        assert not ben.head("b", "liver")["draft"]
        assert ben.http.get(url).status_code == 404
        anna.put("b", "liver", drawn)
        assert anna.http.get(url).status_code == 404  # saved: no longer a draft
        anna.http.put(url, content=body, headers={"if-match": '"1"'})  # stale, and kept all the same
        assert anna.http.delete(url).status_code == 204
        assert anna.http.get(url).status_code == 404


def test_a_save_that_is_asked_for_again_does_not_take_the_draft_drawn_since(anna: Reviewer) -> None:
    """The answer was lost on the way; by the time it is asked for again the reviewer has drawn on."""
    body = gzip.compress(box_mask(3, 3, 3, 5, 5, 5).tobytes(order="F"))
    url = f"/api/cases/{anna.ids['b']}/drafts/liver"
    anna.http.put(url, content=body, headers={"if-match": '"1"'})
    made = anna.put("b", "liver", box_mask(2, 2, 2, 5, 5, 4), key="same-key-12345678").json()
    assert anna.http.get(url).status_code == 404
    anna.http.put(url, content=body, headers={"if-match": f'"{made["revision"]}"'})
    again = anna.put("b", "liver", box_mask(2, 2, 2, 5, 5, 4), base=1, key="same-key-12345678")
    assert again.json() == made
    assert anna.http.get(url).content == body


def test_a_lease_is_a_hint(anna: Reviewer, ben: Reviewer) -> None:
    url = f"/api/cases/{anna.ids['b']}/leases/liver"
    assert anna.http.post(url, json={"seconds": 60}).json()["leased_by"] == "anna"
    assert ben.http.post(url, json={"seconds": 60}).json()["leased_by"] == "anna"
    assert ben.head("b", "liver")["leased_by"] == "anna"
    assert ben.decide("b", "liver", "accept").status_code == 200
    assert anna.http.post(url, json={"seconds": 0}).status_code == 200
    assert ben.head("b", "liver")["leased_by"] is None


def test_tools_over_the_wire(anna: Reviewer) -> None:
    slices = box_mask(1, 1, 0, 4, 4, 1) | box_mask(1, 1, 5, 4, 4, 6)
    url = f"/api/cases/{anna.ids['d']}/tools"
    body = gzip.compress(slices[1:4, 1:4].tobytes(order="F"))
    answer = anna.http.post(f"{url}/interpolate", content=body, params={"box": "1,1,0,4,4,6", "axis": 2})
    assert answer.headers["x-box"] == "1,1,0,4,4,6"
    assert gzip.decompress(answer.content) == b"\1" * 54
    grown = anna.http.post(f"{url}/grow", content=body, params={"box": "1,1,0,4,4,6", "radius_mm": 2.5})
    assert grown.headers["x-box"] == "0,0,0,6,6,6"
    assert anna.http.post(f"{url}/melt", content=body).status_code == 422
    assert anna.http.post(f"{url}/grow", content=body, params={"box": "1,1,0,4,4,6"}).status_code == 422
    assert anna.history("d", "liver") == []


def test_everything_said_is_in_the_openapi_document(anna: Reviewer) -> None:
    document = anna.http.get("/api/openapi.json").json()
    assert len(document["paths"]) == 15
    assert "412" in document["paths"]["/api/cases/{case}/masks/{organ}"]["put"]["responses"]
    json.dumps(document)


def test_the_review_of_a_cohort_is_open_once(served: Served, folder: Path) -> None:
    with pytest.raises(Exception, match="another process is writing here"), serving(folder):
        pass
    with pytest.raises(Exception, match="another process is writing here"):
        verify(folder)


# --- what is nobody's fault


@pytest.mark.parametrize(
    ("decision", "state"),
    [("reject", "rejected"), ("flag", "flagged"), ("absent", "absent"), ("correct", "corrected")],
)
@pytest.mark.parametrize("fault", ["gone", "another shape"])
def test_a_proposal_that_can_not_be_read_can_be_decided_against(
    anna: Reviewer, folder: Path, decision: str, state: str, fault: str
) -> None:
    path = folder / "completed/b_liver.nii.gz"
    path.unlink()
    if fault == "another shape":
        write(path, np.ones((4, 4, 4), np.uint8), "LPS")
    base = anna.head("b", "liver")["revision"]
    assert anna.decide("b", "liver", "accept", base).status_code == 409
    base = anna.head("b", "liver")["revision"]  # another file in its place is a revision of its own
    drawn = decision == "correct"
    answer = anna.put("b", "liver", LIVER, base) if drawn else anna.decide("b", "liver", decision, base)
    assert answer.status_code == 200, answer.text
    assert anna.head("b", "liver")["state"] == state
    if drawn:
        assert np.array_equal(stored(folder, "b", "liver"), LIVER)


def test_a_flag_keeps_the_draft(anna: Reviewer) -> None:
    url = f"/api/cases/{anna.ids['b']}/drafts/liver"
    body = gzip.compress(box_mask(0, 0, 0, 2, 2, 2).tobytes(order="F"))
    assert anna.http.put(url, content=body, headers=anna.headers(1)).status_code == 200
    assert anna.decide("b", "liver", "flag", 1, note="odd").status_code == 200
    assert gzip.decompress(anna.http.get(url).content) == gzip.decompress(body)
    assert anna.decide("b", "liver", "reject", 2).status_code == 200
    assert anna.http.get(url).status_code == 404


def test_what_somebody_has_open_comes_last_for_others(anna: Reviewer, ben: Reviewer) -> None:
    def queue(who: Reviewer) -> list[tuple[str, str]]:
        items = who.http.get("/api/queue", params={"limit": 500}).json()["items"]
        return [(item["case"], item["organ"]) for item in items]

    def take(who: Reviewer, item: tuple[str, str]) -> None:
        url = f"/api/cases/{item[0]}/leases/{item[1]}"
        assert who.http.post(url, json={"seconds": 60}).status_code == 200

    first, second, *_ = before = queue(anna)
    take(anna, first)
    assert queue(anna) == before
    assert queue(ben) == [*before[1:], first]
    take(anna, second)  # and lets go of the first
    assert queue(ben) == [first, *before[2:], second]


def test_uncertainty_lies_where_the_mask_does(anna: Reviewer, folder: Path) -> None:
    values = np.zeros(SHAPE, np.float32)
    values[1, 2, 3], values[10, 8, 5] = 1.0, 0.5
    for case, axes in (("b", "LPS"), ("c", "LAS")):
        write(folder / f"completed/{case}_liver_uncertainty.nii.gz", values, axes)
        answer = anna.http.get(f"/api/cases/{anna.ids[case]}/uncertainty/liver")
        assert answer.status_code == 200, answer.text
        found = np.asarray(nib.Nifti1Image.from_bytes(answer.content).dataobj)
        assert (found[1, 2, 3], found[10, 8, 5], int((found > 0).sum())) == (255, 128, 2)
    assert anna.http.get(f"/api/cases/{anna.ids['b']}/uncertainty/spleen").status_code == 404
    write(folder / "completed/b_liver_uncertainty.nii.gz", values[:4], "LPS")
    assert anna.http.get(f"/api/cases/{anna.ids['b']}/uncertainty/liver").status_code == 404
