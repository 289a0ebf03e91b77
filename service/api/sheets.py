"""`/api/sheets`: what is in a training file, measured when it was brought, or when somebody asks for it."""

from fastapi import APIRouter

from service.api.deps import CallerDep, House, HouseDep, ReadDep
from service.api.looks import looked_into
from service.contract.imports import ImportReport, IntakeSpec
from service.contract.sheets import DataSheet
from service.domain import files, sheets

router = APIRouter(prefix="/api/sheets", tags=["imports"])
PATIENCE = 600.0
"""Seconds that measuring a file may take while its asker waits."""


@router.get("/{file_id}")
async def retrieve_sheet(file_id: str, session: ReadDep, caller: CallerDep) -> DataSheet:
    return await sheets.get_sheet(session, caller, file_id)


@router.post("/{file_id}")
async def measure_file(file_id: str, house: HouseDep, caller: CallerDep) -> DataSheet:
    """Measure a file that was uploaded or frozen, such as a dataset's. One that has its sheet gets the same again."""
    async with house.database.reading() as session:
        file = await files.get_visible(session, caller, file_id)
        if (known := await sheets.find(session, file_id)) is not None:
            return known
        spec = sheets.spec_of(house.store, file, tokenizer=house.tokenizer)
    sheet = await _measured(house, spec)
    async with house.database.writing() as session:
        if (known := await sheets.find(session, file_id)) is not None:
            return known
        await sheets.keep(session, file_id, sheet)
    return sheet


async def _measured(house: House, spec: IntakeSpec) -> DataSheet:
    said = await looked_into(house, spec, doing="Measuring", param="file_id", seconds=PATIENCE)
    return ImportReport.model_validate(said).sheet.model_copy(update={"sha256": spec.sha256})
