"""What happened to an assistant, over real tables: each kind of moment, the order, the pages, and whose it is."""

import pytest

from service.contract.timeline import Given, Moment
from service.db import tables
from service.domain import audit, feedback, releases, timeline
from service.errors import BadInput, NotFound
from tests.service.domain.conftest import World
from tests.service.domain.test_releases import REASON, evaluate, offer, promote

NOON = 20_000 * timeline.DAY + 43_200


async def told(world: World, *, after: str | None = None, limit: int = 100) -> tuple[list[Moment], bool]:
    async with world.database.reading() as session:
        return await timeline.timeline(session, "desk", after=after, limit=limit)


async def given_at(world: World, feedback_id: str, at: float) -> None:
    async with world.database.writing() as session:
        (await session.get_one(tables.Feedback, feedback_id)).at = at


async def test_each_thing_that_happened_is_told_with_who_did_it_and_why(world: World):
    one = await offer(world, 1)
    async with world.database.writing() as session:
        job = await session.get_one(tables.Job, "ftjob-1")
        job.assistant, job.request = "desk", {"metadata": {"override_reason": "all from one person, I know"}}
    await world.add_file(b"{}\n", "cases")
    await evaluate(world, one, "hold")
    await promote(world, one, REASON)
    async with world.database.writing() as session:
        await releases.roll_back(session, world.admin, "desk", "it was worse")
        detail = {"title": "D", "instructions": "a secret plan"}
        await audit.note(session, world.hasher, world.admin, "assistant.changed", "desk", **detail)
        await audit.note(session, world.hasher, world.admin, "assistant.changed", "quay", title="Q")
        await audit.note(session, world.hasher, world.admin, "key.made", "desk", name="till")
    found = {one.what: one for one in (await told(world))[0]}
    assert {what: (one.by, one.reason) for what, one in found.items()} == {
        "changed": ("Ada", None), "rollback": ("Ada", "it was worse"), "promotion": ("Ada", REASON),
        "evaluation": ("Ada", None), "release": (None, None), "training": ("Ada", "all from one person, I know"),
    }  # fmt: skip
    assert found["changed"].fields == ["instructions", "title"]
    assert "secret" not in str(found)
    assert (found["rollback"].from_release, found["rollback"].release) == (1, None)
    assert (found["evaluation"].verdict, found["evaluation"].release) == ("hold", 1)
    assert (found["training"].method, found["training"].status) == ("sft", "succeeded")


async def test_feedback_is_counted_by_day_without_a_name_as_it_stood_when_the_day_was_over(world: World):
    async with world.database.writing() as session:
        session.add_all([world.completion(n) for n in range(5)])
    at = [(0, NOON), (1, NOON + 5), (2, NOON + timeline.DAY)]
    for number, moment in at:
        await given_at(world, await world.say(f"chatcmpl-{number}", type="rating", rating=1), moment)
    await given_at(
        world,
        await world.say("chatcmpl-3", world.admin, type="rating", rating=-1, reasons=["wrong"]),
        NOON + 9,
    )
    better = await world.say("chatcmpl-4", type="correction", correction="better")
    await given_at(world, better, NOON + 1)
    async with world.database.writing() as session:
        taken = await feedback.retract(session, world.user, better)
        taken.at = NOON + 20
    again = await world.say("chatcmpl-0", type="rating", rating=1, reasons=["accurate"])
    await given_at(world, again, NOON + 8)
    found, more = await told(world)
    assert [(one.what, one.at, one.by) for one in found] == [
        ("feedback", NOON + timeline.DAY, None), ("feedback", NOON + 9, None),
    ]  # fmt: skip
    assert found[1].feedback == Given(up=2, down=1, corrections=0, preferences=0, people=2)
    assert found[0].feedback == Given(up=1, down=0, corrections=0, preferences=0, people=1)
    assert not more


async def test_a_day_that_is_over_is_counted_once_and_told_as_before(world: World):
    async with world.database.writing() as session:
        session.add_all([world.completion(n) for n in range(4)])
    moments = [NOON, NOON + 5, NOON + timeline.DAY, NOON + 2 * timeline.DAY]
    for number, moment in enumerate(moments):
        by = world.admin if number == 1 else None
        await given_at(world, await world.say(f"chatcmpl-{number}", by, type="rating", rating=1), moment)
    before = await told(world)
    assert [one.feedback.people for one in before[0] if one.feedback] == [1, 1, 2]

    async def keep(at: float) -> list[int]:
        async with world.database.writing() as session:
            days = await timeline.finished_days(session, at)
            await timeline.keep_days(session, days)
        return sorted(row["day"] for row in days)

    second_ends = 20_002 * timeline.DAY
    assert await keep(second_ends + timeline.LATE - 1) == [20_000]
    assert await told(world) == before
    assert await keep(second_ends + timeline.LATE) == [20_001]
    assert await keep(second_ends + timeline.LATE) == []
    assert await told(world) == before
    paged = [await told(world, after=one.id, limit=1) for one in before[0][:2]]
    assert [(page, more) for (page,), more in paged] == [(before[0][1], True), (before[0][2], False)]


async def test_every_moment_stands_on_one_page_also_where_many_are_of_one_second(world: World):
    for number in range(1, 6):
        await promote(world, await offer(world, number), REASON)
    async with world.database.writing() as session:
        for row in [*await releases.list_releases(session, "desk")]:
            row.created_at = NOON
    everything, more = await told(world)
    assert (len(everything), more) == (10, False)
    paged: list[Moment] = []
    more = True
    while more:
        page, more = await told(world, after=paged[-1].id if paged else None, limit=3)
        paged += page
    assert paged == everything
    assert [one.at for one in paged] == sorted((one.at for one in paged), reverse=True)


@pytest.mark.parametrize("after", ["", "x", "0-1", "9-rel_1", "4-1; drop table moves"])
async def test_a_strange_cursor_is_refused(world: World, after: str):
    with pytest.raises(BadInput, match="to go on from"):
        await told(world, after=after)


async def test_an_assistant_that_is_not_there_has_none(world: World):
    async with world.database.reading() as session:
        with pytest.raises(NotFound):
            await timeline.timeline(session, "nobody", after=None, limit=3)
