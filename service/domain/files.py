"""Uploaded files: checked whole, line by line, before they count; never changed. Never commits.

A file that was deleted or has expired is neither listed nor served. Its row and its bytes stay for as long
as something that needs it leads back to it: a dataset, a job, an evaluation, an assistant, an unfinished batch.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, and_, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract import folder
from service.contract.batches import MAX_BYTES, MAX_LINES, UNFINISHED
from service.contract.datasets import BadRow, RatedCompletion, check_row, describe, read_objects
from service.contract.evaluations import Case
from service.contract.files import PURPOSES, ExpiresAfter, File
from service.contract.splits import Parted
from service.db import tables
from service.domain.identity import new_id, now
from service.domain.keys import Caller
from service.domain.paging import page
from service.errors import BadInput, NotFound
from service.storage.adapters import check_brought

IN_RUN = re.compile(rf"\b(?:{re.escape(folder.TRAIN)}|{re.escape(folder.VALIDATION)})\b")
BATCH_LIFE = 30 * 86_400
"""Seconds that a batch's files live unless told otherwise, as at OpenAI; all others stay until deleted."""


def check_purpose(purpose: str) -> None:
    """Raises `BadInput` for a purpose that nothing here reads."""
    if purpose not in PURPOSES:
        raise BadInput(
            f"The purpose '{purpose[:40]}' is not served. Use 'fine-tune', 'evals', 'batch' or 'adapter'.",
            param="purpose",
        )


def check(path: Path, purpose: str, filename: str) -> tuple[str, int]:
    """Read every line of a JSONL file. Returns its kind (`sft`, `dpo`, `kto`, `cases`, `batch`) and number of rows.

    Of a ZIP with an adapter (`adapter`), the names of its files. Raises `BadInput` naming the file, the line and the
    field. Blocking: call it in a thread.
    """
    if purpose == "adapter":
        return "adapter", len(check_brought(path))
    with open(path, "rb") as lines:
        try:
            if purpose == "evals":
                kind, rows = "cases", sum(1 for _ in _read_cases(lines))
            elif purpose == "batch":
                kind, rows = "batch", _count_requests(path, lines)
            else:
                kind, rows = _check_training(lines)
        except BadRow as error:
            said = error.of(name_of(filename))
            raise BadInput(said, param="file", code="invalid_file", line=error.line) from None
    if rows == 0:
        raise BadInput(
            "The file is empty. Send JSONL: one JSON object on each line.", param="file", code="empty_file"
        )
    return kind, rows


def count_labels(path: Path) -> tuple[int, int]:
    """How many rated completions of a checked file are desirable, and how many are not. Blocking."""
    with open(path, "rb") as lines:
        labels = Counter(RatedCompletion.model_validate(row).label for _, row in read_objects(lines))
    return labels[True], labels[False]


def name_of(filename: str) -> str:
    """A file's name as it is kept: that of a path its last part."""
    return Path(filename).name[:200] or "file.jsonl"


def as_brought(said: str, training: tables.File | None, validation: tables.File | None) -> str:
    """What a training says of the files in its run folder, by the names that people know them by."""
    known = {folder.TRAIN: training, folder.VALIDATION: validation}
    names = {name: file.filename for name, file in known.items() if file is not None and file.filename}
    return IN_RUN.sub(lambda found: names.get(found[0], found[0]), said)


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
    expires_after: ExpiresAfter | None = None,
    parted: Parted | None = None,
) -> tables.File:
    life = expires_after.seconds if expires_after else BATCH_LIFE if purpose.startswith("batch") else None
    file = tables.File(
        id=new_id("file-"), user_id=user_id, filename=name_of(filename), purpose=purpose,
        sha256=sha256, bytes=size, rows=rows, kind=kind, created_at=now(), deleted_at=None,
        expires_at=None if life is None else now() + life, parted=parted.model_dump() if parted else None,
    )  # fmt: skip
    session.add(file)
    await session.flush()
    return file


async def get_file(session: AsyncSession, file_id: str) -> tables.File:
    """A file by id, whoever it belongs to: for what the service itself begins."""
    file = await get_kept(session, file_id)
    if file.deleted_at is not None or (file.expires_at is not None and file.expires_at <= now()):
        raise _not_found(file_id)
    return file


async def get_kept(session: AsyncSession, file_id: str) -> tables.File:
    """The same, though it was deleted or has expired: for what was begun with it and still needs it."""
    file = await session.get(tables.File, file_id)
    if file is None:
        raise _not_found(file_id)
    return file


async def get_visible(session: AsyncSession, caller: Caller, file_id: str) -> tables.File:
    """A file of the caller's own, or any for a reviewer."""
    file = await get_file(session, file_id)
    if not caller.may_see(file.user_id):
        raise _not_found(file_id)
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
    query = select(tables.File).where(~_gone())
    if not caller.may("reviewer"):
        query = query.where(tables.File.user_id == caller.user_id)
    if purpose is not None:
        query = query.where(tables.File.purpose == purpose)
    query = query.order_by(*(order if ascending else (column.desc() for column in order)))
    return page(list(await session.scalars(query)), after, limit)


async def delete_file(session: AsyncSession, caller: Caller, file_id: str) -> tables.File:
    """Hide a file. Its bytes stay while something that needs it leads back to them."""
    file = await get_visible(session, caller, file_id)
    caller.must_own(file.user_id)
    file.deleted_at = now()
    return file


async def forget_needless(session: AsyncSession) -> int:
    """Remove the rows of files that are gone and that nothing leads back to. Returns how many."""
    jobs, datasets, evaluations = tables.Job, tables.Dataset, tables.Evaluation
    unfinished = tables.Batch.status.in_(UNFINISHED)
    needed = [
        jobs.training_file, jobs.validation_file, datasets.training_file, datasets.validation_file,
        evaluations.cases_file, tables.Assistant.cases_file,
    ]  # fmt: skip
    leads_back = [select(column).where(column == tables.File.id).exists() for column in needed]
    leads_back.append(
        select(tables.Batch.id).where(tables.Batch.input_file_id == tables.File.id, unfinished).exists()
    )
    removed = await session.execute(
        delete(tables.File).where(_gone(), ~or_(*leads_back)).returning(tables.File.id)
    )
    return len(removed.all())


async def digests(session: AsyncSession) -> set[str]:
    """What the rows of files lead to; bytes of any other digest are nobody's."""
    return set(await session.scalars(select(tables.File.sha256).distinct()))


def shown(file: tables.File) -> File:
    return File(
        id=file.id, bytes=file.bytes, created_at=file.created_at, expires_at=file.expires_at,
        filename=file.filename, purpose=file.purpose, kind=file.kind, rows=file.rows,
        parted=Parted.model_validate(file.parted) if file.parted else None,
    )  # fmt: skip


def _gone() -> ColumnElement[bool]:
    expired = and_(tables.File.expires_at.is_not(None), tables.File.expires_at <= now())
    return or_(tables.File.deleted_at.is_not(None), expired)


def _not_found(file_id: str) -> NotFound:
    return NotFound(f"No such File object: {file_id}", param="id")


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
            "neither 'messages' (supervised), nor 'input', 'preferred_output' and 'non_preferred_output' "
            "(preferences), nor 'prompt', 'completion' and 'label' (rated completions).",
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


def _count_requests(path: Path, lines: Iterable[bytes]) -> int:
    """What a batch needs of its file whatever its endpoint is; the rest is checked by the batch, line by line."""
    if path.stat().st_size > MAX_BYTES:
        raise BadInput(
            f"A batch's file holds {MAX_BYTES >> 20} MB at most. Split it into several.",
            param="file",
            code="file_too_large",
        )
    rows = 0
    for rows, (number, _) in enumerate(read_objects(lines), 1):
        if rows > MAX_LINES:
            raise BadRow(number, f"a batch has {MAX_LINES} requests at most; split the file into several.")
    return rows


def _read_cases(lines: Iterable[bytes]) -> Iterator[Case]:
    """Each as an evaluation will have it: one that asks nothing fails it, and a doubled one narrows every interval."""
    seen: dict[str, int] = {}
    for number, value in read_objects(lines):
        try:
            case = Case.model_validate(value)
        except ValidationError as error:
            raise BadRow(number, describe(error)) from None
        if (why := case.unfit()) is not None:
            raise BadRow(number, why)
        if (first := seen.setdefault(case.name(), number)) != number:
            raise BadRow(
                number,
                f"the same case as line {first} ('{case.name()}'). Remove one, or give it its own 'id'.",
            )
        yield case
