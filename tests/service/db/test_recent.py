"""What was read a moment ago is read again when it may have changed."""

from pathlib import Path

import pytest
from sqlalchemy import text

from service.db import recent
from service.db.recent import Recent
from service.db.session import Database


async def write(database: Database, statement: str, *, records: bool = False) -> None:
    async with database.writing(records=records) as session:
        await session.execute(text(statement))


class Reader:
    """Reads how many words there are, and notes how often it was asked."""

    def __init__(self, database: Database) -> None:
        self.database, self.reads = database, 0

    async def __call__(self) -> int:
        self.reads += 1
        async with self.database.reading() as session:
            return await session.scalar(text("SELECT count(*) FROM words")) or 0


async def test_what_this_process_changes_is_seen_at_once(database: Database):
    kept, reader = Recent[int](database), Reader(database)
    assert [await kept.get("words", reader) for _ in range(3)] == [0, 0, 0]
    assert reader.reads == 1
    await write(database, "INSERT INTO words VALUES ('one', 1)")
    assert await kept.get("words", reader) == 1


async def test_the_record_of_an_answer_changes_nothing_that_is_kept(database: Database):
    kept, reader = Recent[int](database), Reader(database)
    await kept.get("words", reader)
    await write(database, "UPDATE words SET word = 'two'", records=True)
    await kept.get("words", reader)
    assert reader.reads == 1


async def test_what_is_committed_during_the_read_is_not_missed(database: Database):
    kept, reader = Recent[int](database), Reader(database)

    async def read_too_early() -> int:
        found = await reader()
        await write(database, "INSERT INTO words VALUES ('one', 1)")
        return found

    assert await kept.get("words", read_too_early) == 0
    assert await kept.get("words", reader) == 1


async def test_what_another_process_changes_is_seen_when_its_time_is_over(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kept, reader = Recent[int](database), Reader(database)
    monkeypatch.setattr(recent, "SECONDS", 0.0)
    await kept.get("words", reader)
    other = Database(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")
    await write(other, "INSERT INTO words VALUES ('one', 1)")
    await other.close()
    assert await kept.get("words", reader) == 1


async def test_only_so_many_are_kept(database: Database, monkeypatch: pytest.MonkeyPatch):
    kept, reader = Recent[int](database), Reader(database)
    monkeypatch.setattr(recent, "MOST", 3)
    for name in range(10):
        await kept.get(str(name), reader)
        assert len(kept._held) <= 3


async def test_what_is_not_found_is_looked_for_again(database: Database):
    kept, reader = Recent[int](database), Reader(database)

    async def nothing() -> int:
        raise LookupError

    with pytest.raises(LookupError):
        await kept.get("words", nothing)
    assert await kept.get("words", reader) == 0
