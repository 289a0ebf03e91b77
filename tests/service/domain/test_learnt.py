import asyncio

import pytest

from service.contract.datasets import Kind
from service.contract.feedback import FeedbackCreate
from service.contract.learnt import LearntList
from service.contract.splits import Side, split_of
from service.db import tables
from service.domain import assistants, feedback
from service.domain.learnt import learnt
from tests.service.domain.conftest import World


async def correct(world: World, number: int, text: str = "better") -> str:
    return await world.say(await world.answer(number), type="correction", correction=text)


async def release_of(
    world: World, number: int, kind: Kind = "dpo", *, live: bool = True, uploaded_again: Side | None = None
) -> None:
    """Freeze the feedback, and write down that a job made a release of it, or of one of its files brought again."""
    dataset = await world.freeze(kind)
    file = dataset.training_file
    if uploaded_again is not None:
        named = dataset.validation_file if uploaded_again == "held_out" else file
        async with world.database.reading() as session:
            frozen = await session.get_one(tables.File, named)
        content = await asyncio.to_thread(world.store.file(frozen.sha256).read_bytes)
        file = await world.add_file(content, kind)
    async with world.database.writing() as session:
        job = tables.Job(
            id=f"ftjob-{number}", kind=kind, status="succeeded", user_id=world.admin.user_id, request={},
            settings={}, model="base", training_file=file, assistant="desk",
            adapter=f"digest-{number}", created_at=1,
        )  # fmt: skip
        adapter = tables.Adapter(
            digest=f"digest-{number}", model=f"ft:{number}", job_id=job.id, user_id=world.admin.user_id, manifest={},
            proof={}, report={}, bytes=1, created_at=1,
        )  # fmt: skip
        release = tables.Release(
            id=f"rel-{number}",
            assistant="desk",
            number=number,
            adapter=adapter.digest,
            job_id=job.id,
            created_at=1,
        )
        for row in (job, adapter, release):
            session.add(row)
            await session.flush()
        assistant = await assistants.get_assistant(session, "desk")
        assistant.live_release_id = release.id if live else None


async def changed(world: World) -> LearntList:
    async with world.database.reading() as session:
        return await learnt(session, world.user, limit=20)


def in_training(numbers: range) -> list[int]:
    return [number for number in numbers if split_of(f"conv-{number}") == "train"]


async def test_feedback_waits_until_a_release_has_learnt_from_it(world: World):
    number = in_training(range(1, 20))[0]
    given = await correct(world, number, "the better answer")
    found = await changed(world)
    assert (found.learnt, found.waiting) == ([], 1)
    await release_of(world, 1)
    found = await changed(world)
    assert found.waiting == 0
    (one,) = found.learnt
    assert (one.feedback_id, one.release, one.live, one.now) == (given, 1, True, None)
    assert one.correction == "the better answer"
    assert one.then.answer == f"answer {number}"


@pytest.mark.parametrize("side", ["train", "held_out"])
async def test_a_release_learnt_from_what_stands_in_the_file_that_its_job_was_given_whoever_brought_it(
    world: World, side: Side
):
    numbers = {number: split_of(f"conv-{number}") for number in range(1, 13)}
    assert set(numbers.values()) == {"train", "held_out"}
    given = {number: await correct(world, number) for number in numbers}
    await release_of(world, 1, uploaded_again=side)
    found = await changed(world)
    taught = {given[number] for number, stands in numbers.items() if stands == side}
    assert {one.feedback_id for one in found.learnt if one.live} == taught
    assert found.waiting == len(given) - len(taught)


async def test_the_answer_now_is_the_newest_of_a_release_that_learnt(world: World):
    first, second = in_training(range(1, 20))[:2]
    await correct(world, first, "the better answer")
    await release_of(world, 1)
    asked = [{"role": "user", "content": f"question {first}"}]
    later = {"messages": asked, "created_at": 1000.0}
    await world.answer(100, **later, output="the old model again", release_number=None)
    assert (await changed(world)).learnt[0].now is None
    await world.answer(101, **later, output="the better answer", release_number=1)
    await world.answer(second, output="to another question", release_number=1)
    now = (await changed(world)).learnt[0].now
    assert now is not None
    assert (now.answer, now.release) == ("the better answer", 1)


async def test_a_release_that_is_not_live_is_named_as_such(world: World):
    await correct(world, in_training(range(1, 20))[0])
    await release_of(world, 1, live=False)
    assert (await changed(world)).learnt[0].live is False


async def test_the_first_release_that_learnt_is_named(world: World):
    first, second = in_training(range(1, 20))[:2]
    await correct(world, first)
    await release_of(world, 1)
    await correct(world, second)
    await release_of(world, 2)
    assert {one.question: one.release for one in (await changed(world)).learnt} == {
        f"question {first}": 1,
        f"question {second}": 2,
    }


async def test_nobody_sees_what_anothers_feedback_changed(world: World):
    await correct(world, in_training(range(1, 20))[0])
    await release_of(world, 1)
    async with world.database.reading() as session:
        assert (await learnt(session, world.admin, limit=10)).learnt == []


async def test_what_was_taken_back_no_longer_waits(world: World):
    given = await correct(world, 1)
    async with world.database.writing() as session:
        await feedback.retract(session, world.user, given)
        wanted = FeedbackCreate(completion_id="chatcmpl-1", type="rating", rating=1)
        await feedback.give(session, world.user, wanted)
    assert (await changed(world)).waiting == 1
