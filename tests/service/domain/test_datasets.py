import json

from service.contract.assistants import AssistantChange
from service.contract.feedback import FeedbackCreate
from service.domain import assistants, datasets, feedback
from service.domain.datasets import split_of
from tests.service.domain.conftest import World


async def correct(world: World, number: int, text: str = "better", **change) -> str:
    completion = await world.answer(number, **change)
    async with world.database.writing() as session:
        wanted = FeedbackCreate(completion_id=completion, type="correction", correction=text)
        return (await feedback.give(session, world.user, wanted)).id


async def rate(world: World, number: int, rating: int) -> str:
    completion = await world.answer(number)
    async with world.database.writing() as session:
        wanted = FeedbackCreate(completion_id=completion, type="rating", rating=rating)
        return (await feedback.give(session, world.user, wanted)).id


async def built(world: World, kind, cases: set[str] = frozenset()) -> datasets.Built:
    async with world.database.reading() as session:
        return await datasets.build(session, "desk", kind, cases=set(cases))


async def test_a_correction_makes_a_pair_that_leads_back_to_everything(world: World):
    given = await correct(world, 1, "the better answer", sampling={"temperature": 0.7})
    ((_, feedback_id, row),) = (await built(world, "dpo")).rows
    assert feedback_id == given
    assert row["input"]["messages"] == [{"role": "user", "content": "question 1"}]
    assert row["preferred_output"] == [{"role": "assistant", "content": "the better answer"}]
    assert row["non_preferred_output"] == [{"role": "assistant", "content": "answer 1"}]
    origin = row["tailorbird"]
    assert (origin["completion_id"], origin["feedback_id"], origin["adapter"]) == (
        "chatcmpl-1",
        given,
        "base",
    )
    assert origin["sampling"] == {"temperature": 0.7}
    assert origin["person"].startswith("p_")
    assert world.user.name not in json.dumps(row)


async def test_a_lone_thumb_makes_a_rated_completion_and_never_a_pair(world: World):
    await rate(world, 1, 1)
    await rate(world, 2, -1)
    assert (await built(world, "dpo")).rows == []
    assert [row["label"] for _, _, row in (await built(world, "kto")).rows] == [True, False]


async def test_what_was_taken_back_or_replaced_does_not_train(world: World):
    first = await correct(world, 1, "first try")
    async with world.database.writing() as session:
        wanted = FeedbackCreate(completion_id="chatcmpl-1", type="correction", correction="second try")
        await feedback.give(session, world.user, wanted)
    gone = await correct(world, 2)
    async with world.database.writing() as session:
        await feedback.retract(session, world.user, gone)
    rows = (await built(world, "dpo")).rows
    assert [row["preferred_output"][0]["content"] for _, _, row in rows] == ["second try"]
    assert rows[0][1] != first


async def test_what_must_not_train_is_left_out_and_counted_by_reason(world: World):
    await correct(world, 1, status="interrupted")
    await correct(world, 2, finish_reason="length")
    await correct(world, 3, text="answer 3")
    await correct(world, 4, sampling={"n": 2})
    await correct(world, 5)
    same = [{"role": "user", "content": "question 5"}]
    await correct(world, 6, messages=same, output="answer 5")
    await correct(world, 7)
    await correct(world, 8, sampling={"response_format": {"type": "json_object"}})
    result = await built(world, "dpo", cases={"question 7"})
    assert len(result.rows) == 1
    assert result.excluded == {
        "interrupted": 1, "truncated": 1, "unchanged": 1, "several_choices": 1, "duplicate": 1, "held_out_case": 1,
        "bound_answer": 1,
    }  # fmt: skip


async def test_a_conversation_is_wholly_in_training_or_wholly_held_out(world: World):
    for number in range(60):
        await correct(world, number, text=f"better {number}", conversation_id=f"conv-{number // 3}")
    splits: dict[str, set[str]] = {}
    for split, _, row in (await built(world, "dpo")).rows:
        splits.setdefault(row["tailorbird"]["conversation"], set()).add(split)
    assert all(len(found) == 1 for found in splits.values())
    assert {split for found in splits.values() for split in found} == {"train", "held_out"}
    assert all(found == {split_of(conversation)} for conversation, found in splits.items())


async def test_freezing_the_same_feedback_twice_gives_the_same_version(world: World):
    for number in range(12):
        await correct(world, number, text=f"better {number}")
    async with world.database.writing() as session:
        one = await datasets.freeze(session, world.store, world.admin, "desk", "dpo")
    async with world.database.writing() as session:
        two = await datasets.freeze(session, world.store, world.admin, "desk", "dpo")
    assert one.id == two.id
    assert one.rows + one.held_out == 12
    await correct(world, 99, text="one more")
    async with world.database.writing() as session:
        three = await datasets.freeze(session, world.store, world.admin, "desk", "dpo")
    assert (three.number, three.sha256 == one.sha256) == (2, False)


async def test_readiness_counts_and_says_what_is_missing(world: World):
    await correct(world, 1)
    await rate(world, 2, 1)
    async with world.database.reading() as session:
        ready = await datasets.readiness(session, world.store, "desk", needed=20)
    assert (ready.pairs, ready.rated, ready.up, ready.people, ready.ready) == (1, 1, 1, 1, False)
    assert ready.advice.startswith("1 of 20")


async def test_a_held_out_question_of_the_assistant_is_kept_out_by_itself(world: World):
    cases = b'{"question": "Question   1", "facts": ["x"]}\n'
    file = await world.add_file(cases, "cases")
    async with world.database.writing() as session:
        await assistants.change_assistant(session, "desk", AssistantChange(cases_file=file))
    await correct(world, 1)
    async with world.database.reading() as session:
        ready = await datasets.readiness(session, world.store, "desk", needed=1)
    assert (ready.pairs, ready.excluded) == (0, {"held_out_case": 1})
