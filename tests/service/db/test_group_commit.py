"""Many writers share a commit, and none of them another's mistake."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, insert, text, update
from sqlalchemy.exc import IntegrityError, OperationalError

from service.db import session
from service.db.group_commit import GroupCommit
from service.db.session import Database

WORDS = Table("words", MetaData(), Column("word", String, primary_key=True), Column("n", Integer))
ADD = insert(WORDS)
COUNT = update(WORDS).where(WORDS.c.word == bindparam("which"))


async def words(database: Database) -> dict[str, int]:
    async with database.reading() as session:
        found = await session.execute(text("SELECT word, n FROM words"))
        return {word: n for word, n in found.all()}


async def test_what_waits_together_is_committed_together(database: Database, monkeypatch: pytest.MonkeyPatch):
    commits, recording = 0, database.recording

    @asynccontextmanager
    async def counted() -> AsyncIterator[Any]:
        nonlocal commits
        commits += 1
        async with recording() as connection:
            yield connection

    monkeypatch.setattr(database, "recording", counted)
    group = GroupCommit(database)
    await asyncio.gather(*(group.execute(ADD, {"word": str(n), "n": n}) for n in range(50)))
    assert await words(database) == {str(n): n for n in range(50)}
    assert commits == 1


async def test_whoever_has_waited_finds_it_committed(database: Database, tmp_path: Path):
    group, other = GroupCommit(database), Database(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")

    async def one(n: int) -> None:
        await group.execute(ADD, {"word": str(n), "n": 0})
        assert str(n) in await words(other)
        await group.execute(COUNT, {"which": str(n), "n": 7})
        assert (await words(other))[str(n)] == 7

    await asyncio.gather(*(one(n) for n in range(20)))
    await other.close()


async def test_one_that_cannot_be_written_does_not_take_the_others_along(database: Database):
    group = GroupCommit(database)
    await group.execute(ADD, {"word": "one", "n": 1})
    tries = (group.execute(ADD, {"word": word, "n": 2}) for word in ("two", "one", "three"))
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), IntegrityError, type(None)]
    assert await words(database) == {"one": 1, "two": 2, "three": 2}


async def test_a_database_that_cannot_be_written_is_told_to_everybody_who_waits(database: Database):
    group = GroupCommit(database)
    async with database.writing() as session:
        await session.execute(text("DROP TABLE words"))
    tries = (group.execute(ADD, {"word": str(n), "n": n}) for n in range(3))
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert {type(result) for result in results} == {OperationalError}


async def test_a_database_that_another_process_holds_is_waited_for_once_and_not_by_each_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(session, "PATIENCE", 0.2)
    database, tries, plain = Database(f"sqlite+aiosqlite:///{tmp_path / 'b.db'}"), 0, Database.recording

    def counted(self: Database) -> Any:
        nonlocal tries
        tries += 1
        return plain(self)

    monkeypatch.setattr(Database, "recording", counted)
    async with database.writing() as opened:
        await opened.execute(text("CREATE TABLE words (word TEXT PRIMARY KEY, n INTEGER)"))
    group = GroupCommit(database)
    with closing(sqlite3.connect(tmp_path / "b.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = (group.execute(ADD, {"word": str(n), "n": n}) for n in range(20))
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(result) for result in results} == {OperationalError}
        assert tries == 1
    await group.execute(ADD, {"word": "later", "n": 1})
    assert await words(database) == {"later": 1}
    await database.close()


async def test_somebody_who_leaves_does_not_keep_the_others_waiting(database: Database):
    group = GroupCommit(database)
    left = asyncio.create_task(group.execute(ADD, {"word": "left", "n": 1}))
    stays = asyncio.create_task(group.execute(ADD, {"word": "stays", "n": 1}))
    await asyncio.sleep(0)
    left.cancel()
    await stays
    assert "stays" in await words(database)
    await group.execute(ADD, {"word": "later", "n": 1})
    await group.close()
