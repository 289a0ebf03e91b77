"""Data sheets: kept with the file they describe, found by it. Figures are written once. Never commits."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.imports import Format, ImportPlan, IntakeSpec
from service.contract.sheets import DataSheet, Frozen, Said
from service.db import tables
from service.domain import files, origins
from service.domain.keys import Caller
from service.errors import BadInput, NotFound
from service.storage.local import Store

FORMATS: dict[str, Format] = {"sft": "openai-chat", "dpo": "openai-preference", "kto": "kto"}
"""How a checked training file is read, by its kind."""


async def keep(session: AsyncSession, file_id: str, sheet: DataSheet) -> None:
    """Write down what is in a file, once."""
    session.add(tables.Sheet(file_id=file_id, sheet=sheet.model_dump()))
    await session.flush()


async def find(session: AsyncSession, file_id: str) -> DataSheet | None:
    found = await session.get(tables.Sheet, file_id)
    return DataSheet.model_validate(found.sheet) if found is not None else None


async def say(session: AsyncSession, caller: Caller, file: tables.File, said: Said) -> None:
    """Write down where a measured file is from and under which licence, over what was said before."""
    caller.must_own(file.user_id)
    found = await session.get_one(tables.Sheet, file.id)
    found.sheet = found.sheet | said.model_dump(exclude_none=True)


async def known_of(session: AsyncSession, file: tables.File) -> dict[str, Any]:
    """What a sheet tells of a file beside its rows: the dataset that it is of, and what was said of the file that it is
    a part of."""
    row = tables.File
    if frozen := await origins.frozen_as(session, file):
        return {"frozen": Frozen.model_validate(frozen[0])}
    held_out = file if file.parted is not None else await session.scalar(
        select(row).where(row.parted["of"].as_string() == file.id).limit(1)
    )  # fmt: skip
    if held_out is None or held_out.parted is None:
        return {}
    whole = (row.id == held_out.parted["of"]) | (row.sha256 == held_out.parted["source_sha256"])
    whole &= row.user_id == file.user_id  # others may have said otherwise of the same bytes, or know more
    kept = (
        select(tables.Sheet.sheet).join(row, row.id == tables.Sheet.file_id).where(whole, row.id != file.id)
    )
    said = Said()
    for sheet in await session.scalars(kept.order_by(row.created_at.desc())):
        said.source, said.licence = said.source or sheet["source"], said.licence or sheet["licence"]
    return said.model_dump()


async def get_sheet(session: AsyncSession, caller: Caller, file_id: str) -> DataSheet:
    """The sheet of a file that the caller may see. Raises `NotFound`."""
    await files.get_visible(session, caller, file_id)
    found = await find(session, file_id)
    if found is None:
        raise NotFound(f"File '{file_id}' was not measured yet. Ask for its sheet with POST.")
    return found


def spec_of(store: Store, file: tables.File, *, tokenizer: str | None) -> IntakeSpec:
    """What measuring a file needs. Raises `BadInput` for one that is not trained on."""
    if file.kind not in FORMATS:
        raise BadInput(f"File '{file.id}' holds no training rows.", param="file_id")
    plan = ImportPlan(format=FORMATS[file.kind], duplicates="keep")
    return IntakeSpec(
        task="import", path=str(store.file(file.sha256)), filename=file.filename, sha256=file.sha256, plan=plan,
        tokenizer=tokenizer,
    )  # fmt: skip
