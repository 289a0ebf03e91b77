import hashlib
import json
from collections import Counter

import pytest

from service import outcomes
from service.contract import folder
from service.contract.assistants import AssistantChange, AssistantCreate
from service.contract.splits import SplitCreate, split_of
from service.db import tables
from service.domain import assistants, material, splits
from service.errors import BadInput
from service.settings import Settings
from tests.service.domain.conftest import World


async def correct(world: World, number: int, text: str = "better", who=None, **change) -> str:
    return await world.say(
        await world.answer(number, **change), who or world.admin, type="correction", correction=text
    )


async def rate(world: World, number: int, rating: int) -> str:
    return await world.say(await world.answer(number), type="rating", rating=rating)


async def test_a_correction_makes_a_pair_that_leads_back_to_everything(world: World):
    given = await correct(world, 1, "the better answer", world.user, sampling={"temperature": 0.7})
    (row,) = await world.rows(await world.freeze("dpo"))
    assert row["input"]["messages"] == [{"role": "user", "content": "question 1"}]
    assert row["preferred_output"] == [{"role": "assistant", "content": "the better answer"}]
    assert row["non_preferred_output"] == [{"role": "assistant", "content": "answer 1"}]
    origin = row["tailorbird"]
    assert (origin["completion_id"], origin["feedback_id"]) == ("chatcmpl-1", given)
    assert (origin["adapter"], origin["sampling"]) == ("base", {"temperature": 0.7})
    assert origin["person"].startswith("p_")
    assert world.user.name not in json.dumps(row)


async def test_a_lone_thumb_makes_a_rated_completion_and_never_a_pair(world: World):
    await rate(world, 1, 1)
    await rate(world, 2, -1)
    with pytest.raises(BadInput, match="no usable feedback"):
        await world.freeze("dpo")
    assert [row["label"] for row in await world.rows(await world.freeze("kto"))] == [True, False]


async def test_what_was_taken_back_or_replaced_does_not_train(world: World):
    await correct(world, 1, "first try")
    await world.sort()
    await world.say("chatcmpl-1", world.admin, type="correction", correction="second try")
    await world.retract(await correct(world, 2), world.admin)
    (row,) = await world.rows(await world.freeze("dpo"))
    assert row["preferred_output"][0]["content"] == "second try"


async def test_a_conversation_is_wholly_in_training_or_wholly_held_out(world: World):
    await world.correct(range(60), conversation_id=lambda number: f"conv-{number // 3}")
    dataset = await world.freeze("dpo")
    assert (dataset.rows + dataset.held_out, dataset.held_out > 0) == (60, True)
    async with world.database.reading() as session:
        train = await session.get_one(tables.File, dataset.training_file)
        held_out = await session.get_one(tables.File, dataset.validation_file)
        for file, said in ((train, "frozen from feedback"), (held_out, "held out itself")):
            with pytest.raises(BadInput, match=said):
                await splits.spec_of(session, world.store, file, SplitCreate())
    assert held_out.parted is not None
    assert (held_out.parted["of"], held_out.parted["by"]) == (train.id, "conversation")
    learned = {
        json.loads(line)["tailorbird"]["conversation"] for line in open(world.store.file(train.sha256))
    }
    assert learned == {f"conv-{n}" for n in range(20) if split_of(f"conv-{n}") == "train"}


async def test_split_by_person_keeps_all_conversations_of_one_together(world: World):
    people = [f"user_{n}" for n in range(12)]
    async with world.database.writing() as session:
        session.add_all(
            tables.User(id=one, name=one, role="user", active=True, created_at=1) for one in people
        )
    await world.correct(range(36), user_id=lambda number: people[number % 12])
    dataset = await world.freeze("dpo", split_by="person")
    held_out = {one for one in people if split_of(one) == "held_out"}
    assert held_out
    assert dataset.held_out == 3 * len(held_out)
    assert dataset.split_by == "person"


async def test_answers_without_a_conversation_stay_together_by_their_first_question(world: World):
    first = [{"role": "user", "content": "hello"}]
    then = [*first, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "and then?"}]
    for number, messages in enumerate([first, then, [{"role": "user", "content": "other"}]]):
        await correct(world, number, messages=messages, conversation_id=None)
    rows = await world.rows(await world.freeze("dpo"))
    by_question = {row["input"]["messages"][-1]["content"]: row["tailorbird"]["conversation"] for row in rows}
    assert by_question["hello"] == by_question["and then?"] != by_question["other"]


async def test_freezing_the_same_feedback_twice_gives_the_same_version(world: World):
    await world.correct(range(12))
    one, two = await world.freeze("dpo"), await world.freeze("dpo")
    assert one.id == two.id
    assert one.rows + one.held_out == 12
    await correct(world, 99, text="one more")
    three = await world.freeze("dpo")
    assert (three.number, three.sha256 == one.sha256) == (2, False)


async def test_nobody_gives_more_than_all_others_beyond_twenty_rows_and_a_hash_draws_which(world: World):
    await world.correct(range(60), who=world.admin)
    await world.correct(range(60, 85), who=await world.reviewer("Rae"))
    dataset = await world.freeze("dpo")
    people = Counter(row["tailorbird"]["person"] for row in await world.rows(dataset))
    assert sorted(people.values()) == [25, 25]
    assert dataset.excluded == {"over_share": 35}
    async with world.database.writing() as session:
        await material._forget(session, "desk")
    assert (await world.freeze("dpo")).id == dataset.id, "the same feedback, the same rows"
    assert (await world.freeze("dpo", share=1.0)).excluded == {}


async def test_a_lone_person_is_not_capped_but_named(world: World):
    await world.correct(range(30))
    dataset = await world.freeze("dpo")
    assert dataset.rows + dataset.held_out == 30
    assert [finding["code"] for finding in dataset.signal["findings"]] == ["one_person"]


async def test_a_dataset_larger_than_a_page_holds_every_row_once(world: World, monkeypatch):
    monkeypatch.setattr("service.domain.datasets.PAGE", 7)
    monkeypatch.setattr("service.domain.datasets.CHUNK", 4)
    monkeypatch.setattr("service.domain.material.SLICE", 5)
    given = set(await world.correct(range(40)))
    dataset = await world.freeze("sft")
    rows = await world.rows(dataset)
    assert sorted(row["tailorbird"]["feedback_id"] for row in rows) == sorted(given)
    async with world.database.reading() as session:
        member = tables.DatasetRow
        people = await session.get_one(tables.DatasetPerson, (dataset.id, world.admin.user_id))
        found = await session.scalars(member.__table__.select().with_only_columns(member.feedback_id))
        assert set(found) == given
    assert (people.rows, people.held_out) == (dataset.rows, dataset.held_out)


async def test_a_held_out_question_of_the_assistant_is_kept_out_by_itself(world: World):
    long = "Which of the two morning ferries to the northern island carries bicycles and small carts?"
    asked = long.replace("?", " as well, please? I have one cart.")
    cases = [{"question": "Question   1", "facts": ["x"]}, {"question": long, "facts": ["x"]}]
    file = await world.add_file("".join(json.dumps(case) + "\n" for case in cases).encode(), "cases")
    await correct(world, 1)
    await correct(world, 2, messages=[{"role": "user", "content": asked}])
    await correct(world, 3)
    assert (await world.readiness()).excluded == {}
    async with world.database.writing() as session:
        await assistants.change_assistant(session, "desk", AssistantChange(cases_file=file))
    ready = await world.readiness()
    assert (ready.pairs, ready.excluded) == (1, {"held_out_case": 2}), "sorted anew when the questions change"


async def test_what_is_left_out_is_counted_for_every_kind_of_rows(world: World):
    cut_off = await world.answer(1, finish_reason="length")
    await world.say(cut_off, world.admin, type="rating", rating=1)
    await rate(world, 2, -1)
    await correct(world, 3, finish_reason="length")
    found = await world.readiness()
    assert found.excluded == {"truncated": 1}
    assert found.left_out == {"dpo": {"truncated": 1}, "sft": {}, "kto": {"truncated": 1}}
    assert (found.rated, found.examples) == (1, 1)


async def test_the_trainer_gets_the_held_out_questions_of_an_assistant_or_of_all_to_refuse(world: World):
    cases = b'{"id": "secret", "question": "Question 1", "facts": ["x"]}\r\n'
    file = await world.add_file(cases, "cases")
    others = await world.add_file(b'{"question": "Question 2", "facts": ["x"]}', "cases")
    rows = await world.add_file(b"{}\n", "sft")
    job = tables.Job(
        id="ftjob-1", kind="sft", status="running", user_id=world.admin.user_id, request={}, model="desk",
        settings={"n_epochs": 1, "batch_size": 1, "learning_rate": 1e-3}, training_file=rows, created_at=1,
    )  # fmt: skip
    parts = outcomes.Parts(Settings(home=world.store.home), world.store, world.hasher, [])
    async with world.database.writing() as session:
        await assistants.change_assistant(session, "desk", AssistantChange(cases_file=file))
        other = AssistantCreate(name="other", title="Other", cases_file=others)
        await assistants.create_assistant(session, other, reserved="base")
        _, alone = await outcomes.prepare(session, parts, job)
        job.assistant = "desk"
        spec, inputs = await outcomes.prepare(session, parts, job)
    asked = [json.loads(line) for line in str(alone[folder.CASES]).splitlines()]
    assert [(case["id"], case["question"]) for case in asked] == [
        ("one of desk", "Question 1"), ("one of other", "Question 2"),
    ]  # fmt: skip
    assert spec["cases_sha256"] == hashlib.sha256(cases).hexdigest()
    assert inputs[folder.CASES] == cases.decode()
