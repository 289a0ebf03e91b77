"""Who is told of what, and how a delivery is claimed, cut short and forgotten."""

import time

from sqlalchemy import select, update

from service.contract.users import UserChange
from service.contract.webhooks import EventType, WebhookChange, WebhookCreate
from service.db import tables
from service.domain import jobs, users, webhooks
from service.domain.keys import Caller
from tests.service.domain.conftest import World
from tests.service.domain.test_jobs import claim as claim_job
from tests.service.domain.test_jobs import create, lose_lease

JOBS: list[EventType] = ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]


async def make(world: World, caller: Caller, *events: EventType, everybody: bool = False) -> str:
    wanted = WebhookCreate.model_validate(
        {"url": "http://10.1.2.3/", "events": list(events) or JOBS, "everybody": everybody}
    )
    async with world.database.writing() as session:
        return (await webhooks.create_webhook(session, caller, wanted, outside=False)).id


async def cancel(world: World, job_id: str) -> None:
    async with world.database.writing() as session:
        await jobs.cancel(session, await jobs.get_job(session, None, job_id))


async def told(world: World) -> set[tuple[str, str, str]]:
    """Webhook, type and subject of every delivery."""
    async with world.database.reading() as session:
        found = await session.scalars(select(tables.Delivery))
        return {(one.webhook_id, one.type, one.subject) for one in found}


async def claim(world: World, webhook_id: str) -> tables.Delivery | None:
    async with world.database.writing() as session:
        claimed = await webhooks.claim(session, webhook_id)
    return claimed and claimed[2]


async def note(world: World, delivery: tables.Delivery, status: int | None) -> None:
    async with world.database.writing() as session:
        await webhooks.note(session, delivery, status)


async def get(world: World, webhook_id: str) -> tables.Webhook:
    async with world.database.reading() as session:
        return await session.get_one(tables.Webhook, webhook_id)


async def pass_time(world: World, seconds: float) -> None:
    """For what waits, and for what is failing."""
    row, hook = tables.Delivery, tables.Webhook
    async with world.database.writing() as session:
        await session.execute(
            update(row).values(due_at=row.due_at - seconds, created_at=row.created_at - seconds)
        )
        await session.execute(update(hook).values(failing_since=hook.failing_since - int(seconds)))


async def test_one_hears_of_ones_own_and_an_administrator_of_everybodys_when_asked(world: World):
    users_own, admins_own = await make(world, world.user), await make(world, world.admin)
    everybodys = await make(world, world.admin, everybody=True)
    file_id = await world.add_file(b'{"a": 1}\n' * 10, "sft")
    async with world.database.writing() as session:
        (await session.get_one(tables.File, file_id)).user_id = world.user.user_id
    job = await create(world, caller=world.user, training_file=file_id)
    await cancel(world, job.id)
    what = ("fine_tuning.job.cancelled", job.id)
    assert await told(world) == {(users_own, *what), (everybodys, *what)}
    others = await create(world)
    await cancel(world, others.id)
    what = ("fine_tuning.job.cancelled", others.id)
    assert await told(world) >= {(admins_own, *what), (everybodys, *what)}
    assert (users_own, *what) not in await told(world)


async def test_all_webhooks_get_the_same_event(world: World):
    first, second = await make(world, world.admin), await make(world, world.admin)
    await cancel(world, (await create(world)).id)
    claimed = [await claim(world, webhook_id) for webhook_id in (first, second)]
    assert len({delivery.event_id for delivery in claimed if delivery}) == 1
    assert None not in claimed


async def test_a_transaction_that_fails_tells_of_nothing(world: World):
    await make(world, world.admin)
    job = await create(world)
    try:
        async with world.database.writing() as session:
            await jobs.cancel(session, await jobs.get_job(session, None, job.id))
            raise InterruptedError
    except InterruptedError:
        pass
    assert await told(world) == set()
    async with world.database.reading() as session:
        assert (await jobs.get_job(session, None, job.id)).status == "queued"


async def test_a_job_that_its_workers_lost_is_told_of_as_failed(world: World):
    webhook_id = await make(world, world.admin)
    job = await create(world)
    for _ in range(3):
        await claim_job(world)
        assert await told(world) == set()
        await lose_lease(world)
    assert await told(world) == {(webhook_id, "fine_tuning.job.failed", job.id)}


async def test_an_evaluation_is_told_of_by_its_own_id_and_openais_spelling(world: World):
    webhook_id = await make(world, world.admin, "eval.run.succeeded", "eval.run.failed", "eval.run.canceled")
    for number, status in enumerate(("succeeded", "failed", "cancelled")):
        job = await create(world, metadata={"number": str(number)})
        async with world.database.writing() as session:
            row = await jobs.get_job(session, None, job.id)
            row.kind = "evaluation"
            session.add(
                tables.Adapter(
                    digest=f"d{number}", model=f"ft:{number}", job_id=job.id, user_id=job.user_id, manifest={},
                    proof={}, report={}, bytes=1, created_at=1,
                )
            )  # fmt: skip
            session.add(
                tables.Release(
                    id=f"rel_{number}", assistant="desk", number=number, adapter=f"d{number}", created_at=1
                )
            )
            await session.flush()
            session.add(
                tables.Evaluation(
                    id=f"eval_{number}", job_id=job.id, assistant="desk", release_id=f"rel_{number}",
                    cases_file=row.training_file, created_at=1,
                )
            )  # fmt: skip
            await session.flush()
            await jobs.end(session, row, status, "It ended.")
    ends = ["eval.run.succeeded", "eval.run.failed", "eval.run.canceled"]
    assert await told(world) == {(webhook_id, end, f"eval_{number}") for number, end in enumerate(ends)}


async def test_a_delivery_is_claimed_once_and_again_when_its_lease_is_over(world: World):
    webhook_id = await make(world, world.admin)
    await cancel(world, (await create(world)).id)
    first = await claim(world, webhook_id)
    assert first is not None
    assert await claim(world, webhook_id) is None
    await pass_time(world, webhooks.LEASE)
    second = await claim(world, webhook_id)
    assert second is not None
    assert (second.event_id, second.attempts) == (first.event_id, 2)
    for tried, status in ((first, 500), (second, 200), (first, 500)):
        await note(world, tried, status)
        async with world.database.reading() as session:
            row = await session.get_one(tables.Delivery, (webhook_id, first.event_id))
        assert row.status in (None, 200), "who comes too late changes nothing"
    assert row.due_at is None
    assert row.delivered_at is not None


async def test_one_that_never_answers_is_tried_for_three_days_and_disabled(world: World):
    webhook_id = await make(world, world.admin)
    await cancel(world, (await create(world)).id)
    for attempt in range(1, len(webhooks.PAUSES) + 2):
        assert (await get(world, webhook_id)).enabled
        delivery = await claim(world, webhook_id)
        assert delivery is not None
        assert delivery.attempts == attempt
        await note(world, delivery, None)
        assert await claim(world, webhook_id) is None, "it pauses"
        if attempt <= len(webhooks.PAUSES):
            await pass_time(world, webhooks.PAUSES[attempt - 1])
    webhook = await get(world, webhook_id)
    assert (webhook.enabled, webhook.disabled_because) == (False, "failing")
    assert list(webhooks.PAUSES) == sorted(webhooks.PAUSES)


async def test_what_waits_for_a_disabled_webhook_is_not_sent_any_more(world: World):
    webhook_id = await make(world, world.admin)
    await cancel(world, (await create(world)).id)
    async with world.database.writing() as session:
        webhook = await webhooks.get_webhook(session, world.admin, webhook_id)
        await webhooks.change_webhook(
            session, world.admin, webhook, WebhookChange(enabled=False), outside=False
        )
        await webhooks.change_webhook(
            session, world.admin, webhook, WebhookChange(enabled=True), outside=False
        )
    assert await claim(world, webhook_id) is None


async def test_who_has_left_hears_nothing_and_who_is_administrator_no_more_not_of_others(world: World):
    own, everybodys = await make(world, world.admin), await make(world, world.admin, everybody=True)
    await cancel(world, (await create(world)).id)
    async with world.database.writing() as session:
        await users.change_user(session, world.user.user_id, UserChange(role="administrator"))
        await users.change_user(session, world.admin.user_id, UserChange(role="user"))
        assert await webhooks.due(session) == {own}
    assert await claim(world, everybodys) is None
    async with world.database.writing() as session:
        await users.change_user(session, world.admin.user_id, UserChange(active=False))
        assert await webhooks.due(session) == set()
    before = await told(world)
    await cancel(world, (await create(world, seed=5)).id)
    assert await told(world) == before


async def test_deliveries_that_ended_are_forgotten_after_some_days(world: World):
    webhook_id = await make(world, world.admin)
    for seed in (1, 2):
        await cancel(world, (await create(world, seed=seed)).id)
    delivery = await claim(world, webhook_id)
    assert delivery is not None
    await note(world, delivery, 204)
    for seconds, left in ((0, 2), (webhooks.KEPT + 1, 1), (webhooks.RESTS, 0)):
        await pass_time(world, seconds)
        async with world.database.writing() as session:
            await webhooks.forget_old(session)
        assert len(await told(world)) == left


async def test_deleting_a_webhook_deletes_what_waits_for_it(world: World):
    webhook_id = await make(world, world.admin)
    await cancel(world, (await create(world)).id)
    delivery = await claim(world, webhook_id)
    assert delivery is not None
    async with world.database.writing() as session:
        webhook = await webhooks.get_webhook(session, world.admin, webhook_id)
        await webhooks.delete_webhook(session, webhook)
    assert await told(world) == set()
    await note(world, delivery, 500)


async def test_an_event_is_due_at_once(world: World):
    await make(world, world.admin)
    await cancel(world, (await create(world)).id)
    async with world.database.reading() as session:
        (moment,) = await session.scalars(select(tables.Delivery.due_at))
    assert moment is not None
    assert moment <= time.time()
