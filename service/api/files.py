"""`/v1/files`: upload, list, read, delete. A file is checked whole before it counts."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.responses import FileResponse

from service.api.deps import CallerDep, HouseDep, ReadDep, WriteDep
from service.api.lists import as_list
from service.contract import files as contract
from service.domain import files
from service.errors import BadInput

router = APIRouter(prefix="/v1/files", tags=["files"])
CHUNK = 1 << 20


@router.post("")
async def upload_file(
    house: HouseDep, caller: CallerDep, file: Annotated[UploadFile, File()], purpose: Annotated[str, Form()]
) -> contract.File:
    """Keep a JSONL file: `fine-tune` for training data, `evals` for held-out questions."""
    if purpose not in ("fine-tune", "evals"):
        raise BadInput(
            f"The purpose '{purpose[:40]}' is not served. Use 'fine-tune' or 'evals'.", param="purpose"
        )
    limit = house.settings.max_upload_mb << 20
    sha256, size = await house.store.put_file(_chunks(file), limit)
    kind, rows = await asyncio.to_thread(files.check, house.store.file(sha256), purpose)
    async with house.database.writing() as session:
        added = await files.add_file(
            session, user_id=caller.user_id, filename=file.filename or "file.jsonl", purpose=purpose,
            sha256=sha256, size=size, kind=kind, rows=rows,
        )  # fmt: skip
        return files.shown(added)


@router.get("")
async def list_files(
    session: ReadDep,
    caller: CallerDep,
    purpose: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Annotated[str, Query(pattern="^(asc|desc)$")] = "desc",
) -> dict[str, Any]:
    found, more = await files.list_files(
        session, caller, purpose=purpose, after=after, limit=limit, ascending=order == "asc"
    )
    return as_list([files.shown(file) for file in found], has_more=more)


@router.get("/{file_id}")
async def retrieve_file(file_id: str, session: ReadDep, caller: CallerDep) -> contract.File:
    return files.shown(await files.get_visible(session, caller, file_id))


@router.get("/{file_id}/content")
async def file_content(file_id: str, session: ReadDep, house: HouseDep, caller: CallerDep) -> FileResponse:
    file = await files.get_visible(session, caller, file_id)
    return FileResponse(house.store.file(file.sha256), media_type="application/jsonl", filename=file.filename)


@router.delete("/{file_id}")
async def delete_file(file_id: str, session: WriteDep, caller: CallerDep) -> contract.Deleted:
    await files.delete_file(session, caller, file_id)
    return contract.Deleted(id=file_id, object="file")


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(CHUNK):
        yield chunk
