"""The migrations, one after the other, build the tables that the code knows."""

from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from service.db.tables import Table


def test_every_table_column_and_index_of_the_code_is_in_a_migrated_database(schema: Path):
    with create_engine(f"sqlite:///{schema}").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        differences: list[Any] = compare_metadata(context, Table.metadata)
    assert differences == []
