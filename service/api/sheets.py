"""`/api/sheets`: what is in a training file, measured when it was brought, or when somebody asks for it."""

from typing import Annotated

from fastapi import APIRouter, Body

from service.api.deps import CallerDep, House, HouseDep, ReadDep
from service.api.looks import looked_into
from service.contract.imports import ImportReport, IntakeSpec
from service.contract.sheets import DataSheet, Said
from service.domain import files, sheets

router = APIRouter(prefix="/api/sheets", tags=["imports"])
PATIENCE = 600.0
"""Seconds that measuring a file may take while its asker waits."""


@router.get("/{file_id}")
async def retrieve_sheet(file_id: str, session: ReadDep, caller: CallerDep) -> DataSheet:
    return await sheets.get_sheet(session, caller, file_id)


@router.post("/{file_id}")
async def measure_file(
    file_id: str, house: HouseDep, caller: CallerDep, said: Annotated[Said | None, Body()] = None
) -> DataSheet:
    """Measure a file that was uploaded or frozen, such as a dataset's. One that has its sheet gets the same again, with
    what is said of it now."""
    if said == Said():
        said = None
    async with house.database.reading() as session:
        file = await files.get_visible(session, caller, file_id)
        if said is not None:
            caller.must_own(file.user_id)
        known = await sheets.find(session, file_id)
        if known is not None and said is None:
            return known
        spec = sheets.spec_of(house.store, file, tokenizer=house.tokenizer)
        more = await sheets.known_of(session, file)
    sheet = known or (await _measured(house, spec)).model_copy(update=more)
    async with house.database.writing() as session:
        if await sheets.find(session, file_id) is None:
            await sheets.keep(session, file_id, sheet)
        if said is not None:
            await sheets.say(session, caller, await files.get_visible(session, caller, file_id), said)
        return await sheets.get_sheet(session, caller, file_id)


async def _measured(house: House, spec: IntakeSpec) -> DataSheet:
    report = await looked_into(house, spec, doing="Measuring", param="file_id", seconds=PATIENCE)
    return ImportReport.model_validate(report).sheet.model_copy(update={"sha256": spec.sha256})
