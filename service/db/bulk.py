"""A statement for many rows at once, past SQLAlchemy's handling of each parameter of each row.

That handling takes several times as long as the database does. Values go to the driver as they are: for plain texts,
numbers and truth values only. Knows nothing of what is stored.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import ClauseElement


async def run(session: AsyncSession, statement: ClauseElement, rows: Sequence[dict[str, Any]]) -> None:
    """Run an insert, update or delete once for each row; nothing for none. All rows have the same keys."""
    if not rows:
        return
    assert isinstance(statement, Executable)
    connection = await session.connection()
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(rows[0]))
    names: list[str] | None = getattr(compiled, "positiontup", None)
    values = list(rows) if names is None else [tuple(row[name] for name in names) for row in rows]
    await connection.exec_driver_sql(str(compiled), values)
