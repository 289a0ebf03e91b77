"""A request that is sent again changes nothing and gets the same answer. Never commits.

The `Idempotency-Key` header follows the IETF draft of that name: same key and body, same answer;
same key and another body, a refusal. The SDK sends no key but says that it tries again; then the same
request of a moment ago is looked for.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import tables
from service.domain.identity import now
from service.errors import BadInput

KEPT = 7 * 86_400
"""Seconds an answer is remembered, at least."""
REPEAT = 600
"""Seconds in which a retried create request is taken for the same one."""

Made = TypeVar("Made", tables.Job, tables.Batch)
Given = TypeVar("Given", bound=BaseModel)


async def once(
    session: AsyncSession,
    user_id: str,
    key: str | None,
    body: bytes,
    answer: Callable[[], Awaitable[Given]],
    shape: type[Given],
) -> Given:
    """What `answer` gives, or what it gave to this key before. Raises `BadInput` when the body differs."""
    earlier = await earlier_answer(session, user_id, key, body)
    if earlier is not None:
        return shape.model_validate(earlier)
    given = await answer()
    await remember(session, user_id, key, body, given.model_dump())
    return given


async def earlier_answer(
    session: AsyncSession, user_id: str, key: str | None, body: bytes
) -> dict[str, Any] | None:
    """The answer given before to this key, if any. Raises `BadInput` when the body differs."""
    if key is None:
        return None
    if not 0 < len(key) <= 200:
        raise BadInput("An Idempotency-Key has 1 to 200 characters.", code="idempotency_key_invalid")
    row = await session.get(tables.IdempotencyKey, (user_id, key))
    if row is None:
        return None
    if row.body_sha256 != _digest(body):
        raise BadInput(
            "This Idempotency-Key was used for another request. Use a new key for a new request.",
            code="idempotency_key_reused",
        )
    return row.response


async def remember(
    session: AsyncSession, user_id: str, key: str | None, body: bytes, response: dict[str, Any]
) -> None:
    if key is None:
        return
    row = tables.IdempotencyKey(
        user_id=user_id, key=key, body_sha256=_digest(body), response=response, created_at=now()
    )
    session.add(row)
    await session.flush()


async def forget_old(session: AsyncSession) -> None:
    """Forget the answers that were remembered for long enough."""
    old = tables.IdempotencyKey.created_at < now() - KEPT
    await session.execute(delete(tables.IdempotencyKey).where(old))


async def recent_same(
    session: AsyncSession, table: type[Made], user_id: str, request: dict[str, Any]
) -> Made | None:
    """The newest row that an identical create request of this person made a moment ago."""
    query = select(table).where(table.user_id == user_id, table.created_at > now() - REPEAT)
    for row in await session.scalars(query.order_by(table.created_at.desc())):
        if row.request == request:
            return row
    return None


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
