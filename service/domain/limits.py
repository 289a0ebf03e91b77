"""What a key may spend, held exactly: reserved before the engine is asked, settled after. Never commits.

A budget belongs to the key it was made for, and to every session and key made with that one, so nobody
gets more by making more. A minute is the last 60 seconds, not the clock's; a day is UTC's. Each function
needs a writing transaction, which lets one request at a time look and reserve. Knows no HTTP and no engine.
"""

import time
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, delete, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.limits import Limits
from service.db import tables
from service.domain.endings import Ending
from service.domain.identity import new_id
from service.domain.standing import DAY, MINUTE, Standing, midnight_in, refusal, room_in
from service.errors import TooMany


@dataclass(frozen=True)
class Reservation:
    """What one request holds of its budget until it is settled."""

    id: str
    budget_id: str
    day: int
    prompt: int
    """At most so many tokens of prompt."""
    tokens: int
    """At most so many tokens in all."""


def estimate(body: dict[str, Any], context: int) -> tuple[int, int]:
    """`(prompt, all)`: the most tokens an engine request can take; nothing is tokenised.

    A token of text is at least one byte, and what a chat template adds to a message is shorter than its
    JSON. No prompt and answer are longer together than the model's `context`.
    """
    choices = max(body.get("n") or 1, body.get("best_of") or 1)
    asked = body.get("prompt")
    prompts = len(asked) if isinstance(asked, list) and asked and not isinstance(asked[0], int) else 1
    answer = min(body.get("max_completion_tokens") or body.get("max_tokens") or context, context)
    prompt = min(len(orjson.dumps(body)), prompts * context)
    return prompt, min(prompt + prompts * choices * answer, prompts * choices * context)


async def reserve(
    session: AsyncSession,
    budget_id: str,
    limits: Limits,
    *,
    prompt: int,
    tokens: int,
    at: float | None = None,
) -> tuple[Reservation, Standing]:
    """Take `tokens` and one request from the budget; a budget without room raises `TooMany` and says when it has.

    The day's row is written first: on a database without a global write lock it makes the others wait.
    """
    at = time.time() if at is None else at
    held = Reservation(new_id("hold_"), budget_id, int(at // DAY), prompt, tokens)
    spent = await _add(session, budget_id, held.day, requests=1, tokens=tokens)
    await _forget(session, budget_id, at)
    requests, spent_now, last = await _minute(session, budget_id, at)
    standing = Standing(limits, at, requests, spent_now, last, spent - tokens)
    exceeded = standing.exceeded_by(tokens)
    if exceeded is not None:
        raise await _refusal(session, budget_id, standing, exceeded, tokens)
    session.add(
        tables.Reservation(id=held.id, budget_id=budget_id, day=held.day, at=at, tokens=tokens, open=True)
    )
    await session.flush()
    return held, standing.after(tokens)


async def settle(session: AsyncSession, held: Reservation, used: int | None) -> None:
    """Write what was used in place of what was reserved; None gives the request back too. Once only."""
    row = tables.Reservation
    mine = (row.id == held.id, row.open)
    change = (
        delete(row).where(*mine) if used is None else update(row).where(*mine).values(tokens=used, open=False)
    )
    if (await session.execute(change.returning(row.id))).first() is None:
        return
    await _add(
        session,
        held.budget_id,
        held.day,
        requests=-1 if used is None else 0,
        tokens=(used or 0) - held.tokens,
    )


def used(held: Reservation, ending: Ending, *, streamed: bool) -> int | None:
    """Tokens that an answer took, as `settle` wants them; unknown ones count as reserved, never as none.

    None when the engine refused or failed before it gave anything. A stream that its reader left before
    the first word took its prompt at most; an answer in one piece may have been almost done.
    """
    if ending.usage:
        return (ending.usage.get("prompt_tokens") or 0) + (ending.usage.get("completion_tokens") or 0)
    if ending.choices or ending.status == "complete":
        return held.tokens
    if ending.status == "failed":
        return None
    return held.prompt if streamed else held.tokens


async def end_abandoned(session: AsyncSession) -> int:
    """At start: give back what a killed gateway had reserved. Returns for how many requests."""
    gone = await session.execute(
        delete(tables.Reservation)
        .where(tables.Reservation.open)
        .returning(tables.Reservation.budget_id, tables.Reservation.day, tables.Reservation.tokens)
    )
    rows = gone.all()
    for budget_id, day, tokens in rows:
        await _add(session, budget_id, day, requests=-1, tokens=-tokens)
    return len(rows)


async def limits_of(session: AsyncSession, keys: list[tables.Key]) -> list[Limits]:
    """The limits of each key, its budget's."""
    names = {key.budget_id or key.id for key in keys}
    found = await session.scalars(select(tables.Budget).where(tables.Budget.id.in_(names)))
    by_name = {budget.id: Limits.model_validate(budget.limits) for budget in found}
    return [by_name.get(key.budget_id or key.id, Limits()) for key in keys]


async def tokens_today(session: AsyncSession, keys: list[tables.Key]) -> list[int | None]:
    """What the budget of each key spent since midnight, UTC; None where none was counted."""
    row, names = tables.Spending, {key.budget_id or key.id for key in keys}
    query = select(row.budget_id, row.tokens).where(
        row.budget_id.in_(names), row.day == int(time.time() // DAY)
    )
    spent = {budget_id: tokens for budget_id, tokens in await session.execute(query)}
    return [spent.get(key.budget_id or key.id) for key in keys]


async def set_limits(session: AsyncSession, key: tables.Key, change: Limits) -> Limits:
    """Change the limits that are named in `change`. A key that shared a budget has its own from now on."""
    (before,) = await limits_of(session, [key])
    limits = before.model_copy(update=change.model_dump(exclude_unset=True))
    key.budget_id = None
    await session.merge(tables.Budget(id=key.id, limits=limits.model_dump()))
    await session.flush()
    return limits


async def _add(session: AsyncSession, budget_id: str, day: int, *, requests: int, tokens: int) -> int:
    """Add to a day's spending; returns its tokens."""
    row = tables.Spending
    spent = await session.scalar(
        update(row)
        .where(row.budget_id == budget_id, row.day == day)
        .values(requests=row.requests + requests, tokens=row.tokens + tokens)
        .returning(row.tokens)
    )
    if spent is None:
        spent = tokens
        session.add(row(budget_id=budget_id, day=day, requests=requests, tokens=tokens))
        await session.flush()
    return spent


def _of_now(at: float) -> ColumnElement[bool]:
    """What was asked in the last minute. What was asked long after now was asked before the clock was set back: it
    must not hold a key until the clock has come there again."""
    return (tables.Reservation.at > at - MINUTE) & (tables.Reservation.at <= at + MINUTE)


async def _forget(session: AsyncSession, budget_id: str, at: float) -> None:
    """What is past its minute and settled; after a day also what nobody came to settle."""
    row = tables.Reservation
    old = ~_of_now(at) & (~row.open | (row.at <= at - DAY))
    await session.execute(delete(row).where(row.budget_id == budget_id, old))


async def _minute(session: AsyncSession, budget_id: str, at: float) -> tuple[int, int, float]:
    """Requests and tokens of the last minute, and when the last one was asked."""
    row = tables.Reservation
    found = await session.execute(
        select(
            func.count(), func.coalesce(func.sum(row.tokens), 0), func.coalesce(func.max(row.at), at)
        ).where(row.budget_id == budget_id, _of_now(at))
    )
    requests, tokens, last = found.one()
    return requests, int(tokens), last


async def _refusal(
    session: AsyncSession, budget_id: str, standing: Standing, exceeded: str, tokens: int
) -> TooMany:
    """The error to raise, with the seconds until the limit has room for this request."""
    most, at = getattr(standing.limits, exceeded), standing.at
    wait = midnight_in(at)
    if exceeded != "tokens_per_day":
        row = tables.Reservation
        units = row.tokens if exceeded == "tokens_per_minute" else literal(1)
        found = await session.execute(
            select(row.at, units).where(row.budget_id == budget_id, _of_now(at)).order_by(row.at)
        )
        used = standing.tokens + tokens if exceeded == "tokens_per_minute" else standing.requests + 1
        wait = room_in([(asked_at, int(size)) for asked_at, size in found.all()], used - most, at)
    error = refusal(exceeded, most, tokens, wait)
    error.headers = standing.headers()
    return error
