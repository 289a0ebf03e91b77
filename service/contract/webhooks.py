"""Webhooks: who wants to hear of which ends, and what is sent, as Standard Webhooks and OpenAI's SDK have it.

Owns the types of events and the body of a delivery. Knows nothing of signatures and of how it is sent.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, HttpUrl

from service.contract.base import Strict, Wire, example

EventType = Literal[
    "fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled",
    "eval.run.succeeded", "eval.run.failed", "eval.run.canceled",
    "batch.completed", "batch.failed", "batch.cancelled", "batch.expired",
]  # fmt: skip
"""OpenAI's, spelled as there."""
TRIAL = "webhook.test"
"""The type of a trial delivery, which every webhook gets that asks for one."""


def _without_credentials(url: HttpUrl) -> HttpUrl:
    if url.username is not None or url.password is not None:
        raise ValueError(
            "must carry no name and no password; what is sent is signed with the webhook's secret"
        )
    return url


Address = Annotated[HttpUrl, AfterValidator(_without_credentials)]
Events = Annotated[list[EventType], Field(min_length=1, max_length=32)]


class Webhook(Strict):
    """Never with its secret, which is shown once."""

    id: str
    user_id: str
    url: str
    events: list[EventType]
    everybody: bool
    enabled: bool
    disabled_because: Literal["asked", "gone", "failing"] | None
    """`gone`: the receiver answered 410; `failing`: nothing reached it for days."""
    failing_since: int | None
    """When a delivery failed first since the last that came through."""
    created_at: int


class WebhookCreate(Strict):
    model_config = example(url="http://127.0.0.1:9000/hooks", events=["fine_tuning.job.succeeded"])

    url: Address
    events: Events
    everybody: bool = False
    """Administrators only: the events of everybody, not only one's own."""


class WebhookChange(Strict):
    model_config = example(enabled=True)

    url: Address | None = None
    events: Events | None = None
    enabled: bool | None = None


class NewWebhook(Strict):
    """The one time a webhook's secret is seen."""

    webhook: Webhook
    secret: str


class Delivery(Strict):
    """How far one event is on its way to a webhook. Nothing that the receiver said but its status is kept."""

    id: str
    """The event's, the same for each attempt and each webhook; the header `webhook-id`."""
    type: str
    subject: str
    """The id of what ended."""
    created_at: int
    attempts: int
    status: int | None
    """What the receiver answered last; none when it did not answer."""
    delivered_at: int | None
    due_at: float | None
    """When it is tried next; none once it has ended."""


class EventData(Wire):
    id: str


class Event(Wire):
    """The body of a delivery: ids only."""

    id: str
    object: Literal["event"] = "event"
    created_at: int
    type: str
    data: EventData
