"""What a disk or a crash may leave of the database: what was committed before the damage is there, nothing is half."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from service.db.session import check
from service.errors import DatabaseUnavailable

FRAME = 24 + 4096
"""Bytes of one page in the log of writes, with its head (sqlite.org/fileformat2.html, section 4)."""


@pytest.fixture
def killed(tmp_path: Path, schema: Path) -> Path:
    """A database as `kill -9` leaves it: one row in the file, three commits of one each in the log beside it."""
    live, left = tmp_path / "live.db", tmp_path / "tailorbird.db"
    shutil.copy(schema, live)
    with closing(sqlite3.connect(live, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE said (n INTEGER PRIMARY KEY, twice INTEGER)")
        for n in range(4):
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("INSERT INTO said (n) VALUES (?)", (n,))
            writer.execute("UPDATE said SET twice = 2 * n WHERE n = ?", (n,))
            writer.execute("COMMIT")
            if n == 0:
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for end in ("", "-wal"):
            shutil.copy(f"{live}{end}", f"{left}{end}")
    return left


def cut(log: bytearray) -> bytearray:
    """The last frame is half written."""
    return log[: -FRAME // 2]


def flip(log: bytearray) -> bytearray:
    """The last frame has one bit wrong."""
    log[-100] ^= 1
    return log


def flip_all(log: bytearray) -> bytearray:
    """So has every frame."""
    for at in range(32 + 24 + 50, len(log), FRAME):
        log[at] ^= 1
    return log


def noise(log: bytearray) -> bytearray:
    return bytearray(7 * n % 256 for n in range(len(log)))


@pytest.mark.parametrize(
    ("damage", "kept"),
    [(lambda log: log, [0, 1, 2, 3]), (cut, [0, 1, 2]), (flip, [0, 1, 2]), (flip_all, [0]), (noise, [0])],
)
async def test_a_damaged_log_loses_what_came_after_the_damage_and_nothing_else(
    killed: Path, damage: Callable[[bytearray], bytearray], kept: list[int]
):
    log = Path(f"{killed}-wal")
    log.write_bytes(damage(bytearray(log.read_bytes())))
    await check(f"sqlite+aiosqlite:///{killed}")
    with closing(sqlite3.connect(killed)) as reader:
        assert list(reader.execute("SELECT n, twice FROM said ORDER BY n")) == [(n, 2 * n) for n in kept]
        assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("size", [100, 30 * 4096])
async def test_a_damaged_database_is_told_as_such_and_left_alone(killed: Path, size: int):
    Path(f"{killed}-wal").unlink()
    whole = bytearray(killed.read_bytes())
    whole[:size] = (
        bytes(7 * n % 256 for n in range(size)) if size == 100 else whole[:4096] + bytes(size - 4096)
    )
    killed.write_bytes(whole)
    with pytest.raises(DatabaseUnavailable, match="is damaged: .* Put a backup in its place"):
        await check(f"sqlite+aiosqlite:///{killed}")
    assert killed.read_bytes() == whole


async def test_a_database_that_is_not_there_yet_or_elsewhere_is_nobodys_damage(tmp_path: Path):
    await check(f"sqlite+aiosqlite:///{tmp_path / 'none.db'}")
    await check("postgresql+asyncpg://nobody@nowhere/none")
    assert not (tmp_path / "none.db").exists()
