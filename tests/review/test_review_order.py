"""The queue: fewest trusted volumes first, then the least agreement, a tenth at random, and a reason for each."""

from smiler.review.errors import Pair
from smiler.review.order import Candidate, fewest_trusted_first, trusted_volumes
from smiler.review.revisions import Revision
from smiler.review.states import State


def candidate(case: str, organ: str, state: State = State.PROPOSED, agreement: float | None = None) -> Candidate:
    head = Revision(case, organ, 1, state, "relabel", agreement=agreement)
    return Candidate(Pair(case, organ), None if state is State.MISSING else head)


def many(organ: str, count: int) -> list[Candidate]:
    return [candidate(f"c{i:03d}", organ, agreement=i / count) for i in range(count)]


def test_the_organ_that_is_known_least_comes_first_then_the_least_agreement() -> None:
    places = fewest_trusted_first([*many("liver", 50), *many("spleen", 50)], {"liver": 7, "spleen": 2})
    sure = [place.candidate for place in places if "random" not in place.reason]
    assert [c.pair.organ for c in sure] == sorted((c.pair.organ for c in sure), reverse=True)
    spleens = [c.head.agreement for c in sure if c.pair.organ == "spleen" and c.head]
    assert spleens == sorted(spleens)  # type: ignore[type-var]
    assert places[0].reason == "2 trusted volumes of this organ; the model agrees with itself to 0.00"


def test_a_tenth_are_random_picks_spread_over_the_queue() -> None:
    places = fewest_trusted_first(many("liver", 400), {}, seed=3)
    picks = [i for i, place in enumerate(places) if "random pick" in place.reason]
    assert 20 <= len(picks) <= 60
    assert all(i % 10 == 9 for i in picks[:20])
    assert sorted(p.candidate.pair.case for p in places) == [f"c{i:03d}" for i in range(400)]
    again = fewest_trusted_first(many("liver", 400)[::-1], {}, seed=3)
    assert [p.candidate.pair for p in again] == [p.candidate.pair for p in places]
    other = fewest_trusted_first(many("liver", 400), {}, seed=4)
    assert [p.candidate.pair for p in other] != [p.candidate.pair for p in places]


def test_lanes_and_reasons() -> None:
    given = {
        ("fast", 0.95, State.PROPOSED),
        ("correct", 0.7, State.PROPOSED),
        ("correct", None, State.PROPOSED),
        ("redo", 0.2, State.PROPOSED),
        ("redo", None, State.MISSING),
        ("other", None, State.FLAGGED),
        ("other", None, State.EXPERT),
    }
    for lane, agreement, state in given:
        (place,) = fewest_trusted_first([candidate("a", "liver", state, agreement)], {})
        assert place.lane == lane
        assert place.reason


def test_trusted_are_experts_words_and_reviewers_but_not_rejections() -> None:
    states = [State.EXPERT, State.ACCEPTED, State.CORRECTED, State.ABSENT, State.REJECTED, State.FLAGGED]
    found = [candidate(f"c{i}", "liver", state) for i, state in enumerate(states)]
    assert trusted_volumes(found) == {"liver": 4}


def test_what_is_decided_comes_last() -> None:
    found = [candidate("a", "liver", State.FLAGGED), *many("spleen", 12), candidate("z", "liver", State.MISSING)]
    places = fewest_trusted_first(found, {"spleen": 9})
    assert places[-1].candidate.state is State.FLAGGED
    assert places[0].candidate.state is State.MISSING
