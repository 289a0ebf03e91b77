"""Webhooks: made, changed, told of what ended, and followed until each delivery has ended. Never commits.

An event is one row for each webhook that wants it, written in the transaction that ends what it tells of. A
delivery is claimed by moving the moment it is due behind a lease, so one that was cut short is due again.
Owns the signature and the pauses. Knows no HTTP and no name server.
"""

import base64
import hashlib
import hmac
import time

from pydantic import HttpUrl
from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract import webhooks as contract
from service.contract.webhooks import TRIAL, Event, EventData, WebhookChange, WebhookCreate
from service.db import tables
from service.domain import addresses
from service.domain.identity import new_id, now
from service.domain.keys import Caller, Hasher
from service.domain.paging import page
from service.errors import BadInput, Conflict, NotFound, TooMany

DAY = 86_400
PAUSES = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Seconds from a failed attempt to the next, as Standard Webhooks has them; three days in all."""
PATIENCE = 3 * DAY
"""Seconds without one delivery that came through, after which a webhook is disabled."""
LEASE = 60.0
"""Seconds a claimed delivery is its gateway's: longer than any attempt takes."""
KEPT = 7 * DAY
"""Seconds that deliveries which ended can still be seen."""
RESTS = 30 * DAY
"""Seconds after which anything is forgotten."""
MOST = 20
"""Webhooks of one person."""

_AWAKE = (
    tables.Webhook.enabled,
    tables.User.active,
    or_(tables.Webhook.everybody.is_(False), tables.User.role == "administrator"),
)
"""What a webhook, joined with its owner, must be to get anything."""
_ENDS = {"succeeded": "succeeded", "failed": "failed", "cancelled": "canceled"}
"""How a job's end is spelled in an evaluation's event."""


async def create_webhook(
    session: AsyncSession, caller: Caller, wanted: WebhookCreate, *, outside: bool
) -> tables.Webhook:
    """`outside`: whether addresses beyond the house's network are allowed."""
    if wanted.everybody:
        caller.must_be("administrator")
    _check_address(wanted.url, administrator=caller.may("administrator"), outside=outside)
    mine = select(func.count()).where(tables.Webhook.user_id == caller.user_id)
    if (await session.scalar(mine) or 0) >= MOST:
        raise Conflict(f"You have {MOST} webhooks. Delete one first.", code="too_many_webhooks")
    webhook = tables.Webhook(
        id=new_id("webhook_"), user_id=caller.user_id, url=str(wanted.url), events=list(wanted.events),
        everybody=wanted.everybody, enabled=True, disabled_because=None, failing_since=None, created_at=now(),
    )  # fmt: skip
    session.add(webhook)
    await session.flush()
    return webhook


async def get_webhook(session: AsyncSession, caller: Caller, webhook_id: str) -> tables.Webhook:
    """One's own, any for an administrator."""
    webhook = await session.get(tables.Webhook, webhook_id)
    if webhook is None or not (webhook.user_id == caller.user_id or caller.may("administrator")):
        raise NotFound(f"No webhook '{webhook_id}'.", param="webhook_id")
    return webhook


async def list_webhooks(session: AsyncSession, caller: Caller) -> list[tables.Webhook]:
    """One's own; everybody's for an administrator."""
    query = select(tables.Webhook).order_by(tables.Webhook.created_at, tables.Webhook.id)
    if not caller.may("administrator"):
        query = query.where(tables.Webhook.user_id == caller.user_id)
    return list(await session.scalars(query))


async def change_webhook(
    session: AsyncSession, caller: Caller, webhook: tables.Webhook, change: WebhookChange, *, outside: bool
) -> None:
    """Raises `NotAllowed` for a key that could not have made this webhook."""
    if webhook.everybody:
        caller.must_be("administrator")
    for field in change.model_fields_set:
        if getattr(change, field) is None:
            raise BadInput(f"'{field}' cannot be empty; leave it out to keep it.", param=field)
    if change.url is not None:
        owner = await session.get_one(tables.User, webhook.user_id)
        both = owner.role == "administrator" and caller.may("administrator")
        _check_address(change.url, administrator=both, outside=outside)
        webhook.url = str(change.url)
    if change.events is not None:
        webhook.events = list(change.events)
    if change.enabled:
        webhook.enabled, webhook.disabled_because, webhook.failing_since = True, None, None
    elif change.enabled is False and webhook.enabled:
        await _disable(session, webhook, "asked")


async def delete_webhook(session: AsyncSession, webhook: tables.Webhook) -> None:
    """With all that was to be sent to it; locked first, so that nothing can be written down for it meanwhile."""
    await session.execute(select(tables.Webhook.id).where(tables.Webhook.id == webhook.id).with_for_update())
    await session.execute(delete(tables.Delivery).where(tables.Delivery.webhook_id == webhook.id))
    await session.delete(webhook)


def secret(hasher: Hasher, webhook_id: str) -> str:
    """As its owner gets it, once."""
    return "whsec_" + base64.b64encode(hasher.signing_key(webhook_id)).decode()


async def tell(session: AsyncSession, user_id: str, type_: str, subject: str) -> None:
    """Write down for every webhook that wants it what became of `subject`, which belongs to `user_id`."""
    wanting = await session.scalars(
        select(tables.Webhook)
        .join(tables.User, tables.User.id == tables.Webhook.user_id)
        .where(*_AWAKE, or_(tables.Webhook.user_id == user_id, tables.Webhook.everybody))
        # What ends here must not fail because somebody deletes a webhook meanwhile.
        .with_for_update(read=True, key_share=True, of=tables.Webhook)
    )
    event_id = new_id("evt_")
    session.add_all(_delivery(event_id, hook, type_, subject) for hook in wanting if type_ in hook.events)
    await session.flush()


async def tell_of_job(session: AsyncSession, job: tables.Job) -> None:
    """The same of a job that has just ended; an evaluation is told of by its own id."""
    if job.kind != "evaluation":
        await tell(session, job.user_id, f"fine_tuning.job.{job.status}", job.id)
        return
    evaluation_id = await session.scalar(
        select(tables.Evaluation.id).where(tables.Evaluation.job_id == job.id)
    )
    if evaluation_id is not None:
        await tell(session, job.user_id, f"eval.run.{_ENDS[job.status]}", evaluation_id)


async def try_out(session: AsyncSession, webhook: tables.Webhook) -> tables.Delivery:
    """One delivery that tells of nothing, sent once. Raises `Conflict` when the webhook is disabled."""
    if not webhook.enabled:
        raise Conflict("The webhook is disabled. Enable it first.", code="webhook_disabled")
    row = tables.Delivery
    waiting = select(func.count()).where(
        row.webhook_id == webhook.id, row.type == TRIAL, row.due_at.is_not(None)
    )
    if await session.scalar(waiting):
        raise TooMany("An earlier trial is still on its way. Wait for it.")
    trial = _delivery(new_id("evt_"), webhook, TRIAL, webhook.id)
    session.add(trial)
    await session.flush()
    return trial


async def list_deliveries(
    session: AsyncSession, webhook: tables.Webhook, *, after: str | None, limit: int
) -> tuple[list[contract.Delivery], bool]:
    """Newest first, as long as they are kept."""
    row = tables.Delivery
    query = select(row).where(row.webhook_id == webhook.id).order_by(row.created_at.desc(), row.event_id)
    return page([shown_delivery(delivery) for delivery in await session.scalars(query)], after, limit)


async def due(session: AsyncSession) -> set[str]:
    """The webhooks that something is due to."""
    query = (
        select(tables.Delivery.webhook_id)
        .join(tables.Webhook, tables.Webhook.id == tables.Delivery.webhook_id)
        .join(tables.User, tables.User.id == tables.Webhook.user_id)
        .where(tables.Delivery.due_at <= time.time(), *_AWAKE)
    )
    return set(await session.scalars(query))


async def claim(
    session: AsyncSession, webhook_id: str
) -> tuple[tables.Webhook, tables.User, tables.Delivery] | None:
    """Take what is due longest to a webhook, with a lease; with the webhook and its owner."""
    query = select(tables.Webhook, tables.User).join(tables.User, tables.User.id == tables.Webhook.user_id)
    found = (await session.execute(query.where(tables.Webhook.id == webhook_id, *_AWAKE))).one_or_none()
    if found is None:
        return None
    row, at = tables.Delivery, time.time()
    is_due = (row.webhook_id == webhook_id, row.due_at <= at)
    oldest = select(row.event_id).where(*is_due).order_by(row.due_at, row.event_id).limit(1)
    taken = await session.execute(
        update(row)
        .where(row.event_id == oldest.scalar_subquery(), *is_due)
        .values(attempts=row.attempts + 1, due_at=at + LEASE)
        .returning(row)
    )
    delivery = taken.scalar_one_or_none()
    return None if delivery is None else (found[0], found[1], delivery)


def signed(hasher: Hasher, delivery: tables.Delivery) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of one attempt, made now (standardwebhooks.com, "Signature scheme")."""
    data = EventData(id=delivery.subject)
    event = Event(id=delivery.event_id, created_at=delivery.created_at, type=delivery.type, data=data)
    body, at = event.model_dump_json().encode(), str(now())
    said = b".".join((delivery.event_id.encode(), at.encode(), body))
    signature = hmac.new(hasher.signing_key(delivery.webhook_id), said, hashlib.sha256).digest()
    return body, {
        "webhook-id": delivery.event_id, "webhook-timestamp": at,
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }  # fmt: skip


async def note(session: AsyncSession, tried: tables.Delivery, status: int | None) -> None:
    """What became of an attempt: the receiver's status, none when it did not answer."""
    delivery = await session.get(tables.Delivery, (tried.webhook_id, tried.event_id))
    if delivery is None or delivery.attempts != tried.attempts or delivery.due_at is None:
        return  # deleted meanwhile, taken over when our lease had run out, or ended with its webhook
    webhook = await session.get_one(tables.Webhook, tried.webhook_id)
    delivery.status, delivery.due_at = status, None
    if status is not None and 200 <= status < 300:
        delivery.delivered_at, webhook.failing_since = now(), None
    elif status == 410:
        await _disable(session, webhook, "gone")
    elif delivery.type != TRIAL:
        webhook.failing_since = since = webhook.failing_since or now()
        if delivery.attempts <= len(PAUSES):
            delivery.due_at = time.time() + PAUSES[delivery.attempts - 1]
        if now() - since >= PATIENCE:
            await _disable(session, webhook, "failing")


async def forget_old(session: AsyncSession) -> None:
    """Remove the deliveries that ended, and what waits for somebody who may not be sent anything any more."""
    row = tables.Delivery
    ended = and_(row.due_at.is_(None), row.created_at < now() - KEPT)
    await session.execute(delete(row).where(or_(ended, row.created_at < now() - RESTS)))


def shown(webhook: tables.Webhook) -> contract.Webhook:
    return contract.Webhook.model_validate(webhook)


def shown_delivery(delivery: tables.Delivery) -> contract.Delivery:
    fields = {name: getattr(delivery, name) for name in contract.Delivery.model_fields if name != "id"}
    return contract.Delivery(id=delivery.event_id, **fields)


async def _disable(session: AsyncSession, webhook: tables.Webhook, why: str) -> None:
    """What waits for it ends with it."""
    webhook.enabled, webhook.disabled_because = False, why
    row = tables.Delivery
    await session.execute(
        update(row).where(row.webhook_id == webhook.id, row.due_at.is_not(None)).values(due_at=None)
    )


def _delivery(event_id: str, webhook: tables.Webhook, type_: str, subject: str) -> tables.Delivery:
    return tables.Delivery(
        webhook_id=webhook.id, event_id=event_id, type=type_, subject=subject, created_at=now(), attempts=0,
        status=None, delivered_at=None, due_at=time.time(),
    )  # fmt: skip


def _check_address(url: HttpUrl, *, administrator: bool, outside: bool) -> None:
    address = addresses.literal(url.host or "")
    why = addresses.refusal(address, administrator=administrator, outside=outside) if address else None
    if why is not None:
        raise BadInput(f"Nothing is sent to '{url.host}'. {why}", param="url")
