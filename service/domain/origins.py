"""Rows that were made of feedback, taken away and brought back: what a file says it was made of. Never commits.

Whoever downloads a dataset, mends a few rows and brings them again makes another file, with other bytes. Its rows still
say which feedback they are from (`tailorbird`), and that is kept beside the file, so that neither lineage nor what was
found on the feedback is lost. Only feedback that is on record counts; a file says no more of it than that.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from sqlalchemy import exists, func, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.datasets import ROW, read_objects
from service.db import tables

CHUNK = 5000
"""Records written at once."""


async def told_by(path: Path, kind: str) -> IO[str]:
    """Ids of feedback that the rows of a checked file name, one on each line: on disk, as there may be a million. Of a
    file that is not trained on, none."""
    return await asyncio.to_thread(_told_by, path, kind)


def _told_by(path: Path, kind: str) -> IO[str]:
    told = tempfile.TemporaryFile("w+")
    if kind not in ROW:
        return told
    with open(path, "rb") as lines:
        for line in lines:
            if b"feedback_id" in line:  # spares reading the rows of all other files once more
                told.writelines(f"{found}\n" for _, row in read_objects([line]) if (found := _named(row)))
    return told


async def keep(session: AsyncSession, file_id: str, told: IO[str]) -> None:
    """Write down what a file was made of, once. One with the bytes of a dataset's is known by them."""
    known, row = tables.Feedback, tables.FileRow
    kept = exists().where(row.file_id == file_id, row.feedback_id == known.id)
    with told:
        file = await session.get_one(tables.File, file_id)
        for ids in () if await frozen_as(session, file) else _chunks(told):
            fresh = select(literal(file_id), known.id).where(known.id.in_(ids), ~kept)
            await session.execute(insert(row).from_select(["file_id", "feedback_id"], fresh))


async def frozen_as(session: AsyncSession, file: tables.File) -> list[tables.Dataset]:
    """The datasets whose training file or held-out file has these very bytes, oldest first."""
    dataset, same = tables.Dataset, tables.File
    mine = select(same.id).where(same.sha256 == file.sha256)
    made = dataset.training_file.in_(mine) | dataset.validation_file.in_(mine)
    return list(await session.scalars(select(dataset).where(made).order_by(dataset.created_at)))


async def dataset_of(session: AsyncSession, file: tables.File) -> tables.Dataset | None:
    """The dataset that at least half of a file's rows stand in: of several that with most of them, then the newest."""
    row, member, dataset = tables.FileRow, tables.DatasetRow, tables.Dataset
    query = (
        select(dataset)
        .join(member, member.dataset_id == dataset.id)
        .join(row, row.feedback_id == member.feedback_id)
        .where(row.file_id == file.id, dataset.kind == file.kind)
        .group_by(dataset.id)
        .having(func.count() * 2 >= file.rows)
        .order_by(func.count().desc(), dataset.created_at.desc(), dataset.number.desc())
    )
    return await session.scalar(query.limit(1))


async def files_with(session: AsyncSession, feedback: Any) -> list[str]:
    """Files that say they hold some of this feedback, by a query of its ids."""
    row = tables.FileRow
    return list(await session.scalars(select(row.file_id).where(row.feedback_id.in_(feedback)).distinct()))


def _named(row: dict[str, Any]) -> str | None:
    found = (row.get("tailorbird") or {}).get("feedback_id")
    return found if isinstance(found, str) and found.isprintable() else None


def _chunks(told: IO[str]) -> Iterator[list[str]]:
    told.seek(0)
    while ids := [line.rstrip("\n") for line in islice(told, CHUNK)]:
        yield list(dict.fromkeys(ids))
