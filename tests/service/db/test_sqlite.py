"""SQLite behind its thread: transactions begin and end where they should, and a request waits little for it."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from service.db import session as sessions
from service.db.session import Database
from service.db.sqlite import Connection


async def write(database: Database, word: str) -> None:
    async with database.writing() as session:
        await session.execute(text("INSERT INTO words VALUES (:word, 1)"), {"word": word})


async def write_and_fail(database: Database) -> None:
    async with database.writing() as session:
        await session.execute(text("INSERT INTO words VALUES ('two', 1)"))
        raise ZeroDivisionError


async def words(database: Database) -> list[str]:
    async with database.reading() as session:
        return list(await session.scalars(text("SELECT word FROM words ORDER BY word")))


async def test_what_is_committed_is_there_for_everybody_and_what_is_rolled_back_for_nobody(
    database: Database, tmp_path: Path
):
    await write(database, "one")
    with pytest.raises(ZeroDivisionError):
        await write_and_fail(database)
    assert await words(database) == ["one"]
    with sqlite3.connect(tmp_path / "a.db") as other:
        assert other.execute("SELECT word FROM words").fetchall() == [("one",)]


async def test_a_reader_sees_one_moment_however_long_it_reads(database: Database):
    await write(database, "one")
    async with database.reading() as session:
        before = list(await session.scalars(text("SELECT word FROM words")))
        await write(database, "two")
        assert list(await session.scalars(text("SELECT word FROM words"))) == before
    assert await words(database) == ["one", "two"]


async def test_a_writer_has_the_lock_before_it_reads_so_counting_up_loses_nothing(tmp_path: Path):
    url = f"sqlite+aiosqlite:///{tmp_path / 'a.db'}"
    one, other = Database(url), Database(url)
    async with one.writing() as session:
        await session.execute(text("CREATE TABLE counts (n INTEGER)"))
        await session.execute(text("INSERT INTO counts VALUES (0)"))

    async def count_up(database: Database) -> None:
        for _ in range(10):
            async with database.writing() as session:
                n = await session.scalar(text("SELECT n FROM counts"))
                await asyncio.sleep(0)
                await session.execute(text("UPDATE counts SET n = :n"), {"n": n + 1})

    await asyncio.gather(count_up(one), count_up(other))
    async with one.reading() as session:
        assert await session.scalar(text("SELECT n FROM counts")) == 20
    await one.close()
    await other.close()


async def test_a_failed_statement_leaves_no_transaction_behind(database: Database):
    await write(database, "one")
    for _ in range(10):
        with pytest.raises(IntegrityError):
            await write(database, "one")
        with pytest.raises(OperationalError):
            async with database.reading() as session:
                await session.execute(text("SELECT nothing FROM nowhere"))
    await write(database, "two")
    assert await words(database) == ["one", "two"]


async def test_a_writer_that_is_cancelled_anywhere_gives_the_lock_back(database: Database, tmp_path: Path):
    for number in range(30):
        task = asyncio.create_task(write(database, f"word{number}"))
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.wait_for(write(database, "last"), 10)
    with sqlite3.connect(tmp_path / "a.db", timeout=1) as other:
        other.execute("INSERT INTO words VALUES ('from outside', 1)")
    assert {"last", "from outside"} <= set(await words(database))


async def test_who_stands_in_line_for_a_held_database_is_refused_with_the_first_and_not_long_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sessions, "PATIENCE", 0.2)
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'b.db'}")
    async with database.writing() as session:
        await session.execute(text("CREATE TABLE words (word TEXT PRIMARY KEY, n INTEGER)"))
    with closing(sqlite3.connect(tmp_path / "b.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(5):  # 50 waits one after the other would take ten seconds
            tries = (write(database, f"word{number}") for number in range(50))
            refused = await asyncio.gather(*tries, return_exceptions=True)
    assert all(isinstance(one, SQLAlchemyError) and sessions.is_held(one) for one in refused)
    await write(database, "later")
    assert await words(database) == ["later"]
    await database.close()


async def test_a_transaction_of_one_statement_waits_for_the_thread_once_and_a_commit_once_more(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    async with database._engine.connect() as only:
        ours = (await only.get_raw_connection()).driver_connection
    asked, plain = [], Connection._execute

    async def counting(self, function, *arguments):
        if self is ours:
            asked.append(getattr(function, "__name__", ""))
        return await plain(self, function, *arguments)

    monkeypatch.setattr(Connection, "_execute", counting)
    await words(database)
    assert len(asked) == 1
    await write(database, "one")
    assert asked[1:] == [asked[0], "commit"]
    async with database.writing():
        pass
    assert len(asked) == 3, "nothing was written, so nothing is asked"
