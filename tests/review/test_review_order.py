"""The queue: most to gain for a minute first, an eighth at random, all of it where agreement tells nothing."""

from smiler.domain.judged import Judged
from smiler.domain.organs import Organ, OrganSet
from smiler.review.errors import Pair
from smiler.review.gain import Gain, learn
from smiler.review.order import Candidate, by_gain, candidates, trusted_volumes
from smiler.review.revisions import Revision
from smiler.review.states import State


def candidate(case: str, organ: str, state: State = State.PROPOSED, agreement: float | None = None) -> Candidate:
    head = Revision(case, organ, 1, state, "relabel", agreement=agreement)
    return Candidate(Pair(case, organ), None if state is State.MISSING else head)


ORDER = by_gain(Gain())


def many(organ: str, count: int) -> list[Candidate]:
    return [candidate(f"c{i:03d}", organ, agreement=i / count) for i in range(count)]


def test_most_to_gain_for_a_minute_comes_first() -> None:
    places = ORDER([*many("liver", 50), *many("spleen", 50)], {"liver": 7, "spleen": 2}, 0)
    sure = [place.candidate for place in places if "random" not in place.reason]
    value = {"liver": 1 / 7, "spleen": 1 / 2}
    gains = [(1 - (c.head.agreement or 0)) * value[c.pair.organ] for c in sure if c.head]
    assert gains == sorted(gains, reverse=True)
    assert places[0].reason == "the model agrees with itself to 0.00, about 0.3 min; 2 trusted volumes of this organ"


def test_of_equal_gain_the_quicker_one_comes_first() -> None:
    heads = [Revision("a", "liver", 1, State.PROPOSED, "relabel", agreement=0.5, unsure_cm2=area) for area in (900, 9)]
    found = [Candidate(Pair(name, "liver"), head) for name, head in zip("ab", heads, strict=True)]
    assert [place.candidate.pair.case for place in ORDER(found, {}, 0)] == ["b", "a"]


def test_a_calibrated_queue_tells_expected_dice_and_an_unfounded_one_says_that_it_is() -> None:
    seen = [Judged("liver", i / 30, 10.0, (i / 30) ** 2) for i in range(31)]
    (place,) = by_gain(learn(seen))([candidate("a", "liver", agreement=0.5)], {}, 0)
    assert abs((place.expected_dice or 0) - 0.25) < 0.05
    assert place.lane == "redo"
    doubted = by_gain(learn([Judged("liver", i / 30, 10.0, 1 - i / 30) for i in range(31)]))
    places = doubted(many("liver", 40), {}, 0)
    sure = [place for place in places if "random pick" not in place.reason]
    assert all("the organ's usual one: agreement tells nothing here" in place.reason for place in sure)
    assert {place.expected_dice for place in sure} == {sure[0].expected_dice}
    draws = [p.candidate.pair.case for p in sure]
    assert draws not in (sorted(draws), sorted(draws)[::-1])


def test_where_agreement_tells_nothing_the_worse_organ_comes_first() -> None:
    rows = [Judged(organ, i / 30, 10.0, dice) for organ, dice in (("liver", 0.9), ("spleen", 0.2)) for i in range(30)]
    rows += [Judged("liver", 0.0, 10.0, 1.0)] * 9
    gain = learn(rows)
    assert gain.doubted
    places = by_gain(gain)([*many("liver", 20), *many("spleen", 20)], {}, 0)
    sure = [place.candidate.pair.organ for place in places if "random pick" not in place.reason]
    assert sure == sorted(sure, reverse=True)


def test_an_organ_that_takes_long_waits() -> None:
    rows = [Judged(organ, 0.5, 10.0, 0.5, seconds) for organ, seconds in (("liver", 300), ("spleen", 20))] * 10
    order = by_gain(learn(rows))
    found = [candidate("a", "liver", agreement=0.5), candidate("a", "spleen", agreement=0.5)]
    assert [place.candidate.pair.organ for place in order(found, {}, 0)] == ["spleen", "liver"]


def test_where_nothing_is_proposed_what_was_found_and_how_long_it_took_counts() -> None:
    there = [Judged("aorta", None, 0.0, 0.0, 60)] * 10
    absent = [Judged("gallbladder", None, 0.0, 1.0, 60)] * 10
    (aorta, gallbladder) = by_gain(learn([*there, *absent]))(
        [candidate("b", organ, State.MISSING) for organ in ("gallbladder", "aorta")], {}, 0
    )
    assert (aorta.candidate.pair.organ, gallbladder.candidate.pair.organ) == ("aorta", "gallbladder")
    assert (aorta.expected_dice or 0) < 0.2 < 0.7 < (gallbladder.expected_dice or 0)
    assert (aorta.minutes or 0) < 3


def test_an_eighth_are_random_picks_spread_over_the_queue() -> None:
    places = ORDER(many("liver", 400), {}, 3)
    picks = [i for i, place in enumerate(places) if "random pick" in place.reason]
    assert 30 <= len(picks) <= 75
    assert all(i % 8 == 7 for i in picks[:20])
    assert sorted(p.candidate.pair.case for p in places) == [f"c{i:03d}" for i in range(400)]
    again = ORDER(many("liver", 400)[::-1], {}, 3)
    assert [p.candidate.pair for p in again] == [p.candidate.pair for p in places]
    other = ORDER(many("liver", 400), {}, 4)
    assert [p.candidate.pair for p in other] != [p.candidate.pair for p in places]


def test_who_always_takes_the_first_comes_by_random_picks_too() -> None:
    left, picks = many("liver", 200), []
    for number in range(120):
        first = ORDER(left, {"liver": number}, 3)[0]
        if "random pick" in first.reason:
            picks.append(number)
        left = [one for one in left if one.pair != first.candidate.pair]
    assert picks == list(range(7, 120, 8))


def of_cohort(organs: tuple[str, ...], *heads: Revision) -> list[Candidate]:
    cases = [f"c{i:03d}" for i in range(40)]
    known = OrganSet(tuple(map(Organ, organs)))
    return candidates(cases, known, {head.pair: head for head in heads})


def test_organs_that_no_model_proposes_wait_for_the_others() -> None:
    proposed = Revision("c000", "spleen", 1, State.PROPOSED, "relabel", agreement=0.99)
    expert = Revision("c001", "aorta", 1, State.EXPERT, "cohort")
    places = ORDER(of_cohort(("aorta", "spleen", "veins"), proposed, expert), {"spleen": 30}, 0)
    first = [place.candidate.pair.organ for place in places[:40]]
    assert set(first[:37]) == {"spleen"}, "a random pick or two may come behind"
    assert {place.candidate.pair.organ for place in places if "random pick" in place.reason} == {"spleen"}
    assert "this organ is not proposed anywhere" in next(p for p in places if p.candidate.pair.organ == "veins").reason
    assert len(places) == 120


def test_an_organ_stays_asked_for_when_its_proposals_are_decided() -> None:
    for state in (State.ACCEPTED, State.REJECTED, State.ABSENT, State.FLAGGED):
        found = of_cohort(("aorta", "spleen"), Revision("c000", "spleen", 2, state, "review"))
        assert {one.pair.organ for one in found if one.asked} == {"spleen"}


def test_where_nothing_is_proposed_at_all_every_organ_is_asked_for() -> None:
    assert all(one.asked for one in of_cohort(("aorta", "spleen")))
    assert all(
        one.asked for one in of_cohort(("aorta", "spleen"), Revision("c000", "aorta", 1, State.EXPERT, "cohort"))
    )


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
        (place,) = ORDER([candidate("a", "liver", state, agreement)], {}, 0)
        assert place.lane == lane
        assert place.reason


def test_trusted_are_experts_words_and_reviewers_but_not_rejections() -> None:
    states = [State.EXPERT, State.ACCEPTED, State.CORRECTED, State.ABSENT, State.REJECTED, State.FLAGGED]
    found = [candidate(f"c{i}", "liver", state) for i, state in enumerate(states)]
    assert trusted_volumes(found) == {"liver": 4}


def test_what_is_decided_comes_last() -> None:
    found = [candidate("a", "liver", State.FLAGGED), *many("spleen", 12), candidate("z", "liver", State.MISSING)]
    places = ORDER(found, {"spleen": 9}, 0)
    assert places[-1].candidate.state is State.FLAGGED
    assert State.MISSING in {place.candidate.state for place in places[:-1]}
