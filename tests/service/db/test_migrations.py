"""An upgrade of the schema is whole or was never begun."""

import json
import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import OperationalError

from service.db import session

HEAD = "head"


def config(path: Path) -> Config:
    found = Config()
    found.set_main_option("script_location", str(Path(session.__file__).parent / "migrations"))
    found.set_main_option("sqlalchemy.url", f"sqlite+aiosqlite:///{path}")
    return found


def columns(path: Path, table: str) -> set[str]:
    with sqlite3.connect(path) as database:
        return {row[1] for row in database.execute(f"PRAGMA table_info({table})")}


def test_one_that_breaks_off_leaves_the_schema_as_it_was_and_can_be_made_again(tmp_path: Path):
    path = tmp_path / "a.db"
    command.upgrade(config(path), "0006")
    before = columns(path, "feedback")
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE audit_entries (in_the_way INTEGER)")
    with pytest.raises(OperationalError, match="already exists"):
        command.upgrade(config(path), HEAD)
    assert columns(path, "feedback") == before
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchone() == ("0006",)
        database.execute("DROP TABLE audit_entries")
    command.upgrade(config(path), HEAD)
    assert "preference" in columns(path, "feedback")
    assert "seal" in columns(path, "audit_entries")


def test_what_stood_in_an_older_database_stands_there_after_the_upgrade_and_the_way_back(tmp_path: Path):
    path = tmp_path / "a.db"
    command.upgrade(config(path), "0006")
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO users VALUES ('u', 'Ada', 'administrator', 1, 1)")
        database.execute(
            "INSERT INTO conversations (id, user_id, assistant, title, created_at, updated_at)"
            " VALUES ('c', 'u', 'desk', 'Fares', 1, 2)"
        )
    command.upgrade(config(path), HEAD)
    with sqlite3.connect(path) as database:
        kept = database.execute("SELECT title, pinned, training, deleted_at FROM conversations").fetchall()
    assert kept == [("Fares", 0, 1, None)]
    command.downgrade(config(path), "0006")
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT title FROM conversations").fetchall() == [("Fares",)]


def test_what_a_dataset_held_out_before_is_known_by_its_training_file_afterwards(tmp_path: Path):
    path = tmp_path / "a.db"
    command.upgrade(config(path), "0017")
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO users VALUES ('u', 'Ada', 'administrator', 1, 1)")
        database.executemany(
            "INSERT INTO files (id, user_id, filename, purpose, sha256, bytes, rows, kind, created_at)"
            " VALUES (?, 'u', 'f', 'fine-tune', 'ab', 1, 1, 'sft', 1)",
            [("learnt",), ("kept",)],
        )
        database.execute(
            "INSERT INTO datasets (id, assistant, kind, number, sha256, training_file, validation_file, rows, held_out,"
            " people, excluded, created_at, created_by)"
            " VALUES ('d', 'desk', 'sft', 1, 'cd', 'learnt', 'kept', 1, 1, 1, '{}', 1, 'u')"
        )
    command.upgrade(config(path), HEAD)
    with sqlite3.connect(path) as database:
        kept = dict(database.execute("SELECT id, parted FROM files"))
    assert kept["learnt"] is None
    assert json.loads(kept["kept"]) == {"of": "learnt", "by": "conversation", "source_sha256": "cd"}
    command.downgrade(config(path), "0017")
    assert "parted" not in columns(path, "files")


def test_what_was_shared_before_keeps_the_title_that_everybody_could_read(tmp_path: Path):
    path = tmp_path / "a.db"
    command.upgrade(config(path), "0013")
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO users VALUES ('u', 'Ada', 'administrator', 1, 1)")
        database.executemany(
            "INSERT INTO conversations (id, user_id, assistant, title, created_at, updated_at, share)"
            " VALUES (?, 'u', 'desk', 'Fares', 1, 2, ?)",
            [("read", "secret"), ("own", None)],
        )
    command.upgrade(config(path), HEAD)
    with sqlite3.connect(path) as database:
        kept = dict(database.execute("SELECT id, shared_title FROM conversations"))
    assert kept == {"read": "Fares", "own": None}
    command.downgrade(config(path), "0013")
    assert "shared_title" not in columns(path, "conversations")
