"""OpenAI's cursor: `after` is the id of the last item seen, `has_more` says whether to ask again."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import tables
from service.errors import BadInput

Item = TypeVar("Item")
Row = TypeVar("Row", tables.Job, tables.Batch)


async def newest(
    session: AsyncSession, query: Select[Row], table: type[Row], after: str | None, limit: int
) -> tuple[list[Row], bool]:
    """The newest rows of a query behind `after`, at most `limit`, and whether more follow; no other row is read.

    Raises `BadInput` for a strange cursor.
    """
    if after is not None:
        seen = await session.scalar(query.where(table.id == after))
        if seen is None:
            raise strange(after)
        query = query.where(tuple_(table.created_at, table.id) < (seen.created_at, seen.id))
    ordered = query.order_by(table.created_at.desc(), table.id.desc())
    rows = list(await session.scalars(ordered.limit(limit + 1)))
    return rows[:limit], len(rows) > limit


def has_metadata(column: Any, wanted: dict[str, str]) -> list[ColumnElement[bool]]:
    """The conditions that a JSON column of metadata holds what is wanted. Raises `BadInput`."""
    if any('"' in key or "\\" in key for key in wanted):
        raise BadInput("A metadata key with quotes or backslashes cannot be searched.", param="metadata")
    return [column[key].as_string() == value for key, value in wanted.items()]


def strange(after: str) -> BadInput:
    return BadInput(f"No item '{after}' in this list to go on from.", param="after")


def page(rows: Sequence[Item], after: str | None, limit: int) -> tuple[list[Item], bool]:
    """The items behind `after`, at most `limit`, and whether more follow. Raises `BadInput` for a strange cursor."""
    start = 0
    if after is not None:
        ids = [_id(row) for row in rows]
        if after not in ids:
            raise strange(after)
        start = ids.index(after) + 1
    return list(rows[start : start + limit]), len(rows) > start + limit


def _id(row: Any) -> str:
    return str(row["id"] if isinstance(row, dict) else row.id)
