"""Data sheets: kept with the file they describe, found by it. Never commits."""

from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.imports import Format, ImportPlan, IntakeSpec
from service.contract.sheets import DataSheet
from service.db import tables
from service.domain import files
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
