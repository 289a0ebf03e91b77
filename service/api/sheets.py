"""`/api/sheets`: what is in a training file, measured when it was brought."""

from fastapi import APIRouter

from service.api.deps import CallerDep, ReadDep
from service.contract.sheets import DataSheet
from service.domain import sheets

router = APIRouter(prefix="/api/sheets", tags=["imports"])


@router.get("/{file_id}")
async def retrieve_sheet(file_id: str, session: ReadDep, caller: CallerDep) -> DataSheet:
    return await sheets.get_sheet(session, caller, file_id)
