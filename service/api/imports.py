"""`/api/imports`: training data from elsewhere. Bring a file, see what its first rows become, have it read in."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, File, Query, UploadFile
from fastapi.responses import FileResponse

from service.api.deps import CallerDep, House, HouseDep, NoteDep, ReadDep, WriteDep
from service.api.files import chunks_of
from service.api.lists import as_list
from service.api.looks import looked_into
from service.contract import folder
from service.contract.imports import REFUSED, STATE, Import, ImportPlan, ImportProgress, IntakeSpec, Preview
from service.domain import imports
from service.errors import NotFound

router = APIRouter(prefix="/api/imports", tags=["imports"])
PATIENCE = 60.0
"""Seconds that looking into a file may take."""
JSONL: dict[int | str, dict[str, Any]] = {200: {"content": {"application/jsonl": {}}}}


@router.post("", status_code=201)
async def bring_file(house: HouseDep, caller: CallerDep, file: Annotated[UploadFile, File()]) -> Import:
    """Keep a file of any format and show what it seems to hold. Nothing is read in before `start`."""
    name = file.filename or "rows"
    limit = house.settings.max_upload_mb << 20
    sha256, size = await asyncio.to_thread(house.store.put_file, chunks_of(file), limit)
    preview = await _look(house, imports.spec_of(house.store, ImportPlan(), filename=name, sha256=sha256))
    async with house.database.writing() as session:
        made = await imports.create_import(
            session, caller, filename=name, sha256=sha256, size=size, preview=preview
        )
        return imports.shown(made, caller)


@router.get("")
async def list_imports(
    session: ReadDep,
    caller: CallerDep,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> dict[str, Any]:
    found, more = await imports.list_imports(session, caller, after=after, limit=limit)
    return as_list([imports.shown(one, caller) for one in found], has_more=more)


@router.get("/{import_id}")
async def retrieve_import(import_id: str, session: ReadDep, house: HouseDep, caller: CallerDep) -> Import:
    """How far it is while it runs; its report when it has ended."""
    found = await imports.get_import(session, caller, import_id)
    progress = _progress(house, import_id) if found.status == "running" else None
    return imports.shown(found, caller, progress)


@router.post("/{import_id}/preview")
async def preview_import(import_id: str, plan: ImportPlan, house: HouseDep, caller: CallerDep) -> Preview:
    """What the first rows become under another plan, which is kept as the import's own: others only read it."""
    async with house.database.reading() as session:
        found = await imports.get_import(session, caller, import_id)
        caller.must_own(found.user_id)
    preview = await _look(
        house, imports.spec_of(house.store, plan, filename=found.filename, sha256=found.sha256)
    )
    async with house.database.writing() as session:
        imports.keep_preview(await imports.get_import(session, caller, import_id), plan, preview)
    return preview


@router.post("/{import_id}/start", status_code=202)
async def start_import(
    import_id: str, plan: ImportPlan, session: WriteDep, caller: CallerDep, note: NoteDep
) -> Import:
    """Have the whole file read in. What is taken becomes a file for training; follow it by its id."""
    found = await imports.get_import(session, caller, import_id)
    await imports.start(session, caller, found, plan)
    if found.user_id != caller.user_id:
        await note("import.started", import_id, of=found.user_id)
    return imports.shown(found, caller)


@router.post("/{import_id}/cancel")
async def cancel_import(import_id: str, session: WriteDep, caller: CallerDep, note: NoteDep) -> Import:
    found = await imports.get_import(session, caller, import_id)
    imports.cancel(caller, found)
    if found.user_id != caller.user_id:
        await note("import.cancelled", import_id, of=found.user_id)
    return imports.shown(found, caller)


@router.get("/{import_id}/refused", response_class=FileResponse, responses=JSONL)
async def refused_rows(import_id: str, session: ReadDep, house: HouseDep, caller: CallerDep) -> FileResponse:
    """Every row that was refused, one on each line: file, line, field, what is wrong, how to mend it."""
    found = await imports.get_import(session, caller, import_id)
    path = house.store.imported(import_id) / REFUSED
    if found.status not in ("succeeded", "failed") or not path.exists():
        raise NotFound("There is no list of refused rows: the import has not been read to its end.")
    return FileResponse(path, media_type="application/jsonl", filename=f"{found.filename}.refused.jsonl")


async def _look(house: House, spec: IntakeSpec) -> Preview:
    said = await looked_into(house, spec, doing="Looking into", param="file", seconds=PATIENCE)
    return Preview.model_validate(said)


def _progress(house: House, import_id: str) -> ImportProgress:
    try:
        return ImportProgress.model_validate(folder.read_json(house.store.imported(import_id) / STATE))
    except FileNotFoundError:  # not begun, or ended since its record was read
        return ImportProgress(phase="waiting", share=0, rows=0, refused=0)
