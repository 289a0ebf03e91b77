"""What a key may spend, on the way of a request: reserved, told in the headers, settled. Fails closed.

A ledger that cannot be written lets nothing through. Owns no rule; `service.domain.limits` counts.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from service.api.deps import House
from service.contract.limits import Limits
from service.domain import limits
from service.domain.endings import Ending
from service.domain.keys import Caller
from service.domain.limits import Reservation
from service.errors import LedgerUnavailable
from service.logs import log


def holding(house: House, caller: Caller) -> Limits | None:
    """The limits that hold for the caller's key; none where nothing does, and then nothing is counted."""
    found = caller.limits.over(house.settings.limits)
    return None if found.none else found


@asynccontextmanager
async def ledger(house: House) -> AsyncIterator[AsyncSession]:
    """A writing transaction without which the request does not go on. Raises `LedgerUnavailable`."""
    try:
        async with house.database.writing(records=True) as session:
            yield session
    except SQLAlchemyError as error:
        log.error("the ledger of limits cannot be written: %s", type(error).__name__)
        raise LedgerUnavailable(
            "What your key spends cannot be written down now, so nothing was asked. Try again in a moment."
        ) from None


async def reserve(
    session: AsyncSession, house: House, request: Request, caller: Caller, body: dict[str, Any], found: Limits
) -> Reservation:
    """Hold what the engine's `body` can take at most. Raises `TooMany`; the answer's headers say what is left."""
    prompt, tokens = limits.estimate(body, house.settings.max_model_len)
    held, standing = await limits.reserve(session, caller.budget_id, found, prompt=prompt, tokens=tokens)
    request.state.answer_headers = standing.headers()
    return held


async def settle(session: AsyncSession, held: Reservation, ending: Ending, *, streamed: bool) -> None:
    """Write what the answer took in place of what was held for it."""
    await limits.settle(session, held, limits.used(held, ending, streamed=streamed))
