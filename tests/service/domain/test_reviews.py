from typing import Any

import pytest

from service.contract.feedback import FeedbackCreate
from service.contract.reviews import GoldenCreate, Review, ReviewCreate, ReviewQueue, Verdict
from service.contract.users import UserCreate
from service.db import tables
from service.domain import feedback, golden_items, review_queue, reviewers, reviews, signal, users
from service.domain.keys import Caller
from service.domain.readiness import left_out
from service.errors import BadInput, Conflict
from tests.service.domain.conftest import World


def numbers(twice: bool, count: int, start: int = 1) -> list[int]:
    """Answers that one person's verdict decides, or two people's."""
    every = range(start, start + 500)
    fitting = (
        n for n in every if review_queue._one_in(review_queue.TWICE, "twice", f"chatcmpl-{n}") == twice
    )
    return [next(fitting) for _ in range(count)]


ONCE, TWICE = numbers(False, 8), numbers(True, 8)


async def reviewer(world: World, name: str) -> Caller:
    async with world.database.writing() as session:
        user = await users.create_user(session, UserCreate(name=name, role="reviewer"))
    return Caller(user.id, user.name, user.role, "key", "api")


@pytest.fixture
async def team(world: World) -> list[Caller]:
    return [await reviewer(world, name) for name in ("Rita", "Sam", "Tove", "Uli")]


async def say(world: World, number: int, by: Caller | None = None, **said: Any) -> str:
    """Feedback on a new answer; its id."""
    completion = await world.answer(number)
    async with world.database.writing() as session:
        given = await feedback.give(
            session, by or world.user, FeedbackCreate(completion_id=completion, **said)
        )
        return given.id


async def correct(world: World, number: int, by: Caller | None = None) -> str:
    return await say(world, number, by, type="correction", correction=f"better {number}")


async def queue(world: World, caller: Caller) -> ReviewQueue:
    await world.sort()
    async with world.database.reading() as session:
        waiting = await review_queue.waiting_for(session, caller)
    async with world.database.writing() as session:
        return await reviews.next_item(session, world.store, caller, waiting)


async def judge(world: World, caller: Caller, number: int, verdict: Verdict, **more: Any) -> Review:
    more |= {"skip_reason": "unclear"} if verdict == "skip" else {}
    more |= {"correction": f"best {number} by {caller.name}"} if verdict == "correct" else {}
    wanted = ReviewCreate(completion_id=f"chatcmpl-{number}", verdict=verdict, **more)
    async with world.database.writing() as session:
        return (await reviews.shown(session, [await reviews.give(session, caller, wanted)]))[0]


async def undo(world: World, caller: Caller, review: Review) -> Review:
    async with world.database.writing() as session:
        return (await reviews.shown(session, [await reviews.undo(session, caller, review.id)]))[0]


async def golden(world: World, caller: Caller, number: int, expected: Any = "approve") -> None:
    async with world.database.writing() as session:
        await golden_items.put(session, caller, f"chatcmpl-{number}", GoldenCreate(expected=expected))


async def learnt(world: World) -> tuple[list[str], dict[str, int]]:
    """The chosen answers of the pairs that would train, and what is left out."""
    await world.sort()
    async with world.database.reading() as session:
        excluded = left_out((await signal.counts(session, "desk"))["dpo"], share=1)
    try:
        rows = await world.rows(await world.freeze("dpo", share=1))
    except BadInput:
        rows = []
    return [row["preferred_output"][0]["content"] for row in rows], excluded


async def shown_next(world: World, caller: Caller) -> tuple[str, str] | None:
    item = (await queue(world, caller)).item
    return (item.completion_id.removeprefix("chatcmpl-"), item.why) if item else None


# What waits, and why


async def test_an_answer_comes_with_what_was_said_of_it_and_why_it_is_shown(world: World, team: list[Caller]):
    await say(world, ONCE[0], type="rating", rating=-1, reasons=["wrong"], comment="Since May it is less.")
    found = await queue(world, team[0])
    assert found.item is not None
    assert (found.item.why, found.waiting, found.item.question) == ("low_rated", 1, f"question {ONCE[0]}")
    (said,) = found.item.said
    assert (said.rating, said.reasons, said.comment) == (-1, ["wrong"], "Since May it is less.")
    assert world.user.name not in found.model_dump_json()


async def test_what_may_teach_most_comes_first(world: World, team: list[Caller]):
    await say(world, ONCE[0], type="rating", rating=-1)
    await correct(world, ONCE[1])
    await correct(world, TWICE[0])
    await judge(world, team[1], TWICE[0], "approve")
    await judge(world, team[2], TWICE[0], "reject")
    order = []
    for _ in range(3):
        number, why = await shown_next(world, team[0]) or ("", "")
        order.append((int(number), why))
        await judge(world, team[0], int(number), "approve")
    assert order == [(TWICE[0], "disagreement"), (ONCE[1], "correction"), (ONCE[0], "low_rated")]
    assert await shown_next(world, team[0]) is None


async def test_much_is_looked_through_in_pages_and_what_is_beyond_is_told_but_not_counted(
    world: World, team: list[Caller], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(review_queue, "PAGE", 2)
    monkeypatch.setattr(review_queue, "FEW", 1)
    mine, others = ONCE[:5], ONCE[5:8]
    # Said first, so it comes first, and two pages and a half of it are not for this person.
    for number in mine:
        await correct(world, number, team[0])
    for number in others:
        await correct(world, number)
    found = await queue(world, team[0])
    assert found.item is not None
    assert found.item.completion_id == f"chatcmpl-{others[0]}"
    assert (found.waiting, found.own, found.more) == (1, 5, True)
    found = await queue(world, team[1])
    assert (found.waiting, found.own, found.more) == (2, 0, True)
    for number in others:
        await judge(world, team[0], number, "approve")
    found = await queue(world, team[0])
    assert (found.item, found.waiting, found.own, found.more) == (None, 0, 5, False)


async def test_one_in_a_few_of_those_rated_up_is_judged_at_random(world: World, team: list[Caller]):
    drawn = [n for n in range(1, 12) if review_queue._one_in(review_queue.AUDIT, "audit", f"chatcmpl-{n}")]
    for number in range(1, 12):
        await say(world, number, type="rating", rating=1)
    found = await queue(world, team[0])
    assert 0 < found.waiting == len(drawn) < 11
    assert found.item is not None
    assert found.item.why == "audit"


async def test_a_tie_waits_for_nobody(world: World, team: list[Caller]):
    same = [{"role": "user", "content": "which?"}]
    for number in ONCE[:2]:
        await world.answer(number, messages=same)
    wanted = FeedbackCreate(
        completion_id=f"chatcmpl-{ONCE[0]}", type="preference", preference="tie",
        preferred_completion_id=f"chatcmpl-{ONCE[1]}",
    )  # fmt: skip
    async with world.database.writing() as session:
        await feedback.give(session, world.user, wanted)
    assert await shown_next(world, team[0]) is None


async def test_all_that_waits_is_counted_for_each_person_though_few_are_looked_at(
    world: World, team: list[Caller]
):
    count = review_queue.FEW + 3
    for number in numbers(False, count - 2):
        await correct(world, number)
    await correct(world, TWICE[0])
    await correct(world, TWICE[1], team[1])
    assert (await queue(world, team[0])).waiting == count
    await judge(world, team[0], TWICE[0], "approve")
    found = {person.name: await queue(world, person) for person in team[:3]}
    assert {name: (one.waiting, one.own) for name, one in found.items()} == {
        "Rita": (count - 1, 0), "Sam": (count - 2, 1), "Tove": (count - 2, 0),
    }  # fmt: skip
    shown = [one.item.completion_id for one in found.values() if one.item]
    assert shown == [f"chatcmpl-{number}" for number in numbers(False, 3)]


async def test_who_changes_their_mind_about_two_answers_leaves_one_of_them_waiting(
    world: World, team: list[Caller]
):
    same = [{"role": "user", "content": "which?"}]
    first, second = [await world.answer(number, messages=same) for number in ONCE[:2]]
    for loser, winner in ((first, second), (second, first)):
        wanted = FeedbackCreate(completion_id=loser, type="preference", preferred_completion_id=winner)
        async with world.database.writing() as session:
            await feedback.give(session, world.user, wanted)
        found = await queue(world, team[0])
        assert found.item is not None
        assert (found.waiting, found.item.completion_id) == (1, loser)


# Who judges


async def test_two_people_are_not_shown_the_same(world: World, team: list[Caller]):
    await correct(world, ONCE[0])
    await correct(world, ONCE[1])
    first, second = [await shown_next(world, person) for person in team[:2]]
    assert first != second
    assert await shown_next(world, team[0]) == first
    assert await shown_next(world, team[2]) is None
    with pytest.raises(Conflict, match="somebody else is judging"):
        await judge(world, team[1], ONCE[0], "approve")


async def test_two_who_look_at_the_same_moment_get_one_each(world: World, team: list[Caller]):
    await correct(world, ONCE[0])
    await correct(world, ONCE[1])
    await world.sort()
    async with world.database.reading() as session:
        seen = [await review_queue.waiting_for(session, person) for person in team[:3]]
    got = []
    for person, waiting in zip(team, seen, strict=False):
        async with world.database.writing() as session:
            held = await review_queue.reserve(session, person, waiting)
            got.append(held and held.completion_id)
    assert got == [f"chatcmpl-{ONCE[0]}", f"chatcmpl-{ONCE[1]}", None]


async def test_a_reservation_runs_out(world: World, team: list[Caller]):
    await correct(world, ONCE[0])
    mine = await shown_next(world, team[0])
    async with world.database.writing() as session:
        held = await session.get_one(tables.ReviewReservation, f"chatcmpl-{ONCE[0]}")
        held.expires_at = 1.0
    assert await shown_next(world, team[1]) == mine


async def test_nobody_judges_what_they_said_themselves(world: World, team: list[Caller]):
    await correct(world, ONCE[0], team[0])
    found = await queue(world, team[0])
    assert (found.item, found.waiting, found.own) == (None, 0, 1)
    assert await shown_next(world, team[1]) == (str(ONCE[0]), "correction")


async def test_nobody_judges_twice_and_one_verdict_is_enough_for_most(world: World, team: list[Caller]):
    await correct(world, ONCE[0])
    await correct(world, TWICE[0])
    await judge(world, team[0], ONCE[0], "approve")
    await judge(world, team[0], TWICE[0], "approve")
    with pytest.raises(Conflict):
        await judge(world, team[0], TWICE[0], "approve")
    assert await shown_next(world, team[0]) is None
    assert await shown_next(world, team[1]) == (str(TWICE[0]), "correction")
    await judge(world, team[1], TWICE[0], "approve")
    assert await shown_next(world, team[2]) is None


async def test_who_skips_leaves_it_to_another(world: World, team: list[Caller]):
    await correct(world, ONCE[0])
    skipped = await judge(world, team[0], ONCE[0], "skip")
    assert (skipped.outcome, skipped.skip_reason) == (None, "unclear")
    assert await shown_next(world, team[0]) is None
    assert await shown_next(world, team[1]) == (str(ONCE[0]), "correction")


async def test_others_verdicts_are_read_only_beside_ones_own(world: World, team: list[Caller]):
    await correct(world, TWICE[0])
    alone = await judge(world, team[0], TWICE[0], "correct", comment="Not quite.")
    assert alone.others == []
    item = (await queue(world, team[1])).item
    assert item is not None
    assert "by Rita" not in item.model_dump_json()
    assert "Not quite" not in item.model_dump_json()
    both = await judge(world, team[1], TWICE[0], "reject")
    assert [(one.name, one.verdict, one.comment) for one in both.others] == [
        ("Rita", "correct", "Not quite.")
    ]


async def test_a_third_person_decides_between_two(world: World, team: list[Caller]):
    await correct(world, TWICE[0])
    await judge(world, team[0], TWICE[0], "approve")
    second = await judge(world, team[1], TWICE[0], "reject")
    assert second.outcome == "disputed"
    assert await learnt(world) == ([], {"disputed": 1})
    assert await shown_next(world, team[0]) is None
    assert await shown_next(world, team[2]) == (str(TWICE[0]), "disagreement")
    third = await judge(world, team[2], TWICE[0], "approve")
    assert (third.outcome, len(third.others)) == ("approve", 2)
    assert await learnt(world) == ([f"better {TWICE[0]}"], {})
    assert await shown_next(world, team[3]) is None


async def test_of_three_who_all_differ_the_last_decides(world: World, team: list[Caller]):
    await correct(world, TWICE[0])
    await judge(world, team[0], TWICE[0], "approve")
    await judge(world, team[1], TWICE[0], "reject")
    third = await judge(world, team[2], TWICE[0], "correct")
    assert third.outcome == "correct"
    assert (await learnt(world))[0] == [f"best {TWICE[0]} by Tove"]


# What a verdict does


async def test_what_is_rejected_does_not_train_and_what_is_approved_does(world: World, team: list[Caller]):
    for number in ONCE[:3]:
        await correct(world, number)
    await judge(world, team[0], ONCE[0], "approve")
    await judge(world, team[0], ONCE[1], "reject")
    assert await learnt(world) == ([f"better {ONCE[0]}", f"better {ONCE[2]}"], {"rejected": 1})


async def test_what_holds_personal_data_does_not_train_whoever_says_so(world: World, team: list[Caller]):
    await correct(world, ONCE[0])
    await correct(world, ONCE[1])
    await judge(world, team[0], ONCE[0], "approve", personal_data=True)
    await judge(world, team[0], ONCE[1], "skip", personal_data=True)
    assert await learnt(world) == ([], {"personal_data": 2})
    assert await shown_next(world, team[1]) is None


async def test_a_reviewers_correction_trains_in_place_of_the_other(world: World, team: list[Caller]):
    await correct(world, ONCE[0])
    given = await judge(world, team[0], ONCE[0], "correct")
    assert given.feedback_id is not None
    assert await learnt(world) == ([f"best {ONCE[0]} by Rita"], {"replaced": 1})


async def test_a_preference_whose_either_answer_is_withheld_does_not_train(world: World, team: list[Caller]):
    same = [{"role": "user", "content": "which?"}]
    for number in ONCE[:2]:
        await world.answer(number, messages=same)
    loser, winner = (f"chatcmpl-{number}" for number in ONCE[:2])
    async with world.database.writing() as session:
        wanted = FeedbackCreate(completion_id=loser, type="preference", preferred_completion_id=winner)
        await feedback.give(session, world.user, wanted)
        rated = FeedbackCreate(completion_id=winner, type="rating", rating=-1)
        await feedback.give(session, world.user, rated)
    assert len((await learnt(world))[0]) == 1
    await judge(world, team[0], ONCE[1], "reject")
    assert await learnt(world) == ([], {"rejected": 1})


async def test_a_verdict_can_be_undone_with_its_correction(world: World, team: list[Caller]):
    await correct(world, ONCE[0])
    given = await judge(world, team[0], ONCE[0], "correct")
    undone = [await undo(world, team[0], given) for _ in range(2)]
    assert [one.undone for one in undone] == [True, True]
    assert (await learnt(world))[0] == [f"better {ONCE[0]}"]
    assert await shown_next(world, team[0]) == (str(ONCE[0]), "correction")


async def test_who_undoes_after_reading_the_others_does_not_judge_again(world: World, team: list[Caller]):
    await correct(world, TWICE[0])
    await judge(world, team[0], TWICE[0], "approve")
    given = await judge(world, team[1], TWICE[0], "reject")
    undone = await undo(world, team[1], given)
    assert undone.others == []
    assert await shown_next(world, team[1]) is None
    assert await shown_next(world, team[2]) == (str(TWICE[0]), "correction")


async def test_what_is_said_after_a_verdict_is_judged_anew(world: World, team: list[Caller]):
    await correct(world, ONCE[0])
    await judge(world, team[0], ONCE[0], "reject")
    wanted = FeedbackCreate(completion_id=f"chatcmpl-{ONCE[0]}", type="correction", correction="second try")
    async with world.database.writing() as session:
        await feedback.give(session, world.user, wanted)
    assert await shown_next(world, team[0]) == (str(ONCE[0]), "correction")
    assert (await learnt(world))[0] == ["second try"]


# What is agreed on beforehand


async def test_a_golden_answer_is_not_known_until_it_is_judged_and_never_trains(
    world: World, team: list[Caller]
):
    await correct(world, ONCE[0])
    await golden(world, world.admin, ONCE[0], "reject")
    assert await learnt(world) == ([], {"golden": 1})
    assert await shown_next(world, world.admin) is None
    for person in team[1:3]:
        assert await shown_next(world, person) == (str(ONCE[0]), "audit")
        async with world.database.reading() as session:
            assert await golden_items.list_known(session, person) == []
        given = await judge(world, person, ONCE[0], "correct" if person is team[1] else "reject")
        assert (given.why, given.expected, given.feedback_id) == ("golden", "reject", None)
    async with world.database.reading() as session:
        (known,) = await golden_items.list_known(session, team[1])
        found = await reviewers.agreement(session, assistant="desk")
    assert (known.judged, known.as_expected) == (2, 1)
    assert {one.name: (one.golden, one.as_expected) for one in found.people} == {
        "Sam": (1, 0),
        "Tove": (1, 1),
    }
    assert (await learnt(world))[0] == []


async def test_a_golden_answer_comes_after_every_few_others(world: World, team: list[Caller]):
    await world.answer(900)
    await golden(world, world.admin, 900)
    for number in numbers(False, 6, start=1):
        await correct(world, number)
    order = []
    for _ in range(7):
        number, _ = await shown_next(world, team[0]) or ("", "")
        order.append(int(number))
        await judge(world, team[0], int(number), "approve")
    assert order.index(900) == review_queue.GOLDEN_EVERY - 1


async def test_an_agreed_verdict_is_not_changed_in_silence(world: World, team: list[Caller]):
    await correct(world, ONCE[0])
    await judge(world, team[0], ONCE[0], "reject")
    await golden(world, team[0], ONCE[0], "reject")
    await golden(world, team[0], ONCE[0], "reject")
    await judge(world, team[1], ONCE[0], "approve")
    with pytest.raises(Conflict, match="Another verdict"):
        await golden(world, team[1], ONCE[0], "approve")
    async with world.database.writing() as session:
        await golden_items.remove(session, f"chatcmpl-{ONCE[0]}")
    async with world.database.reading() as session:
        assert await golden_items.list_known(session, team[0]) == []


async def test_agreeing_on_a_verdict_does_not_tell_that_one_is_agreed_on_already(
    world: World, team: list[Caller]
):
    for number in ONCE[:3]:
        await correct(world, number)
    await golden(world, world.admin, ONCE[0], "reject")
    await judge(world, team[0], ONCE[2], "skip")
    said: set[tuple[str, str | None]] = set()
    for number in ONCE[:3]:  # one that is golden, one that is not, one that was skipped
        for expected in ("approve", "reject"):
            with pytest.raises(Conflict) as refused:
                await golden(world, team[0], number, expected)
            said.add((refused.value.message, refused.value.code))
    ((_, code),) = said
    assert code == "golden_unjudged"


# How alike they judge


async def test_agreement_is_told_over_all_by_topic_and_by_pair(world: World, team: list[Caller]):
    verdicts: list[tuple[Verdict, Verdict]] = [
        ("approve", "approve"), ("approve", "approve"), ("reject", "reject"), ("reject", "approve"),
    ]  # fmt: skip
    for number, (first, second) in zip(TWICE, verdicts, strict=False):
        topic = {"topic": "leave"} if number in TWICE[:2] else {}
        await world.answer(number, metadata_=topic)
        async with world.database.writing() as session:
            wanted = FeedbackCreate(completion_id=f"chatcmpl-{number}", type="rating", rating=-1)
            await feedback.give(session, world.user, wanted)
        await judge(world, team[0], number, first)
        await judge(world, team[1], number, second)
    async with world.database.reading() as session:
        found = await reviewers.agreement(session, assistant=None)
    # 8 values: 5 approve, 3 reject; one unit differs: 1 - 7 * 2 / (2 * 15).
    assert (found.items, found.alpha) == (4, pytest.approx(1 - 14 / 30))
    assert {one.topic: (one.items, one.alpha) for one in found.topics} == {
        "leave": (2, None), "desk": (2, pytest.approx(1 - 3 * 2 / 6)),
    }  # fmt: skip
    (pair,) = found.pairs
    # Both agree on 3 of 4; by chance 2/4 * 3/4 + 2/4 * 1/4 = 1/2.
    assert (pair.names, pair.items, pair.same, pair.kappa) == (["Rita", "Sam"], 4, 3, pytest.approx(0.5))


async def test_agreement_is_of_the_last_verdicts_alone(
    world: World, team: list[Caller], monkeypatch: pytest.MonkeyPatch
):
    verdicts: list[Verdict] = ["reject", "approve"]
    for number, second in zip(TWICE, verdicts, strict=False):
        await correct(world, number)
        await judge(world, team[0], number, "approve")
        await judge(world, team[1], number, second)
    async with world.database.reading() as session:
        everything = await reviewers.agreement(session, assistant="desk")
        monkeypatch.setattr(reviewers, "LAST_VERDICTS", 2)
        last = await reviewers.agreement(session, assistant="desk")
    assert [(pair.items, pair.same) for found in (everything, last) for pair in found.pairs] == [
        (2, 1),
        (1, 1),
    ]
    assert [sum(one.judged for one in found.people) for found in (everything, last)] == [4, 2]


async def test_nothing_waits_says_what_was_done(world: World, team: list[Caller]):
    for number in ONCE[:3]:
        await correct(world, number)
        await judge(world, team[0], number, "approve")
    found = await queue(world, team[0])
    assert (found.item, found.waiting, found.judged, found.judged_this_week) == (None, 0, 3, 3)
