"""What is kept up to date event by event is what a look at everything at once gives."""

import asyncio
import random
from collections import Counter, defaultdict
from math import comb
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.blocklist import Blocklist
from service.contract.conversations import ConversationChange, ConversationCreate
from service.contract.reviews import GoldenCreate
from service.db import tables
from service.domain import conversations, feedback, golden_items, material, review_queue, reviews, topics
from service.domain.preferences import Piece, pieces
from service.domain.signal import AGREED, counted
from service.upkeep import keep_sorted
from tests.service.domain.conftest import World

PEOPLE = 4
ANSWERS = [("complete", "stop", text) for text in ("red", "blue", "green", "red", "blue")]
ANSWERS += [("interrupted", None, "re"), ("complete", "length", "long")]


async def fill(world: World, chance: random.Random) -> None:
    """A few answers to few questions, so that they are judged again and again."""
    async with world.database.writing() as session:
        for number in range(PEOPLE):
            session.add(
                tables.User(id=f"u{number}", name=f"U{number}", role="user", active=True, created_at=1)
            )
    for number in range(14):
        status, finish_reason, output = ANSWERS[number % 7]
        await world.answer(
            number, status=status, finish_reason=finish_reason, output=output, conversation_id=f"conv-{number % 5}",
            messages=[{"role": "user", "content": f"question {number % 2}"}], adapter=chance.choice(["base", "a" * 64]),
            metadata_=chance.choice([{}, {"topic": "sea"}]),
        )  # fmt: skip


async def happen(world: World, chance: random.Random, events: int) -> None:
    """Some feedback of every kind, some of it replaced or taken back; clocks may go backwards."""
    async with world.database.writing() as session:
        for _ in range(events):
            said = list(await session.scalars(select(tables.Feedback)))
            type_ = chance.choice(
                ["rating", "rating", "correction", "preference", "preference", "retraction", "topic"]
            )
            if type_ == "topic":
                await tell_topic(session, chance)
                continue
            mine = [row for row in said if row.type == type_] if type_ != "retraction" else said
            earlier = (
                chance.choice(mine)
                if mine and chance.random() < (1 if type_ == "retraction" else 0.3)
                else None
            )
            if type_ == "retraction" and earlier is None:
                continue
            completion, other = (
                (earlier.completion_id if earlier else f"chatcmpl-{chance.randrange(14)}"),
                None,
            )
            if type_ == "preference":
                other = f"chatcmpl-{chance.randrange(14)}"
            session.add(
                tables.Feedback(
                    id=f"fb_{len(said)}-{chance.random()}", completion_id=completion, key_id="k", assistant="desk",
                    user_id=earlier.user_id if earlier else f"u{chance.randrange(PEOPLE)}", type=type_,
                    rating=chance.choice([1, 1, -1]) if type_ == "rating" else None, reasons=[], comment=None,
                    correction=chance.choice(["red", "blue", "black"]) if type_ == "correction" else None,
                    preferred_completion_id=other, supersedes=earlier.id if earlier else None,
                    preference=chance.choice([None, "better", "better", "tie", "both_bad"]) if other else None,
                    left_completion_id=chance.choice([completion, other, None]) if other else None,
                    at=chance.random() * 100,
                )
            )  # fmt: skip
            await session.flush()


async def tell_topic(session: AsyncSession, chance: random.Random) -> None:
    """A reviewer says what an answer is about and skips it, or takes that back."""
    rows = list(await session.scalars(select(tables.Review)))
    if rows and chance.random() < 0.3:
        row = chance.choice(rows)
        row.undone_at = 1.0
    else:
        row = tables.Review(
            id=f"rev_{len(rows)}", completion_id=f"chatcmpl-{chance.randrange(14)}", assistant="desk", user_id="u0",
            key_id="k", verdict="skip", why="audit", rubric={}, personal_data=False, at=chance.random(),
            topic=chance.choice(["land", "sea", "sky"]),
        )  # fmt: skip
        session.add(row)
    await session.flush()
    await reviews.sort_again(session, row)


async def everything(world: World) -> list[Piece]:
    """What all feedback in force says, worked out at once."""
    async with world.database.reading() as session:
        rows = list(await session.scalars(select(tables.Feedback)))
        answers = await material.answers_of(session, [f"chatcmpl-{n}" for n in range(14)])
        about = await topics.topics_of(session, answers)
    found: list[Piece] = []
    for row in feedback.in_force(rows):
        other = answers.get(row.preferred_completion_id or "")
        made = pieces(material.said_of(row), answers[row.completion_id], other, Blocklist([]))
        found += [one._replace(topic=about.get(row.completion_id)) for one in made]
    return found


def judged(found: list[Piece]) -> tuple[set[tuple[str, str]], Counter]:
    """By the rules as they are written: the rows that train, and all figures."""
    train, figures = set(), Counter((one.kind, "reason", one.fault) for one in found if one.fault)
    subjects: dict[tuple[str, str], list[Piece]] = defaultdict(list)
    for one in found:
        if one.subject is not None:
            subjects[one.kind, one.subject].append(one)
    for (kind, _), group in subjects.items():
        said = [one for one in group if one.fault is None]
        rows = sorted((one for one in said if one.row), key=lambda one: (one.at, one.feedback_id))
        contested = len({one.side for one in said}) > 1
        for number, one in enumerate(rows):
            reason = "conflicting" if contested else "duplicate" if number else "kept"
            figures[kind, "reason", reason] += 1
            if reason == "kept":
                train.add((one.feedback_id, kind))
                figures.update(counted(one))
        people: dict[str, set[int]] = defaultdict(set)
        for one in group:
            people[one.user_id].add(one.side)
        if kind != "sft" and len(people) > 1:
            same = Counter(tuple(sides) for sides in people.values() if len(sides) == 1)
            figures[kind, "compared", "all"] += 1
            pairs = comb(len(people), 2)
            figures[kind, "compared", "same"] += round(
                AGREED * sum(comb(n, 2) for n in same.values()) / pairs
            )
    for kind, what, _ in list(figures):
        if what in ("person", "conversation", "topic"):
            figures[kind, "distinct", what] = sum(1 for one in figures if one[:2] == (kind, what))
    return train, +figures


async def kept(world: World) -> tuple[set[tuple[str, str]], Counter]:
    """The same, as it is kept up to date."""
    async with world.database.reading() as session:
        subject, tally = tables.Subject, tables.Tally
        rows = await session.execute(select(subject.first, subject.kind).where(subject.trains))
        figures = await session.execute(
            select(tally.kind, tally.what, tally.name, tally.n).where(tally.what != "cases")
        )
        return {(first, kind) for first, kind in rows}, +Counter({tuple(key): n for *key, n in figures})


async def waiting(world: World, *, anew: bool = False) -> set[tuple[str, int, float]]:
    """The answers that wait for a verdict, as it is kept or looked at anew."""
    row, ids = tables.WaitingAnswer, [f"chatcmpl-{n}" for n in range(14)]
    async with world.database.writing() as session:
        if anew:
            await review_queue.keep(session, ids, await review_queue.items_of(session, ids, deleted=True))
        return set(await session.execute(select(row.completion_id, row.rank, row.at)))


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.heavy)])
async def test_event_by_event_and_all_at_once_come_to_the_same(world: World, seed: int, monkeypatch):
    chance = random.Random(seed)
    await fill(world, chance)
    for _ in range(3):
        monkeypatch.setattr("service.domain.material.SLICE", chance.choice([1, 3, 50]))
        await happen(world, chance, 25)
        await world.sort()
        assert await kept(world) == judged(await everything(world))
        assert await waiting(world) == await waiting(world, anew=True)


async def test_an_event_that_was_written_late_is_not_missed(world: World):
    await world.say(await world.answer(1), type="correction", correction="better")
    await world.sort()
    late = await world.answer(2)
    async with world.database.writing() as session:
        session.add(
            tables.Feedback(
                id="fb_late", completion_id=late, user_id=world.user.user_id, key_id="k", assistant="desk",
                type="correction", rating=None, reasons=[], comment=None, correction="also better", at=0.5,
            )
        )  # fmt: skip
    assert (await world.readiness()).pairs == 2


async def test_what_waits_is_known_by_its_assistant(world: World):
    async with world.database.reading() as session:
        assert await material.waiting(session) == []
    await world.say(await world.answer(1), type="rating", rating=1)
    async with world.database.reading() as session:
        assert await material.waiting(session) == ["desk"]
    await world.sort()
    async with world.database.reading() as session:
        assert await material.waiting(session) == []


async def test_what_an_owner_keeps_from_training_goes_out_though_it_was_taken_in_and_comes_back(world: World):
    async with world.database.writing() as session:
        wanted = ConversationCreate(assistant="desk")
        talk = await conversations.create_conversation(session, world.user, wanted)
    await world.say(await world.answer(1, conversation_id=talk.id), type="correction", correction="better")
    await world.say(await world.answer(2), type="correction", correction="better")
    assert (await world.readiness()).pairs == 2

    async def let_train(training: bool) -> None:
        async with world.database.writing() as session:
            change = ConversationChange(training=training)
            await conversations.change(session, world.user, talk.id, change)

    await let_train(False)
    found = await world.readiness()
    assert (found.pairs, found.excluded) == (1, {"kept_private": 1})
    await let_train(True)
    found = await world.readiness()
    assert (found.pairs, found.excluded) == (2, {})


async def test_a_reviewers_verdict_counts_for_what_was_taken_in_before_it(world: World):
    given = await world.answer(1)
    await world.say(given, type="rating", rating=-1)
    assert (await world.readiness()).rated == 1
    async with world.database.writing() as session:
        await golden_items.put(session, world.admin, given, GoldenCreate(expected="reject"))
    assert (await world.readiness()).rated == 0
    async with world.database.writing() as session:
        await golden_items.remove(session, given)
    assert (await world.readiness()).rated == 1


async def test_personal_data_keeps_the_later_answers_of_its_conversation_from_training_too(world: World):
    """They were given with it in view, so it would stand in their rows, whoever is asked to judge them."""
    for number in (1, 2, 3):
        given = await world.answer(number, conversation_id="talk" if number < 3 else "another")
        await world.say(given, type="correction", correction="better")
    before = await world.answer(0, conversation_id="talk")
    await world.say(before, type="correction", correction="better")
    assert (await world.readiness()).pairs == 4

    async with world.database.writing() as session:
        session.add(
            tables.Review(
                id="rev_1", completion_id="chatcmpl-1", assistant="desk", user_id=world.admin.user_id, key_id="k",
                verdict="reject", why="correction", rubric={}, personal_data=True, at=1.0, topic=None,
            )
        )  # fmt: skip
        await session.flush()
        await reviews.sort_again(session, await session.get_one(tables.Review, "rev_1"))
    found = await world.readiness()
    assert (found.pairs, found.excluded) == (2, {"personal_data": 2})
    async with world.database.writing() as session:
        await reviews.undo(session, world.admin, "rev_1")
    assert (await world.readiness()).pairs == 4


async def test_the_gateway_takes_in_what_waits_without_being_asked(world: World, monkeypatch):
    monkeypatch.setattr("service.upkeep.SOON", 0.001)
    await world.say(await world.answer(1), type="correction", correction="better")
    done = asyncio.Event()

    async def sort(name: str) -> None:
        await world.sort(name)
        done.set()

    house: Any = SimpleNamespace(database=world.database, sort_feedback=sort)
    task = asyncio.create_task(keep_sorted(house))
    await asyncio.wait_for(done.wait(), 20)
    task.cancel()
    assert {kind for _, kind in (await kept(world))[0]} == {"dpo", "sft"}
