from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from service.db.session import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")
    async with database.writing() as session:
        await session.execute(text("CREATE TABLE words (word TEXT PRIMARY KEY, n INTEGER)"))
    yield database
    await database.close()
