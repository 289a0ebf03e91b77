"""The journal: each act of power, written in the transaction that does it, and sealed. Never commits.

An entry's seal is an HMAC over the seal before it and its own content (the hash chain of Schneier and Kelsey,
"Secure Audit Logs to Support Computer Forensics", 1999), keyed by the pepper, which is not in the database:
who can write there can neither change an entry nor take one out of the middle unseen. Cutting off the end
is seen only by comparing with an export. Knows no HTTP.
"""

import json
import time
from collections.abc import AsyncIterator
from typing import Any, cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.audit import Action, AuditCheck, AuditEntry
from service.db import tables
from service.domain.keys import Caller, Hasher

HOUSE = "Tailorbird"
AT_ONCE = 1000
"""Entries read at once."""

Row = tables.AuditEntry


async def note(
    session: AsyncSession, hasher: Hasher, caller: Caller | None, action: Action, subject: str, **detail: Any
) -> None:
    """One act, by `caller` or by the service itself. `detail` holds no secret, and nothing from a conversation."""
    last = await session.scalar(select(Row.seal).order_by(Row.id.desc()).limit(1))
    row = Row(
        at=time.time(), user_id=caller.user_id if caller else None, key_id=caller.key_id if caller else "",
        action=action, subject=subject, detail=detail, previous=last or "", seal="",
    )  # fmt: skip
    row.seal = _seal(hasher, row)
    session.add(row)
    await session.flush()


async def list_entries(
    session: AsyncSession, *, action: str | None, user_id: str | None, before: int | None, limit: int
) -> tuple[list[AuditEntry], bool]:
    """Newest first, at most `limit`, and whether older ones follow. `before` is the id of the last one seen."""
    query = select(Row, tables.User.name).outerjoin(tables.User, tables.User.id == Row.user_id)
    if action is not None:
        query = query.where(Row.action == action)
    if user_id is not None:
        query = query.where(Row.user_id == user_id)
    if before is not None:
        query = query.where(Row.id < before)
    rows = (await session.execute(query.order_by(Row.id.desc()).limit(limit + 1))).all()
    return [_shown(row, name) for row, name in rows[:limit]], len(rows) > limit


async def every_entry(session: AsyncSession) -> AsyncIterator[AuditEntry]:
    """From the first to the last, in bounded memory."""
    async for row, name in _all(session):
        yield _shown(row, name)


async def check(session: AsyncSession, hasher: Hasher) -> AuditCheck:
    """Every seal computed again."""
    previous, entries = "", 0
    async for row, _ in _all(session):
        entries += 1
        if row.previous != previous or row.seal != _seal(hasher, row):
            return AuditCheck(intact=False, entries=entries, broken_at=row.id)
        previous = row.seal
    return AuditCheck(intact=True, entries=entries, broken_at=None)


async def _all(session: AsyncSession) -> AsyncIterator[tuple[Row, str | None]]:
    """Each entry with the name of who did it, oldest first, a page at a time."""
    query = select(Row, tables.User.name).outerjoin(tables.User, tables.User.id == Row.user_id)
    last = 0
    while page := (await session.execute(query.where(Row.id > last).order_by(Row.id).limit(AT_ONCE))).all():
        for row, name in page:
            yield row, name
        last = page[-1][0].id
        session.expunge_all()


def _seal(hasher: Hasher, row: Row) -> str:
    content = [row.previous, row.at, row.user_id, row.key_id, row.action, row.subject, row.detail]
    return hasher.digest("audit:" + json.dumps(content, sort_keys=True, ensure_ascii=False))


def _shown(row: Row, name: str | None) -> AuditEntry:
    return AuditEntry(
        id=row.id, at=row.at, by=name or HOUSE, key=row.key_id, action=cast(Action, row.action),
        subject=row.subject, detail=row.detail, seal=row.seal,
    )  # fmt: skip
