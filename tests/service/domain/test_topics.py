"""What answers are about, and what that says of a round."""

import json

from service.domain import assistants, reviewers, topics
from service.domain.readiness import more_people
from service.domain.signal import Counts
from tests.service.domain.conftest import World
from tests.service.domain.test_reviews import judge, queue, reviewer, undo


def test_a_reviewers_last_word_comes_before_the_callers_note_and_that_before_the_conversations():
    told = [
        ("a", "talk", None, None), ("b", "talk", "noted", None), ("c", None, None, None),
        ("a", "talk", None, "first"), ("a", "talk", None, "last"),
    ]  # fmt: skip
    assert topics.settled(told) == {"a": "last", "b": "noted"}
    assert topics.settled([*told, ("d", "talk", None, None), ("b", "talk", "noted", "said")]) == {
        "a": "last", "b": "said", "d": "said",
    }  # fmt: skip


async def test_a_reviewer_says_what_an_answer_is_about_and_its_conversation_with_it(world: World):
    lines = [
        {"question": f"held out {n}", "facts": ["f"], "topic": t} for n, t in enumerate(["tax", "general"])
    ]
    cases = await world.add_file("".join(json.dumps(line) + "\n" for line in lines).encode(), "cases")
    async with world.database.writing() as session:
        (await assistants.get_assistant(session, "desk")).cases_file = cases
    for number in range(4):
        talk = {"conversation_id": "conv-a"} if number < 3 else {"metadata_": {"topic": "visas"}}
        await world.say(await world.answer(number, **talk), type="correction", correction=f"better {number}")
    found = await world.readiness()
    assert [(one.topic, one.pairs) for one in found.topics] == [("tax", 0), ("visas", 1)]
    assert found.without_topic == 3
    rita = await reviewer(world, "Rita")
    item = (await queue(world, rita)).item
    assert item is not None
    assert (item.completion_id, item.topic, item.topics) == ("chatcmpl-0", None, ["tax"])
    given = await judge(world, rita, 0, "approve", topic="  boat   hire ")
    assert given.topic == "boat hire"
    found = await world.readiness()
    assert [(one.topic, one.pairs) for one in found.topics] == [("tax", 0), ("visas", 1), ("boat hire", 3)]
    assert found.without_topic == 0
    assert "The weakest topic is 'tax', with 0." in found.advice
    item = (await queue(world, rita)).item
    assert item is not None
    assert (item.topic, item.topics) == ("boat hire", ["boat hire", "tax"])
    async with world.database.reading() as session:
        once = await reviewers.agreement(session, assistant="desk")
    await judge(world, await reviewer(world, "Sam"), 0, "approve")
    async with world.database.reading() as session:
        twice = await reviewers.agreement(session, assistant="desk")
    assert [(one.topic, one.items) for found in (once, twice) for one in found.topics] == [
        ("boat hire", 0), ("boat hire", 1),
    ]  # fmt: skip
    await undo(world, rita, given)
    assert (await world.readiness()).without_topic == 3


def counts(kept: int, largest: int, people: int) -> Counts:
    of = {"reason": {"kept": kept}, "distinct": {"person": people}}
    return Counts(of, ("u", largest) if largest else None)


def test_more_people_are_needed_where_one_gives_nearly_everything():
    assert more_people(counts(86, 86, 1), 200, 0.5) == 5  # 100 rows of others, of whom each may give 20
    assert more_people(counts(86, 56, 3), 200, 0.5) == 5  # 70 rows, as the others gave 15 each
    assert more_people(counts(180, 90, 2), 200, 0.5) == 1
    assert more_people(counts(200, 100, 2), 200, 0.5) == 0
    assert more_people(counts(12, 12, 1), 20, 0.5) == 0  # so many everybody may give
    assert more_people(counts(86, 86, 1), 200, 1) == 0
    assert more_people(counts(0, 0, 0), 200, 0.5) == 0
