"""Data sheets: kept with the file they describe, found by it. Never commits."""

from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.sheets import DataSheet
from service.db import tables
from service.domain import files
from service.domain.keys import Caller
from service.errors import NotFound


async def keep(session: AsyncSession, file_id: str, sheet: DataSheet) -> None:
    """Write down what is in a file, once."""
    session.add(tables.Sheet(file_id=file_id, sheet=sheet.model_dump()))
    await session.flush()


async def get_sheet(session: AsyncSession, caller: Caller, file_id: str) -> DataSheet:
    """The sheet of a file that the caller may see. Raises `NotFound`."""
    await files.get_visible(session, caller, file_id)
    found = await session.get(tables.Sheet, file_id)
    if found is None:
        raise NotFound(
            f"File '{file_id}' has no data sheet. Bring its rows by /api/imports to have them measured."
        )
    return DataSheet.model_validate(found.sheet)
