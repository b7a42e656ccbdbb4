"""Proposals that come to a reviewer a second time: when, how they look, and what a second answer does."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from reviewing import LIVER, Reviewer, Served, box_mask, cells, serving, stored

from smiler.review.repeats import APART, due
from smiler.review.revisions import REPEAT, Revision
from smiler.review.states import State
from smiler.review.verify import verify

# --- what may come again


def decision(case: str, state: State = State.ACCEPTED, source: str = "review", parent: int | None = 1) -> Revision:
    return Revision(case, "liver", 2, state, source, parent=parent, reviewer="anna")


def oracle(made: list[Revision]) -> list[Revision]:
    """Share 1: a decision with at least APART decisions after it, whose proposal did not come again."""
    found = []
    for at, one in enumerate(made):
        later = [other for other in made[at + 1 :] if other.source == "review"]
        decided = one.state in (State.ACCEPTED, State.CORRECTED, State.ABSENT, State.REJECTED)
        again = any(other.source == REPEAT and other.pair == one.pair for other in made)
        if one.source == "review" and decided and one.parent is not None and len(later) >= APART and not again:
            found.append(one)
    return found


@pytest.mark.parametrize("seed", range(30))
def test_what_may_come_again(seed: int) -> None:
    draw = random.Random(seed)
    made = []
    for n in range(draw.randrange(60)):
        state = draw.choice(list(State))
        made.append(decision(f"c{n}", state, parent=draw.choice([None, 1])))
        if draw.random() < 0.2:
            made.append(decision(f"c{draw.randrange(n + 1)}", source=REPEAT))
    assert due(made, 1.0, 0) == oracle(made)
    assert due(made, 0.0, 0) == []


def test_of_many_the_share_comes_again_and_always_the_same() -> None:
    made = [decision(f"c{n}") for n in range(4000 + APART)]
    found = due(made, 0.05, 3)
    assert 150 < len(found) < 250
    assert due(made, 0.05, 3) == found
    assert due([*made, decision("another")], 0.05, 3)[: len(found)] == found
    assert due(made, 0.05, 4) != found


# --- over the wire


@pytest.fixture
def again(folder: Path) -> Iterator[Served]:
    """A server at which every decided proposal comes again."""
    with serving(folder, repeats=1.0) as running:
        yield running


def busy(reviewer: Reviewer, decisions: int = APART) -> None:
    """Other decisions, none of which stays."""
    for _ in range(decisions):
        decision = "reopen" if reviewer.head("d", "aorta")["state"] == "absent" else "absent"
        assert reviewer.decide("d", "aorta", decision).status_code == 200


def first_item(reviewer: Reviewer, **asked: str) -> dict:
    return reviewer.http.get("/api/queue", params=asked).json()["items"][0]


def as_told(reviewer: Reviewer, item: dict) -> dict:
    """The organ as the page sees it that opens the queue's item."""
    asked = {"organ": item["organ"], "revision": item["revision"]}
    rows = reviewer.http.get(f"/api/cases/{item['case']}", params=asked).json()["organs"]
    return next(row for row in rows if row["key"] == item["organ"])


def test_it_comes_again_as_if_for_the_first_time(again: Served) -> None:
    anna, ben = again.reviewer("anna"), again.reviewer("ben")
    before = next(item for item in anna.http.get("/api/queue").json()["items"] if item["organ"] == "liver")
    case = before["title"]
    assert anna.decide(case, "liver", "accept").status_code == 200
    busy(anna, APART - 1)
    assert first_item(anna)["organ"] != "liver"  # one decision too few between
    busy(anna, 1)
    item = first_item(anna)
    assert (item["title"], item["organ"], item["state"], item["revision"]) == (case, "liver", "proposed", 1)
    assert item["lane"] in ("fast", "correct", "redo")
    assert (as_told(anna, item)["state"], as_told(anna, item)["revision"]) == ("proposed", 1)
    assert (anna.head(case, "liver")["state"], anna.head(case, "liver")["revision"]) == ("accepted", 2)
    url = f"/api/cases/{item['case']}/history/liver"
    assert [row["revision"] for row in anna.http.get(url, params={"revision": 1}).json()["revisions"]] == [1]
    assert [row["revision"] for row in anna.http.get(url).json()["revisions"]] == [1, 2]
    for filters in ({"state": "accepted"}, {"organ": "spleen"}):
        assert (first_item(anna, **filters)["revision"], first_item(anna, **filters)["organ"]) != (1, "liver")
    assert first_item(ben)["organ"] != "liver" or first_item(ben)["title"] != case
    assert as_told(ben, item)["state"] == "accepted"


def test_a_second_mask_is_kept_beside_the_first_and_changes_nothing(again: Served) -> None:
    anna = again.reviewer("anna")
    first, second = box_mask(1, 1, 1, 5, 5, 5), box_mask(1, 1, 1, 5, 6, 5)
    assert anna.put("b", "liver", first).status_code == 200
    busy(anna)
    said, progress = cells(again.folder), anna.http.get("/api/progress").json()
    judged = again.desk.ledger.judged()
    assert (progress["repeated"], progress["alike"]) == (0, None)
    answer = anna.put("b", "liver", second, base=1, key="the-second-answer")
    assert answer.status_code == 200
    made = answer.json()
    assert (made["source"], made["state"], made["parent"], made["kept"]) == (REPEAT, "corrected", 1, True)
    expected = 2 * (first & second).sum() / (first.sum() + second.sum())
    told = anna.http.get("/api/progress").json()
    assert (told["repeated"], told["alike"]) == (1, pytest.approx(expected, abs=1e-3))
    assert anna.put("b", "liver", second, base=1, key="the-second-answer").json() == made
    assert {**told, "repeated": 0, "alike": None} == progress
    assert cells(again.folder) == said
    assert np.array_equal(stored(again.folder, "b", "liver"), first)
    assert np.array_equal(anna.mask("b", "liver", made["revision"]), second)
    assert anna.head("b", "liver")["revision"] == 2
    assert again.desk.ledger.judged() == judged
    item = first_item(anna)
    assert (item["title"], item["organ"]) != ("b", "liver")  # not a third time
    assert anna.put("b", "liver", second, base=1).status_code == 412  # now it is stale as any other


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ("accept", "accept", 1.0),
        ("accept", "absent", 0.0),
        ("accept", "reject", 0.0),
        ("reject", "reject", 1.0),
        ("reject", "accept", 0.0),
        ("absent", "absent", 1.0),
        ("absent", "accept", 0.0),
    ],
)
def test_decisions_are_compared(again: Served, first: str, second: str, alike: float) -> None:
    anna = again.reviewer("anna")
    assert anna.decide("b", "liver", first).status_code == 200
    busy(anna)
    said = cells(again.folder)
    assert anna.decide("b", "liver", second, base=1).json()["source"] == REPEAT
    assert anna.http.get("/api/progress").json()["alike"] == alike
    assert cells(again.folder) == said
    assert anna.head("b", "liver")["revision"] == 2


def test_a_flag_is_never_only_kept(again: Served) -> None:
    """Somebody should look at it: that is no second answer."""
    anna = again.reviewer("anna")
    anna.decide("b", "liver", "accept")
    busy(anna)
    asked = {"base": 1, "note": "odd", "key": "flagged-once"}
    made = anna.decide("b", "liver", "flag", **asked)
    assert (made.status_code, made.json()["source"], made.json()["kept"]) == (200, "review", False)
    assert anna.head("b", "liver")["state"] == "flagged"
    assert anna.decide("b", "liver", "flag", **asked).json() == made.json()
    assert anna.http.get("/api/progress").json()["repeated"] == 0


def test_what_cannot_be_a_second_answer_is_refused(again: Served) -> None:
    anna = again.reviewer("anna")
    anna.decide("b", "liver", "accept")
    busy(anna)
    assert anna.decide("b", "liver", "reopen", base=1).status_code == 409
    assert anna.put("b", "liver", LIVER * 0, base=1).status_code == 409
    assert first_item(anna)["organ"] == "liver"


def test_a_proposal_that_somebody_else_decided_meanwhile_does_not_come_again(again: Served) -> None:
    anna, ben = again.reviewer("anna"), again.reviewer("ben")
    anna.decide("b", "liver", "accept")
    busy(anna)
    assert first_item(anna)["organ"] == "liver"
    ben.decide("b", "liver", "reject")
    assert anna.decide("b", "liver", "accept", base=1).status_code == 412
    assert (first_item(anna)["title"], first_item(anna)["organ"]) != ("b", "liver")


def test_a_review_with_repeats_is_whole(folder: Path) -> None:
    with serving(folder, repeats=1.0) as running:
        anna = running.reviewer("anna")
        anna.put("b", "liver", box_mask(1, 1, 1, 5, 5, 5))
        anna.decide("c", "liver", "accept")
        busy(anna, APART + 1)
        assert anna.put("b", "liver", box_mask(2, 2, 2, 5, 5, 5), base=1).status_code == 200
        assert anna.decide("c", "liver", "accept", base=1).json()["source"] == REPEAT
    assert verify(folder).faults == []


def test_none_comes_again_where_none_is_asked_for(folder: Path) -> None:
    with serving(folder, repeats=0.0) as running:
        anna = running.reviewer("anna")
        anna.decide("b", "liver", "accept")
        busy(anna)
        assert anna.decide("b", "liver", "accept", base=1).status_code == 412
        assert anna.http.get("/api/progress").json()["repeated"] == 0
