"""Old answers are erased, what feedback leads back to is not: through the same round that tidies everything else."""

import re
import time
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event, select

from service.contract.conversations import ConversationCreate
from service.contract.feedback import FeedbackCreate
from service.contract.house_rules import HouseRulesChange
from service.contract.imports import Preview
from service.db import tables
from service.domain import audit, conversations, feedback, house_rules, imports, retention, stored
from service.settings import Settings
from service.upkeep import tidy
from tests.service.domain.conftest import World

DAY = 86_400


async def run(world: World, days: int | None) -> None:
    house = SimpleNamespace(
        database=world.database,
        store=world.store,
        hasher=world.hasher,
        settings=Settings(retention_days=days),
    )
    await tidy(house)


async def get(world: World, completion_id: str) -> tables.Completion:
    async with world.database.reading() as session:
        return await session.get_one(tables.Completion, completion_id)


@pytest.fixture
async def answers(world: World) -> dict[str, str]:
    old, new = time.time() - 31 * DAY, time.time() - 29 * DAY
    ids = {
        "old": await world.answer(1, created_at=old, response={"choices": ["secret"]}, metadata_={"a": "b"}),
        "failed": await world.answer(2, created_at=old, status="failed", output=""),
        "rated": await world.answer(3, created_at=old),
        "running": await world.answer(4, created_at=old, status="running", output="", ended_at=None),
        "new": await world.answer(5, created_at=new),
    }
    async with world.database.writing() as session:
        await feedback.give(
            session, world.user, FeedbackCreate(completion_id=ids["rated"], type="rating", rating=1)
        )
    return ids


async def test_without_the_setting_nothing_is_ever_erased(world: World, answers):
    await run(world, None)
    assert (await get(world, answers["old"])).output == "answer 1"


async def test_an_answer_past_its_time_goes_word_for_word_and_its_account_stays(world: World, answers):
    await run(world, 30)
    gone = await get(world, answers["old"])
    assert (gone.messages, gone.output, gone.sampling, gone.response, gone.metadata_) == (
        [],
        "",
        {},
        None,
        {},
    )
    assert gone.deleted_at is not None
    assert (gone.completion_tokens, gone.requested_model) == (1, "desk")
    assert (await get(world, answers["failed"])).messages == []
    async with world.database.reading() as session:
        listed, _ = await stored.list_stored(
            session, world.user, model=None, metadata={}, order="asc", after=None, limit=9
        )
    assert answers["old"] not in {row.id for row in listed}


@pytest.mark.parametrize("kept", ["rated", "running", "new"])
async def test_what_is_judged_or_under_way_or_young_stays_whole(world: World, answers, kept):
    before = await get(world, answers[kept])
    await run(world, 30)
    after = await get(world, answers[kept])
    assert (after.messages, after.output, after.deleted_at) == (before.messages, before.output, None)


async def test_a_conversation_goes_once_nothing_of_it_can_be_seen(world: World):
    async with world.database.writing() as session:
        made = [
            await conversations.create_conversation(session, world.user, ConversationCreate(assistant="desk"))
            for _ in range(2)
        ]
        for conversation in made:
            conversation.updated_at = 1
    await world.answer(1, conversation_id=made[0].id, created_at=1.0)
    await world.answer(2, conversation_id=made[1].id, created_at=1.0)
    async with world.database.writing() as session:
        wanted = FeedbackCreate(completion_id="chatcmpl-2", type="rating", rating=-1)
        await feedback.give(session, world.user, wanted)
    await run(world, 30)
    async with world.database.reading() as session:
        left = await conversations.list_conversations(session, world.user, limit=9)
    assert [conversation.id for conversation in left] == [made[1].id]


async def test_what_an_administrator_decides_holds_whatever_the_setting_says(world: World, answers):
    async def decide(days: int | None) -> None:
        async with world.database.writing() as session:
            await house_rules.decide(session, world.admin, HouseRulesChange(retention_days=days))

    await decide(None)
    await run(world, 30)
    assert (await get(world, answers["old"])).output == "answer 1"
    await decide(30)
    await run(world, None)
    assert (await get(world, answers["old"])).output == ""


async def test_what_would_go_is_what_goes(world: World, answers):
    async with world.database.writing() as session:
        wanted = ConversationCreate(assistant="desk")
        made = [await conversations.create_conversation(session, world.user, wanted) for _ in range(3)]
        for conversation in made[:2]:
            conversation.updated_at = 1
    for number, (conversation, at) in enumerate(zip(made, (1.0, time.time(), 1.0), strict=True), 11):
        await world.answer(number, conversation_id=conversation.id, created_at=at)
    await duel(world, "old")
    await duel(world, "writing", status="writing")
    async with world.database.reading() as session:
        found = (await retention.going(session, 30)).model_dump()
        assert (await retention.going(session, 40)).answers == 2
    await run(world, 30)
    async with world.database.reading() as session:
        (entry,), _ = await audit.list_entries(session, action=None, user_id=None, before=None, limit=9)
        assert set((await retention.going(session, 30)).model_dump().values()) == {0, 30}
    assert found == {"days": 30} | {name: n for name, n in entry.detail.items() if name != "older_than_days"}
    assert found == {"days": 30, "answers": 4, "conversations": 1, "duels": 1, "previews": 0, "documents": 0}


async def test_many_go_in_small_transactions_and_the_journal_says_how_many(world: World, monkeypatch):
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    for number in range(5):
        await world.answer(number, created_at=1.0)
    await run(world, 30)
    await run(world, 30)
    async with world.database.reading() as session:
        entries, _ = await audit.list_entries(session, action=None, user_id=None, before=None, limit=9)
    assert [(e.action, e.by, e.detail["answers"]) for e in entries] == [("records.erased", "Tailorbird", 5)]


async def duel(world: World, id_: str, **change) -> None:
    fields = {
        "id": id_, "user_id": world.user.user_id, "assistant": "desk", "question": "Am I ill?", "seed": "ab",
        "contestants": [0], "pairing": "same", "a_release": 0, "b_release": 0, "status": "revealed", "created_at": 1.0,
    }  # fmt: skip
    async with world.database.writing() as session:
        session.add(tables.Duel(**fields | change))


async def test_an_old_duel_goes_unless_somebody_chose_in_it(world: World):
    await duel(world, "old")
    await duel(world, "young", created_at=time.time())
    await duel(world, "writing", status="writing")
    given = await world.say(await world.answer(1, created_at=1.0), type="rating", rating=1)
    await duel(world, "chosen", status="decided", feedback_id=given)
    await run(world, None)
    async with world.database.reading() as session:
        assert len(list(await session.scalars(select(tables.Duel)))) == 4
    await run(world, 30)
    async with world.database.reading() as session:
        left = set(await session.scalars(select(tables.Duel.id)))
    assert left == {"young", "writing", "chosen"}


async def test_what_an_old_import_showed_of_its_file_goes_and_its_record_stays(world: World):
    preview = Preview(
        container="csv", encoding="utf-8", delimiter=",", sheets=[], sheet=None, columns=["Q"], recognised=None,
        format="columns", mapping={}, kind=None, looked_at=1, rows=[], raw=[{"Q": "secret"}], problems=[], refused=0,
    )  # fmt: skip
    async with world.database.writing() as session:
        made = [
            await imports.create_import(
                session, world.user, filename="f.csv", sha256="ab", size=1, preview=preview
            )
            for _ in range(3)
        ]
        old, running, young = (one.id for one in made)
        made[0].created_at = made[1].created_at = 1
        made[1].status = "running"
    await run(world, 30)
    async with world.database.reading() as session:
        found = list(await session.scalars(select(tables.Import)))
    kept = {one.id: imports.shown(one, world.user).preview for one in found}
    assert kept == {old: None, running: preview, young: preview}
    await run(world, 30)
    async with world.database.reading() as session:
        entries, _ = await audit.list_entries(session, action=None, user_id=None, before=None, limit=9)
    assert [one.detail["previews"] for one in entries] == [1]


@pytest.mark.parametrize(
    ("table", "look"),
    [
        ("completions", retention.erase_old),
        ("duels", retention.forget_duels),
        ("imports", retention.forget_previews),
        ("documents", retention.forget_documents),
    ],
)
async def test_what_is_old_is_found_without_looking_at_everything(world: World, table: str, look):
    """What the database is really asked is explained: a statement of the test's own would prove nothing."""
    asked: list[tuple[str, Any]] = []
    async with world.database.writing() as session:
        connection = await session.connection()
        assert connection.sync_connection is not None

        def note(_conn, _cursor, statement, parameters, _context, _many):
            asked.append((statement, parameters))

        event.listen(connection.sync_connection, "before_cursor_execute", note)
        await look(session, 30)
        event.remove(connection.sync_connection, "before_cursor_execute", note)
        ((statement, parameters),) = [one for one in asked if "created_at" in one[0]]
        plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    steps = [step[-1] for step in plan]
    found_by = re.compile(rf"SEARCH {table} USING (COVERING )?INDEX ix_{table}_created_at ")
    assert any(map(found_by.match, steps)), steps
    assert not any(step.startswith(f"SCAN {table}") for step in steps), steps


async def test_what_a_person_deleted_is_erased_without_the_setting_unless_somebody_judged_it(world: World):
    async with world.database.writing() as session:
        wanted = ConversationCreate(assistant="desk")
        gone, left = [await conversations.create_conversation(session, world.user, wanted) for _ in range(2)]
    said = await world.answer(1, conversation_id=gone.id)
    judged = await world.answer(2, conversation_id=gone.id)
    running = await world.answer(3, conversation_id=gone.id, status="running")
    others = await world.answer(4, conversation_id=gone.id, user_id=world.admin.user_id)
    elsewhere = await world.answer(5, conversation_id=left.id)
    await world.say(judged, type="rating", rating=-1)
    async with world.database.writing() as session:
        await conversations.remove(session, world.user, gone.id)
    await run(world, None)
    erased = await get(world, said)
    assert (erased.messages, erased.output, erased.completion_tokens) == ([], "", 1)
    for kept in (judged, running, others, elsewhere):
        assert (await get(world, kept)).messages, kept
    async with world.database.writing() as session:
        (await session.get_one(tables.Completion, running)).status = "interrupted"
    await run(world, None)
    assert (await get(world, running)).output == ""
