"""`/api/webhooks`: where an application hears of what ended, so that it need not ask again and again.

A webhook's secret is shown once, when it is made; `service.webhooks` sends.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from service.api.deps import CallerDep, HouseDep, NoteDep, ReadDep, WriteDep
from service.api.lists import as_list
from service.contract.files import Deleted
from service.contract.webhooks import Delivery, NewWebhook, Webhook, WebhookChange, WebhookCreate
from service.domain import webhooks

router = APIRouter(prefix="/api/webhooks", tags=["webhooks"])


@router.get("")
async def list_webhooks(session: ReadDep, caller: CallerDep) -> dict[str, Any]:
    """One's own; everybody's for an administrator."""
    return as_list([webhooks.shown(webhook) for webhook in await webhooks.list_webhooks(session, caller)])


@router.post("", status_code=201)
async def create_webhook(
    wanted: WebhookCreate, session: WriteDep, house: HouseDep, caller: CallerDep, note: NoteDep
) -> NewWebhook:
    """Hear of one's own jobs, evaluations and batches; an administrator may hear of everybody's."""
    outside = house.settings.webhooks_outside
    webhook = await webhooks.create_webhook(session, caller, wanted, outside=outside)
    await note("webhook.made", webhook.id, url=webhook.url, events=webhook.events)
    return NewWebhook(webhook=webhooks.shown(webhook), secret=webhooks.secret(house.hasher, webhook.id))


@router.get("/{webhook_id}")
async def retrieve_webhook(webhook_id: str, session: ReadDep, caller: CallerDep) -> Webhook:
    return webhooks.shown(await webhooks.get_webhook(session, caller, webhook_id))


@router.patch("/{webhook_id}")
async def change_webhook(
    webhook_id: str,
    change: WebhookChange,
    session: WriteDep,
    house: HouseDep,
    caller: CallerDep,
    note: NoteDep,
) -> Webhook:
    """What waits for a webhook that is disabled is not sent any more."""
    webhook = await webhooks.get_webhook(session, caller, webhook_id)
    await webhooks.change_webhook(session, caller, webhook, change, outside=house.settings.webhooks_outside)
    await note("webhook.changed", webhook.id, **change.model_dump(mode="json", exclude_unset=True))
    return webhooks.shown(webhook)


@router.delete("/{webhook_id}")
async def delete_webhook(webhook_id: str, session: WriteDep, caller: CallerDep, note: NoteDep) -> Deleted:
    await webhooks.delete_webhook(session, await webhooks.get_webhook(session, caller, webhook_id))
    await note("webhook.deleted", webhook_id)
    return Deleted(id=webhook_id, object="webhook")


@router.post("/{webhook_id}/test", status_code=202)
async def try_webhook(webhook_id: str, session: WriteDep, caller: CallerDep) -> Delivery:
    """Send `webhook.test` once, in a moment; what became of it stands among the deliveries."""
    webhook = await webhooks.get_webhook(session, caller, webhook_id)
    return webhooks.shown_delivery(await webhooks.try_out(session, webhook))


@router.get("/{webhook_id}/deliveries")
async def list_deliveries(
    webhook_id: str,
    session: ReadDep,
    caller: CallerDep,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> dict[str, Any]:
    """What was and is to be sent, newest first; ended ones for a week."""
    webhook = await webhooks.get_webhook(session, caller, webhook_id)
    found, more = await webhooks.list_deliveries(session, webhook, after=after, limit=limit)
    return as_list(found, has_more=more)
