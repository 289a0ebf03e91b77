"""Uploaded files: checked whole, line by line, before they count; never changed. Never commits."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.datasets import BadRow, check_row, describe, read_objects
from service.contract.evaluations import Case
from service.contract.files import File
from service.db import tables
from service.domain.identity import new_id, now
from service.domain.keys import Caller
from service.domain.paging import page
from service.errors import BadInput, NotFound


def check(path: Path, purpose: str) -> tuple[str, int]:
    """Read every line of a JSONL file. Returns its kind (`sft`, `dpo`, `kto`, `cases`) and number of rows.

    Raises `BadInput` naming the line and the field. Blocking: call it in a thread.
    """
    with open(path, "rb") as lines:
        try:
            if purpose == "evals":
                kind, rows = "cases", sum(1 for _ in _read_cases(lines))
            else:
                kind, rows = _check_training(lines)
        except BadRow as error:
            raise BadInput(str(error), param="file", code="invalid_file") from None
    if rows == 0:
        raise BadInput(
            "The file is empty. Send JSONL: one JSON object on each line.", param="file", code="empty_file"
        )
    return kind, rows


async def add_file(
    session: AsyncSession,
    *,
    user_id: str,
    filename: str,
    purpose: str,
    sha256: str,
    size: int,
    kind: str,
    rows: int,
) -> tables.File:
    file = tables.File(
        id=new_id("file-"), user_id=user_id, filename=Path(filename).name[:200] or "file.jsonl", purpose=purpose,
        sha256=sha256, bytes=size, rows=rows, kind=kind, created_at=now(), deleted_at=None,
    )  # fmt: skip
    session.add(file)
    await session.flush()
    return file


async def get_file(session: AsyncSession, file_id: str) -> tables.File:
    """A file by id, whoever it belongs to: for what the service itself does."""
    file = await session.get(tables.File, file_id)
    if file is None or file.deleted_at is not None:
        raise NotFound(f"No such File object: {file_id}", param="id")
    return file


async def get_visible(session: AsyncSession, caller: Caller, file_id: str) -> tables.File:
    """A file of the caller's own, or any for a reviewer."""
    file = await get_file(session, file_id)
    if not (file.user_id == caller.user_id or caller.may("reviewer")):
        raise NotFound(f"No such File object: {file_id}", param="id")
    return file


async def list_files(
    session: AsyncSession,
    caller: Caller,
    *,
    purpose: str | None,
    after: str | None,
    limit: int,
    ascending: bool,
) -> tuple[list[tables.File], bool]:
    """A page of files and whether more follow."""
    order = (tables.File.created_at, tables.File.id)
    query = select(tables.File).where(tables.File.deleted_at.is_(None))
    if not caller.may("reviewer"):
        query = query.where(tables.File.user_id == caller.user_id)
    if purpose is not None:
        query = query.where(tables.File.purpose == purpose)
    query = query.order_by(*(order if ascending else (column.desc() for column in order)))
    return page(list(await session.scalars(query)), after, limit)


async def delete_file(session: AsyncSession, caller: Caller, file_id: str) -> None:
    """Hide a file. Its bytes stay while a dataset or a job leads back to them."""
    file = await get_visible(session, caller, file_id)
    file.deleted_at = now()


def shown(file: tables.File) -> File:
    return File(
        id=file.id, bytes=file.bytes, created_at=file.created_at, filename=file.filename, purpose=file.purpose
    )


def _check_training(lines: Iterable[bytes]) -> tuple[str, int]:
    """The first row decides which kind the file is of; every row must be of that kind."""
    numbered = read_objects(lines)
    first = next(numbered, None)
    if first is None:
        return "sft", 0
    kind = _kind_of(first[1])
    if kind is None:
        raise BadRow(
            first[0],
            "neither 'messages' (supervised) nor 'input', 'preferred_output' and 'non_preferred_output' (preferences).",
        )
    rows = 0
    for number, value in chain([first], numbered):
        check_row(number, value, kind)
        rows += 1
    return kind, rows


def _kind_of(row: dict[str, Any]) -> str | None:
    if "messages" in row:
        return "sft"
    if "input" in row:
        return "dpo"
    return "kto" if "label" in row and "completion" in row else None


def _read_cases(lines: Iterable[bytes]) -> Iterator[Case]:
    for number, value in read_objects(lines):
        try:
            yield Case.model_validate(value)
        except ValidationError as error:
            raise BadRow(number, describe(error)) from None
