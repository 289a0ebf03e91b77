"""Opening the database, its two kinds of transaction, and bringing its schema up to date.

Owns how SQLite is opened (WAL, foreign keys, a patient lock) and knows nothing of what is stored.
Only an edge commits: a request, a step of the worker, the end of a stream.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import event, make_url
from sqlalchemy.exc import TimeoutError as NoTurn
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker, create_async_engine

from service.db.sqlite import connect
from service.errors import DatabaseUnavailable

CACHE = 16 * 1024
"""KiB of pages that a connection to SQLite keeps at most. With its usual 2000 a question about a year's feedback takes
ten to twenty percent longer, as pages are read again and again."""
PATIENCE = 15.0
"""Seconds that a writer stands in line, and then waits for a writer of another process, before it is refused."""


class Database:
    """One database: short transactions that read, and short ones that write.

    On SQLite a writing transaction takes the write lock at its start, since a reading one that turns
    into a writer fails at once when another has written meanwhile (sqlite.org/isolation.html). The writers
    of one process stand in line for it here: SQLite itself polls with growing pauses and serves nobody in
    order, and each writer that polls keeps a connection from the readers. Nobody waits for as long as all who
    stand before it: who has had no turn after `PATIENCE` is refused, as by a database that cannot be reached.
    """

    def __init__(self, url: str) -> None:
        lite = url.startswith("sqlite")
        self._engine = create_async_engine(
            url, connect_args={"async_creator_fn": connect} if lite else {}, hide_parameters=True
        )
        self._line = asyncio.Lock() if lite else None
        if lite:
            event.listen(self._engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self._engine.sync_engine, "begin", _begin_sqlite)
        self._read = async_sessionmaker(self._engine, expire_on_commit=False)
        self._write = async_sessionmaker(self._engine.execution_options(write=True), expire_on_commit=False)
        self._record = self._engine.execution_options(write=True, gathered=True)
        self._recorder: AsyncConnection | None = None
        self.changes = 0
        """Grows whenever this process has written something that decides about requests: see `recent`."""

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        async with self._read() as session:
            yield session

    @asynccontextmanager
    async def writing(self, *, records: bool = False) -> AsyncIterator[AsyncSession]:
        """One transaction: committed when the block ends, rolled back when it raises.

        One that writes `records` of answers, and nothing that decides about later requests, says so.
        """
        try:
            async with self._turn(), self._write() as session, session.begin():
                yield session
        finally:
            self.changes += not records

    @asynccontextmanager
    async def recording(self) -> AsyncIterator[AsyncConnection]:
        """A transaction of plain statements, without objects and of which nothing is asked: see `group_commit`.

        All are made on one connection, until one fails: to take it from the pool and give it back is a tenth of their
        price.
        """
        async with self._turn():
            recorder = self._recorder = self._recorder or await self._record.connect()
            try:
                async with recorder.begin():
                    yield recorder
            except BaseException:
                self._recorder = None
                await recorder.close()
                raise

    async def close(self) -> None:
        if self._recorder is not None:
            await self._recorder.close()
        await self._engine.dispose()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """The one place among this process's writers, where the database lets one write at a time."""
        if self._line is None:
            yield
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._line.acquire()
        except TimeoutError:
            raise NoTurn(f"no turn to write in {PATIENCE:.0f} s") from None
        try:
            yield
        finally:
            self._line.release()


def is_held(error: Exception) -> bool:
    """Whether others held the database all the time that a writer waited, whatever it wanted to write."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", sqlite3.SQLITE_OK)
    return isinstance(error, NoTurn) or code & 0xFF == sqlite3.SQLITE_BUSY


async def check(url: str) -> None:
    """Raise `DatabaseUnavailable` when SQLite finds its file damaged; a few seconds for a gigabyte.

    A log of writes (`-wal`) that a crash or the disk cut short is no damage: SQLite takes what was committed
    before the first bad frame, and nothing after it.
    """
    path = make_url(url).database
    if url.startswith("sqlite") and path and Path(path).exists():
        await asyncio.to_thread(_check_sqlite, Path(path))


def _check_sqlite(path: Path) -> None:
    try:
        with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection:
            said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError:
        return  # locked, or not to be opened: whoever needs it will say so
    except sqlite3.DatabaseError as error:
        said = str(error)
    if said != "ok":
        raise DatabaseUnavailable(
            f"The database at {path} is damaged: {' '.join(said.split())[:200]}. It is left as it is. "
            "Put a backup in its place, or move it away to begin anew."
        )


async def migrate(url: str) -> None:
    """Bring the schema to the newest version; an up-to-date database is left alone."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    await asyncio.to_thread(command.upgrade, config, "head")


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # FULL: a confirmed rating must survive power loss, not only the death of a process.
    connection.isolation_level = None
    cursor = connection.cursor()
    waits = f"busy_timeout={PATIENCE * 1000:.0f}"
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"cache_size=-{CACHE}", waits):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    # Python's sqlite3 begins late and on its own; SQLAlchemy's documentation asks for an explicit BEGIN.
    options = connection.get_execution_options()
    connection.connection.driver_connection.begin(
        writes=options.get("write", False), gathered=options.get("gathered", False)
    )
