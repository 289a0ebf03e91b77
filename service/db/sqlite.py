"""SQLite on a thread of its own for each connection, asked once for each statement.

aiosqlite asks its thread four times for a SELECT (make a cursor, execute, fetch, close), and a transaction's
BEGIN and ROLLBACK are statements of their own. Each time two threads wait for a core, which is what a
request waits for when the engine keeps every core busy. Here a statement is one question, the first one of
a transaction takes the BEGIN with it, and nobody waits for the end of a transaction that wrote nothing.
A transaction whose statements are `gathered` is one question in all, asked at its end.
Knows nothing of what is stored.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import aiosqlite


class Connection(aiosqlite.Connection):
    """What SQLAlchemy's aiosqlite dialect needs of one. Statements run in the order they are asked."""

    _held: str | None = None
    """The BEGIN that goes with the next statement."""
    _open: bool | None = None
    """What the transaction under way is: one that writes, one that reads, or none."""
    _gathered: "list[Asked] | None" = None
    """Statements that wait for the COMMIT."""

    def begin(self, *, writes: bool, gathered: bool = False) -> None:
        """Open a transaction with the next statement; one that writes takes SQLite's write lock first.

        Where nobody asks what the statements found, they may be `gathered`: the COMMIT asks them all.
        """
        self._held, self._open = "BEGIN IMMEDIATE" if writes else "BEGIN", writes
        self._gathered = [] if gathered else None

    def cursor(self) -> Any:
        return Cursor(self)

    async def ask(self, method: str, sql: str, parameters: Iterable[Any]) -> "Found":
        """One statement, fetched whole. Raises what `sqlite3` does."""
        if self._gathered is not None:
            self._gathered.append((method, sql, parameters))
            return NOTHING
        begin, self._held = self._held, None
        return await self._execute(_run, self._conn, begin, method, sql, parameters)

    async def commit(self) -> None:
        """A gathered transaction is asked here, whole or not at all. Raises what `sqlite3` does."""
        if self._gathered:
            asked, self._gathered = self._gathered, None
            await self._execute(_run_all, self._conn, self._held, asked)
        elif self._held is None:
            await self._execute(self._conn.commit)
        self._held, self._open = None, None

    async def rollback(self) -> None:
        """Nothing asked for later can overtake it, so only the end of a write lock is waited for."""
        held, writes = self._held, self._open
        self._held, self._open, self._gathered = None, None, None
        if held is not None or writes is None:
            return
        if writes:
            await self._execute(self._conn.rollback)
        else:
            self._tx.put_nowait((None, self._conn.rollback))


Found = tuple[Any, int, int | None, list[Any]]
"""Description of the columns, rows changed, id of the last new row, rows."""
NOTHING: Found = (None, -1, None, [])
Asked = tuple[str, str, Iterable[Any]]
"""`execute` or `executemany`, the statement, its parameters."""


class Cursor:
    """One statement and all its rows; it holds nothing in SQLite."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self._rows: list[Any] = []

    async def __aenter__(self) -> "Cursor":
        return self

    async def execute(self, sql: str, parameters: Iterable[Any] = ()) -> "Cursor":
        self._take(await self._connection.ask("execute", sql, parameters))
        return self

    async def executemany(self, sql: str, parameters: Sequence[Any]) -> "Cursor":
        self._take(await self._connection.ask("executemany", sql, parameters))
        return self

    async def fetchall(self) -> list[Any]:
        return self._rows

    async def close(self) -> None:
        self._rows = []

    def _take(self, found: Found) -> None:
        self.description, self.rowcount, self.lastrowid, self._rows = found


def connect(database: str, **options: Any) -> Connection:
    """A connection that opens when it is awaited; its thread does not keep the process alive."""
    connection = Connection(partial(sqlite3.connect, database, **options), iter_chunk_size=64)
    connection._thread.daemon = True
    return connection


def _run(
    connection: sqlite3.Connection, begin: str | None, method: str, sql: str, parameters: Iterable[Any]
) -> Found:
    """In the connection's thread."""
    if begin is not None:
        connection.execute(begin)
    cursor = connection.cursor()
    try:
        getattr(cursor, method)(sql, parameters)
        rows = cursor.fetchall() if cursor.description else []
        return cursor.description, cursor.rowcount, cursor.lastrowid, rows
    finally:
        cursor.close()


def _run_all(connection: sqlite3.Connection, begin: str, asked: list[Asked]) -> None:
    """In the connection's thread."""
    connection.execute(begin)
    try:
        for method, sql, parameters in asked:
            getattr(connection, method)(sql, parameters).close()
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
