"""Figures about an assistant's material: added to as it changes, read without a look at the rows. Never commits.

Where each person or conversation has a figure, how many of them have one is a figure too.
"""

from collections import Counter
from typing import cast

from sqlalchemy import Table, bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import bulk, tables
from service.domain.signal import SMALL, Count

_TABLE = cast(Table, tables.Tally.__table__)
_KEY = ("assistant", "kind", "what", "name")
_INSERT = insert(_TABLE)
_UPDATE = (
    update(_TABLE)
    .where(*(_TABLE.c[column] == bindparam(f"at_{column}") for column in _KEY))
    .values(n=bindparam("to"))
)
DISTINCT = ("person", "conversation", "topic")
_MINE = (_TABLE.c.assistant == bindparam("assistant"), _TABLE.c.kind.in_(bindparam("kinds", expanding=True)))
_FEW = select(_TABLE.c.kind, _TABLE.c.what, _TABLE.c.name, _TABLE.c.n).where(*_MINE, _TABLE.c.what.in_(SMALL))
_SOME = select(_TABLE.c.kind, _TABLE.c.what, _TABLE.c.name, _TABLE.c.n).where(
    *_MINE, _TABLE.c.what == bindparam("what"), _TABLE.c.name.in_(bindparam("names", expanding=True))
)
_CASES = select(_TABLE.c.name).where(
    _TABLE.c.assistant == bindparam("assistant"), _TABLE.c.kind == "any", _TABLE.c.what == "cases"
)


async def add(session: AsyncSession, name: str, change: Counter[Count]) -> None:
    """Add to an assistant's figures."""
    change = Counter({count: n for count, n in change.items() if n})
    old = await _figures(session, name, change)
    for (kind, what, _), n in _crossings(change, old).items():
        change[kind, "distinct", what] += n
    rows = [(count, old.get(count), n) for count, n in change.items() if n]
    added = [
        dict(zip(_KEY, (name, *count), strict=True)) | {"n": n} for count, known, n in rows if known is None
    ]
    changed = [
        {f"at_{column}": value for column, value in zip(_KEY, (name, *count), strict=True)}
        | {"to": known + n}
        for count, known, n in rows
        if known is not None
    ]
    await bulk.run(session, _INSERT, added)
    await bulk.run(session, _UPDATE, changed)


async def cases_of(session: AsyncSession, name: str) -> str | None:
    """By which held-out questions an assistant's material was sorted: a file's digest, `none`, or nothing yet."""
    return await session.scalar(_CASES, {"assistant": name})


def _crossings(change: Counter[Count], old: dict[Count, int]) -> Counter[Count]:
    """Figures that come from nothing, 1, or go to nothing, -1."""
    found: Counter[Count] = Counter()
    for count, n in change.items():
        if count[1] in DISTINCT:
            was = old.get(count, 0)
            found[count] = (was + n > 0) - (was > 0)
    return found


async def _figures(session: AsyncSession, name: str, counts: Counter[Count]) -> dict[Count, int]:
    """Those that stand, in three questions: all that have few names, and the people and conversations asked for."""
    mine = {"assistant": name, "kinds": list({kind for kind, _, _ in counts})}
    rows = list(await session.execute(_FEW, mine))
    for what in DISTINCT:
        if names := {of for _, asked, of in counts if asked == what}:
            rows += await session.execute(_SOME, mine | {"what": what, "names": list(names)})
    return {(kind, what, of): n for kind, what, of, n in rows}
