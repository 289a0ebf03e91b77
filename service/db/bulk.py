"""A statement for many rows at once, past SQLAlchemy's handling of each parameter of each row.

That handling takes several times as long as the database does. Values go to the driver as they are: for plain texts,
numbers and truth values only. Knows nothing of what is stored.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import ClauseElement


async def run(session: AsyncSession, statement: ClauseElement, rows: Sequence[dict[str, Any]]) -> None:
    """Run an insert, update or delete once for each row; nothing for none. All rows have the same keys."""
    if not rows:
        return
    connection = await session.connection()
    text, names = _compiled(statement, connection.dialect, tuple(rows[0]))
    values: list[Any] = list(rows) if names is None else [tuple(row[name] for name in names) for row in rows]
    await connection.exec_driver_sql(text, values)


@lru_cache(maxsize=64)
def _compiled(
    statement: ClauseElement, dialect: Dialect, keys: tuple[str, ...]
) -> tuple[str, list[str] | None]:
    """The statement as text, and which key stands at which place; none where the driver takes keys."""
    compiled = statement.compile(dialect=dialect, column_keys=list(keys))
    return str(compiled), getattr(compiled, "positiontup", None)
