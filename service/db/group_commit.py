"""Statements of many requests in few transactions.

What waits while one transaction is being synced to disk goes together into the next one (group commit: DeWitt
et al., 1984), so a busy gateway syncs and takes the write lock once for many answers. Everybody waits for
the commit of their own statement. Knows nothing of what is written.
"""

import asyncio
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.exc import SQLAlchemyError

from service.db.session import Database, is_held

Waiting = tuple[Executable, dict[str, Any], "asyncio.Future[None]"]


class GroupCommit:
    """Writes that decide nothing about later requests. Use it in one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[Waiting] = []
        self._writer: asyncio.Task[None] | None = None

    async def execute(self, statement: Executable, parameters: dict[str, Any]) -> None:
        """Returns when it is committed. Raises what the database does.

        Of statements that wait together the order is kept only among those that are the same.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((statement, parameters, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await done

    async def close(self) -> None:
        """Wait for what is being written."""
        if self._writer is not None:
            await asyncio.wait({self._writer})

    async def _write(self) -> None:
        while self._waiting:
            together, self._waiting = self._waiting, []
            try:
                await self._commit(together)
            except SQLAlchemyError as error:
                if is_held(error):  # Each would wait as long again, one after the other.
                    _refuse(together, error)
                else:
                    await self._one_by_one(together)
            finally:
                for _, _, done in together:
                    done.cancel()  # Nobody waits for ever; one that is done stays as it is.

    async def _one_by_one(self, failed: list[Waiting]) -> None:
        """One that cannot be written must not take the others along."""
        for one in failed:
            try:
                await self._commit([one])
            except SQLAlchemyError as error:
                _refuse([one], error)

    async def _commit(self, together: list[Waiting]) -> None:
        by_statement: dict[Executable, list[dict[str, Any]]] = {}
        for statement, parameters, _ in together:
            by_statement.setdefault(statement, []).append(parameters)
        async with self._database.recording() as connection:
            for statement, rows in by_statement.items():
                await connection.execute(statement, rows[0] if len(rows) == 1 else rows)
        for _, _, done in together:
            if not done.done():
                done.set_result(None)


def _refuse(waiting: list[Waiting], error: SQLAlchemyError) -> None:
    for _, _, done in waiting:
        if not done.done():
            done.set_exception(error)
