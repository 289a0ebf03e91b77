"""Alembic's entry: runs the migrations beside it on the URL it is given, all of them or none."""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import create_async_engine

from service.db.tables import Table


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=Table.metadata, render_as_batch=True, transactional_ddl=True
    )
    with context.begin_transaction():
        context.run_migrations()


async def _connect() -> None:
    url = context.config.get_main_option("sqlalchemy.url") or ""
    engine = create_async_engine(url)
    if url.startswith("sqlite"):
        # Python's driver begins before a change of rows only, and so would keep half of what a cut left of a change
        # of tables (docs.sqlalchemy.org, "Enabling Non-Legacy SQLite Transactional Modes").
        event.listen(engine.sync_engine, "connect", _begin_nothing)
        event.listen(engine.sync_engine, "begin", _begin)
    async with engine.begin() as connection:
        await connection.run_sync(_run)
    await engine.dispose()


def _begin_nothing(connection: Any, _: Any) -> None:
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


asyncio.run(_connect())
